//! An event in words: its kind in one, and the rest for people.

use crate::events::exit::Exit;
use crate::events::kernel::Point;
use crate::events::timeline::{Event, What};

/// The names of exits that the kernel's events tell of, by reason and instruction set.
pub(super) type ExitNames<'a> = &'a dyn Fn(u64, u64) -> String;

/// The kind, as documents name it.
pub(super) fn kind(what: What) -> &'static str {
    match what {
        What::Send => "send",
        What::Sent => "sent",
        What::Arrival => "arrival",
        What::WorkerStart => "worker_start",
        What::WorkerEnd => "worker_end",
        What::Completed => "completed",
        What::Enter => "enter",
        What::Return(..) => "return",
        What::Served(..) => "served",
        What::Kernel(point, _) => point.name(),
    }
}

/// What happened, for people.
pub(super) fn detail(event: &Event, exit_names: ExitNames<'_>) -> String {
    let about = || event.about.map_or_else(String::new, |vcpu| format!("vCPU {vcpu}"));
    match event.what {
        What::Send => "send".to_owned(),
        What::Sent => "sent".to_owned(),
        What::Arrival => "interrupt entry".to_owned(),
        What::WorkerStart => "gate open, worker".to_owned(),
        What::WorkerEnd => "worker ended".to_owned(),
        What::Completed => "everybody is done".to_owned(),
        What::Enter => "KVM_RUN".to_owned(),
        What::Return(left) => format!("KVM_RUN returns: {}", exit(left)),
        What::Served(left) => format!("served: {}", exit(left)),
        What::Kernel(Point::Accept, [_, vector, _]) => format!("IPI accepted for {}, vector {vector:#x}", about()),
        What::Kernel(Point::Waking, _) => format!("wakes {}", about()),
        What::Kernel(point, values) => kernel(point, values, event, exit_names),
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
        Point::Hypercall => format!("hypercall {first}"),
        Point::Message => format!("message {second:#x} to {first:#x}"),
        Point::Wakeup => format!("HLT ends, after {first} ns"),
        Point::Switch if event.about == event.vcpu => "thread on CPU".to_owned(),
        Point::Switch => "thread off CPU".to_owned(),
        Point::Accept | Point::Waking => String::new(),
    }
}
