//! vCPU 1: from each start on, it does its job until the next INIT.

use super::garbage;
use super::probe;
use super::puppet;
use crate::conformance::faulting;
use crate::cpu::apic::{TASK_PRIORITY, x2apic, xapic};
use crate::cpu::msr::{IA32_APIC_BASE, IA32_TSC_ADJUST};
use crate::cpu::{flags, irql, msr, port};
use crate::processor::{self, Private};
use crate::routes;
use crate::shared;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use guest_stub::abi::{self, GuestRoute, Job, VECTOR_WAKE};
use guest_stub::icr::{self, To};

/// Which processor it is.
pub(super) const INDEX: usize = 1;

/// What vCPU 1 is told, and what it says.
pub(super) struct Ap {
    is_tested: AtomicBool,
    job: AtomicU32,
    route: AtomicU32,
    /// [`probe::Record::starts`] when it began its job.
    pub(super) in_job: AtomicU32,
    /// The start after which it may send itself INIT, as [`Ap::in_job`] counts: that a SIPI comes too early or too late is no matter.
    pub(super) may_init: AtomicU32,
    /// Turns of the loop of [`Job::Spin`].
    pub(super) turns: AtomicU32,
    /// Instructions behind an INIT that it has sent itself.
    pub(super) old_program: AtomicU32,
}

pub(super) static AP: Ap = Ap {
    is_tested: AtomicBool::new(false),
    job: AtomicU32::new(0),
    route: AtomicU32::new(0),
    in_job: AtomicU32::new(0),
    may_init: AtomicU32::new(0),
    turns: AtomicU32::new(0),
    old_program: AtomicU32::new(0),
};

/// From now on, vCPU 1 does this when it starts.
pub(super) fn prepare(job: Job, route: GuestRoute) {
    AP.job.store(job as u32, Ordering::Relaxed);
    AP.route.store(route as u32, Ordering::Relaxed);
    // Before the INIT and the SIPI, which order it.
    AP.is_tested.store(true, Ordering::Relaxed);
}

/// Whether processor `index` is tested: it starts here, and not as it did when the machine booted.
pub(crate) fn is_about(index: usize) -> bool {
    index == INDEX && AP.is_tested.load(Ordering::Relaxed)
}

/// vCPU 1, from its start to its next INIT.
pub(crate) fn take_part() -> ! {
    // SAFETY: it has been up before, which is when it initialised its page.
    let private = unsafe { processor::of(INDEX) };
    // SAFETY: this is the processor, and the IDT has been filled in.
    unsafe { private.load_tables() };
    let told = |word: &AtomicU32| word.load(Ordering::Relaxed);
    if let (Some(job), Some(route)) = (Job::from_wire(told(&AP.job)), GuestRoute::from_wire(told(&AP.route))) {
        if job == Job::Garbage {
            garbage::take_down(private);
        }
        routes::mode(route).enter(private);
        if job == Job::Garbage {
            garbage::fill(private, &AP.in_job, probe::record().starts.load(Ordering::Relaxed));
        }
        AP.in_job.store(probe::record().starts.load(Ordering::Relaxed), Ordering::Release);
        loop {
            turn(private, job);
        }
    }
    // The numbers are those that vCPU 0 stored.
    unreachable!()
}

/// One turn of a job. Interrupts are on in between.
fn turn(private: &Private, job: Job) {
    const APIC_ID: u32 = 0x20;
    /// Cannot be read.
    const SELF_IPI_MSR: u32 = 0x83F;
    let register = |offset: u32| abi::XAPIC_BASE + u64::from(offset);
    let to_itself = To::One(shared::apic_id(INDEX));
    // What is refused is refused: the exit is what counts.
    match job {
        Job::Spin => _ = AP.turns.fetch_add(1, Ordering::Relaxed),
        Job::ReadMsr => _ = faulting::read_msr(x2apic::number(APIC_ID)),
        Job::WriteMsr => _ = faulting::write_msr(x2apic::number(TASK_PRIORITY), 0),
        Job::FaultingMsr => _ = faulting::read_msr(SELF_IPI_MSR),
        Job::ReadPage => _ = xapic::read(APIC_ID),
        Job::WritePage => xapic::write(TASK_PRIORITY, 0),
        // SAFETY: the page is mapped; the register has no side effect that matters here.
        Job::ModifyPage => unsafe {
            asm!("or dword ptr [{}], 0", in(reg) register(TASK_PRIORITY), options(nostack));
        },
        Job::ReadPageString => {
            let mut copy = [0_u32; 80];
            // SAFETY: as above; the buffer has room for as many, and DF is clear.
            unsafe {
                asm!("rep movsd", inout("rcx") copy.len() => _, inout("rsi") register(APIC_ID) => _,
                    inout("rdi") copy.as_mut_ptr() => _, options(nostack));
            }
        }
        Job::Out => port::write(abi::PORT_YIELD, 0),
        // SAFETY: so many bytes lie at the image's start; DF is clear.
        Job::OutString => unsafe {
            asm!("rep outsb", in("dx") abi::PORT_YIELD, inout("rcx") 64 => _, inout("rsi") abi::IMAGE => _,
                options(nostack));
        },
        // SAFETY: the tables are loaded.
        Job::Halt => unsafe { asm!("sti", "hlt", options(nostack)) },
        // SAFETY: interrupts are on again afterwards.
        Job::HaltMasked => unsafe { asm!("cli", "hlt", "sti", options(nostack)) },
        Job::TaskPriority => {
            irql::set(irql::IPI);
            irql::set(0);
        }
        Job::ApicBase => msr::write(IA32_APIC_BASE, msr::read(IA32_APIC_BASE)),
        Job::TscAdjust => _ = faulting::write_msr(IA32_TSC_ADJUST, faulting::read_msr(IA32_TSC_ADJUST).unwrap_or(0)),
        Job::Window => {
            flags::disable_interrupts();
            private.apic.send(icr::fixed(VECTOR_WAKE, to_itself), to_itself);
            // SAFETY: the tables are loaded.
            unsafe { flags::enable_interrupts() };
        }
        Job::Puppet => puppet::serve(),
        // Never gets here.
        Job::Garbage => {}
        Job::InitItself if AP.may_init.load(Ordering::Relaxed) != AP.in_job.load(Ordering::Relaxed) => {}
        Job::InitItself => {
            private.apic.send(icr::init(to_itself), to_itself);
            AP.old_program.fetch_add(1, Ordering::Relaxed);
        }
    }
}
