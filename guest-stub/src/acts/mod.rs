//! What things cost that a hypervisor may have to do for a processor: each is done again and again on vCPU 0, between two time
//! stamps of its own. What an act is, is its file's; this one knows them all.
//!
//! Each is timed alone and not in a batch: a batch has a mean and no other quantile, and what keeps one act apart from the
//! next (an interrupt that has to be taken, an EOI) would be in it. An LFENCE before each stamp has it read after everything
//! before it, and one behind the first stamp lets the act begin only once that is read (SDM Vol. 2B, RDTSC; Vol. 2A, LFENCE: it
//! waits until every instruction before it has completed, and none after it begins earlier). What the stamps themselves cost is
//! an act, too: [`Act::Nothing`].

mod cpuid;
mod eoi;
mod hlt;
mod icr;
mod interrupt;
mod mmio;
mod msr;
mod port;

pub(crate) use interrupt::act_entry;

use crate::activity;
use crate::cpu::{flags, port as ports};
use crate::processor::Private;
use crate::shared;
use guest_stub::abi::act::Act;
use guest_stub::abi::command::Acts;
use guest_stub::abi::{PORT_DOORBELL, RING_SAMPLES, Report, Sample, Status};

/// When an act began, and when it had ended.
#[derive(Clone, Copy, Default)]
struct Times {
    from: u64,
    to: u64,
}

/// How an act is done, with interrupts off.
struct Way {
    /// The mode of the local APIC that it needs: `true` is x2APIC.
    x2apic: Option<bool>,
    /// Whether this processor has got what it is about.
    is_offered: fn() -> bool,
    /// What has to be so that it can be done, and a value that it needs. Neither measured nor counted, like `after`.
    before: fn(&Private) -> u64,
    /// Does it once.
    once: fn(&Private, &Acts, u64) -> Times,
    /// What leaves the processor as it was.
    after: fn(&Private),
}

/// An act that any processor has, in any mode, and that leaves nothing behind.
fn plain(once: fn(&Private, &Acts, u64) -> Times) -> Way {
    Way { x2apic: None, is_offered: || true, before: |_| 0, once, after: |_| () }
}

fn way(act: Act) -> Way {
    let xapic = Some(false);
    let of_x2apic = |way| Way { x2apic: Some(true), is_offered: cpuid::has_x2apic, ..way };
    let of_tsc_adjust = |way| Way { is_offered: cpuid::has_tsc_adjust, ..way };
    match act {
        Act::Nothing => plain(nothing),
        Act::Cpuid => plain(cpuid::leaf_0),
        Act::Rdmsr => of_tsc_adjust(plain(msr::read)),
        Act::Wrmsr => of_tsc_adjust(Way { before: msr::before_write, ..plain(msr::write) }),
        Act::OutKvm => plain(port::write_to_kvm),
        Act::OutVmm => plain(port::write_to_vmm),
        Act::InVmm => plain(port::read_from_vmm),
        Act::ReadXApic => Way { x2apic: xapic, ..plain(mmio::read_xapic) },
        Act::ReadVmm => plain(mmio::read_from_vmm),
        Act::IcrXApic => {
            Way { x2apic: xapic, before: icr::before_xapic, after: interrupt::take_and_end, ..plain(icr::xapic) }
        }
        Act::IcrX2Apic => {
            of_x2apic(Way { before: icr::before_x2apic, after: interrupt::take_and_end, ..plain(icr::x2apic) })
        }
        Act::EoiXApic => Way { x2apic: xapic, before: eoi::before, ..plain(eoi::xapic) },
        Act::EoiX2Apic => of_x2apic(Way { before: eoi::before, ..plain(eoi::x2apic) }),
        Act::Hlt => Way { before: hlt::before_pending, after: interrupt::end, ..plain(hlt::pending) },
        Act::HltTimer => Way {
            is_offered: cpuid::has_tsc_deadline,
            before: hlt::before_timer,
            after: hlt::after_timer,
            ..plain(hlt::timer)
        },
    }
}

/// Fills samples, whose `w` and `x` lie around one act; both are zero where it was not what it should have been. Then does it
/// once more between two doorbells, at which the VMM reads counters. The report has no rounds if this processor has not got what
/// the act is about; then it is not done at all. `None`: the command is not valid.
pub(crate) fn run(private: &Private, command: &Acts) -> Option<Report> {
    let way = way(Act::from_wire(command.act)?);
    if !(way.is_offered)() {
        return Some(activity::report(Status::Done));
    }
    let samples = command.samples.min(RING_SAMPLES as u32);
    let before = private.apic.is_in_x2apic_mode();
    if let Some(x2apic) = way.x2apic {
        private.apic.set_mode(x2apic);
    }
    flags::disable_interrupts();
    for number in 0..samples {
        let Times { from, to } = once(private, command, &way, || ());
        private.record(number, Sample { generation: number, w: from, x: to, ..Sample::default() });
    }
    let report = Report { rounds: samples, ..activity::report(Status::Done) };
    shared::report(report);
    let _ = once(private, command, &way, || ports::write(PORT_DOORBELL, 0));
    // SAFETY: commands are run with interrupts on and the tables loaded (`dispatch`). IF was cleared above for the acts; the last
    // of them has ended what it raised (`once`).
    unsafe { flags::enable_interrupts() };
    if way.x2apic.is_some() {
        // Who wakes the others does so in the mode that they are in.
        private.apic.set_mode(before);
    }
    Some(report)
}

/// Does an act with what belongs before it and after it; `mark` is called around the act alone.
#[inline]
fn once(private: &Private, command: &Acts, way: &Way, mark: impl Fn()) -> Times {
    interrupt::expect(private);
    let value = (way.before)(private);
    mark();
    let times = (way.once)(private, command, value);
    mark();
    (way.after)(private);
    times
}

/// An act between two stamps, and what comes before and after it all without being measured. EAX, EDX, R8 and R9 are the
/// stamps'; the act may use the first two.
macro_rules! timed {
    ([$($act:literal),*]; $($operands:tt)*) => { $crate::acts::timed!([], [$($act),*], []; $($operands)*) };
    ([$($before:literal),*], [$($act:literal),*], [$($after:literal),*]; $($operands:tt)*) => {{
        let (from_low, from_high, to_low, to_high): (u32, u32, u32, u32);
        core::arch::asm!(
            $($before,)*
            "lfence",
            "rdtsc",
            "lfence",
            "mov r8d, eax",
            "mov r9d, edx",
            $($act,)*
            "lfence",
            "rdtsc",
            $($after,)*
            out("r8") from_low,
            out("r9") from_high,
            out("eax") to_low,
            out("edx") to_high,
            $($operands)*
            options(nostack),
        );
        $crate::acts::Times::of([from_low, from_high], [to_low, to_high])
    }};
}
use timed;

impl Times {
    fn of(from: [u32; 2], to: [u32; 2]) -> Self {
        let whole = |[low, high]: [u32; 2]| u64::from(high) << 32 | u64::from(low);
        Self { from: whole(from), to: whole(to) }
    }
}

fn nothing(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: RDTSC is allowed at CPL0 whatever CR4.TSD says, and LFENCE has no effect but order.
    unsafe { timed!([];) }
}
