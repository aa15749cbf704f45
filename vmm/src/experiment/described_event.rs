//! An event in words: its kind in one, and the rest for people.

use crate::events::event::{Event, EventKind};
use crate::events::exit::Exit;
use crate::events::kernel::Point;
use guest_stub::hyperv;
use guest_stub::kvm_pv::SEND_IPI;

/// The names of exits that the kernel's events tell of, by reason and instruction set.
pub(super) type ExitNames<'a> = &'a dyn Fn(u64, u64) -> String;

/// The kind, as documents name it.
pub(super) fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Send => "send",
        EventKind::Sent => "sent",
        EventKind::Arrival => "arrival",
        EventKind::WorkerStart => "worker_start",
        EventKind::WorkerEnd => "worker_end",
        EventKind::Completed => "completed",
        EventKind::Enter => "enter",
        EventKind::Return(..) => "return",
        EventKind::Served(..) => "served",
        EventKind::Kernel(point, _) => point.name(),
    }
}

/// What happened, for people.
pub(super) fn detail(event: &Event, exit_names: ExitNames<'_>) -> String {
    let about = || event.about.map_or_else(String::new, |vcpu| format!("vCPU {vcpu}"));
    match event.kind {
        EventKind::Send => "send".to_owned(),
        EventKind::Sent => "sent".to_owned(),
        EventKind::Arrival => "interrupt entry".to_owned(),
        EventKind::WorkerStart => "gate open, worker".to_owned(),
        EventKind::WorkerEnd => "worker ended".to_owned(),
        EventKind::Completed => "everybody is done".to_owned(),
        EventKind::Enter => "KVM_RUN".to_owned(),
        EventKind::Return(left) => format!("KVM_RUN returns: {}", exit(left)),
        EventKind::Served(left) => format!("served: {}", exit(left)),
        EventKind::Kernel(Point::Accept, [_, vector, _]) => format!("IPI accepted for {}, vector {vector:#x}", about()),
        EventKind::Kernel(Point::Waking, _) => format!("wakes {}", about()),
        EventKind::Kernel(point, values) => kernel(point, values, event, exit_names),
    }
}

fn exit(Exit { kind, payload }: Exit) -> String {
    let name = kind.name();
    if payload == 0 { name.to_owned() } else { format!("{name} {payload:#x}") }
}

fn kernel(point: Point, [first, second, third]: [u64; 3], event: &Event, exit_names: ExitNames<'_>) -> String {
    let access = |write: bool| if write { "write" } else { "read" };
    match point {
        Point::Exit => format!("exit: {}", exit_names(first, second)),
        Point::Entry => "entry".to_owned(),
        Point::Ipi => format!("IPI: ICR {first:#x}"),
        Point::Inject => format!("injects vector {first:#x}"),
        Point::Eoi if first > 0xFF => "EOI, nothing in service".to_owned(),
        Point::Eoi => format!("EOI, vector {first:#x}"),
        Point::Apic => format!("APIC {} {second:#x}: {third:#x}", access(first == 1)),
        Point::Msr => format!("MSR {} {second:#x}: {third:#x}", access(first != 0)),
        Point::Mmio => format!("MMIO {} {second:#x}: {third:#x}", access(first == 2)),
        Point::Port => format!("port {} {second:#x}", access(first != 0)),
        Point::UserExit => format!("to user space, reason {first}"),
        Point::Hypercall if first == u64::from(SEND_IPI) => "hypercall: KVM_HC_SEND_IPI".to_owned(),
        Point::Hypercall => format!("hypercall {first}"),
        Point::HypervHypercall if first == hyperv::SEND_IPI => "hypercall: HvCallSendSyntheticClusterIpi".to_owned(),
        Point::HypervHypercall if first == hyperv::SEND_IPI_EX => {
            "hypercall: HvCallSendSyntheticClusterIpiEx".to_owned()
        }
        Point::HypervHypercall => format!("hypercall {first:#x} of Hyper-V's"),
        Point::Message => format!("message {second:#x} to {first:#x}"),
        Point::Wakeup if second == 0 => format!("HLT ends, polled, after {first} ns"),
        Point::Wakeup => format!("HLT ends, blocked, after {first} ns"),
        Point::Switch if event.about == event.vcpu => "thread on CPU".to_owned(),
        Point::Switch => "thread off CPU".to_owned(),
        Point::Accept | Point::Waking => String::new(),
    }
}
