//! vCPU 1 fills everything that INIT resets, and some of what it does not, with something else; and takes down what only long mode
//! can see after it.

use crate::cpu::apic::{
    DESTINATION_FORMAT, LOGICAL_DESTINATION, LVT_LINT0, LVT_TIMER, SPURIOUS_INTERRUPT_VECTOR, TASK_PRIORITY,
};
use crate::cpu::msr::IA32_APIC_BASE;
use crate::cpu::{msr, tsc};
use crate::processor::Private;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use guest_stub::abi::{GuestRoute, Observation, XAPIC_BASE};

const CR0_NW: u32 = 1 << 29;
const CR0_CD: u32 = 1 << 30;
const IA32_PAT: u32 = 0x277;
const IA32_STAR: u32 = 0xC000_0081;
/// PA7, which no page uses, is another than after power-up.
const PAT: u64 = 0x0607_0406_0007_0406;
const STAR: u64 = 0x0023_0010_1234_5678;

/// The bits of CR0 that vCPU 1 sets after its start number `start`, and that INIT leaves alone.
pub(super) fn cache_control(start: u32) -> u32 {
    [0, CR0_CD, CR0_CD | CR0_NW][start as usize % 3]
}

/// What vCPU 1 found in long mode, after its last start.
pub(super) struct Found {
    pub(super) tsc: AtomicU64,
    pat: AtomicU64,
    star: AtomicU64,
    base: AtomicU64,
    spurious_vector: AtomicU32,
    task_priority: AtomicU32,
    timer: AtomicU32,
    lint0: AtomicU32,
    logical_destination: AtomicU32,
    destination_format: AtomicU32,
}

pub(super) static FOUND: Found = Found {
    tsc: AtomicU64::new(0),
    pat: AtomicU64::new(0),
    star: AtomicU64::new(0),
    base: AtomicU64::new(0),
    spurious_vector: AtomicU32::new(0),
    task_priority: AtomicU32::new(0),
    timer: AtomicU32::new(0),
    lint0: AtomicU32::new(0),
    logical_destination: AtomicU32::new(0),
    destination_format: AtomicU32::new(0),
};

impl Found {
    /// What is compared with one value: that, and what was found. LDR and DFR have a value of software's in xAPIC mode alone.
    pub(super) fn others(&self, route: GuestRoute) -> [(Observation, u64, u64); 9] {
        const MASKED: u64 = 1 << 16;
        let is_xapic = route == GuestRoute::XApic;
        let word = |word: &AtomicU32| u64::from(word.load(Ordering::Relaxed));
        let long = |word: &AtomicU64| word.load(Ordering::Relaxed);
        [
            (Observation::Pat, PAT, long(&self.pat)),
            (Observation::Star, STAR, long(&self.star)),
            (Observation::ApicBase, XAPIC_BASE | if is_xapic { 0x800 } else { 0xC00 }, long(&self.base)),
            (Observation::SpuriousVector, 0xFF, word(&self.spurious_vector)),
            (Observation::TaskPriority, 0, word(&self.task_priority)),
            (Observation::LvtTimer, MASKED, word(&self.timer)),
            (Observation::LvtLint0, MASKED, word(&self.lint0)),
            (Observation::LogicalDestination, 0, word(&self.logical_destination)),
            (
                Observation::DestinationFormat,
                if is_xapic { u32::MAX.into() } else { 0 },
                word(&self.destination_format),
            ),
        ]
    }
}

/// Takes down what a start has left. Before anything writes to the local APIC.
pub(super) fn take_down(private: &Private) {
    FOUND.tsc.store(tsc::now(), Ordering::Relaxed);
    FOUND.pat.store(msr::read(IA32_PAT), Ordering::Relaxed);
    FOUND.star.store(msr::read(IA32_STAR), Ordering::Relaxed);
    FOUND.base.store(msr::read(IA32_APIC_BASE), Ordering::Relaxed);
    FOUND.spurious_vector.store(private.apic.read(SPURIOUS_INTERRUPT_VECTOR), Ordering::Relaxed);
    FOUND.task_priority.store(private.apic.read(TASK_PRIORITY), Ordering::Relaxed);
    FOUND.timer.store(private.apic.read(LVT_TIMER), Ordering::Relaxed);
    FOUND.lint0.store(private.apic.read(LVT_LINT0), Ordering::Relaxed);
    if !private.apic.is_in_x2apic_mode() {
        FOUND.logical_destination.store(private.apic.read(LOGICAL_DESTINATION), Ordering::Relaxed);
        FOUND.destination_format.store(private.apic.read(DESTINATION_FORMAT), Ordering::Relaxed);
    }
}

/// Fills everything, stores `start` in `in_job`, and halts, until the next INIT.
pub(super) fn fill(private: &Private, in_job: &AtomicU32, start: u32) -> ! {
    /// DE, PGE, PCE: none changes what code here does.
    const CR4: u64 = 1 << 3 | 1 << 7 | 1 << 8;
    /// CF, PF, AF, ZF, SF, DF, OF and ID; IF is clear.
    const EFLAGS: u64 = 0x20_0CD7;
    msr::write(IA32_PAT, PAT);
    msr::write(IA32_STAR, STAR);
    private.apic.write(TASK_PRIORITY, 0x35);
    private.apic.write(LVT_TIMER, 0x2_00C1);
    private.apic.write(LVT_LINT0, 0x1_00C2);
    if !private.apic.is_in_x2apic_mode() {
        private.apic.write(LOGICAL_DESTINATION, 0x0200_0000);
        private.apic.write(DESTINATION_FORMAT, 0x0FFF_FFFF);
    }
    let table = [0x1234_5678_9ABC_0123_u64, 0];
    // SAFETY: this code never returns, takes no interrupt, and touches no memory but `in_job` once its tables and segments are
    // gone. No instruction or data lies where the breakpoint is.
    unsafe {
        asm!(
            "cli",
            "mov cr2, rax",
            "mov dr0, rax",
            "add rax, 0x10",
            "mov dr1, rax",
            "add rax, 0x10",
            "mov dr2, rax",
            "add rax, 0x10",
            "mov dr3, rax",
            "mov eax, 0xffff4fff",
            "mov dr6, rax",
            "mov eax, 0x403",
            "mov dr7, rax",
            "mov rax, cr4",
            "or rax, {cr4}",
            "mov cr4, rax",
            "mov rax, cr0",
            "or rax, rcx",
            "mov cr0, rax",
            "mov eax, {data}",
            "mov fs, eax",
            "lidt [rdx]",
            "lgdt [rdx]",
            "push {eflags}",
            "popfq",
            "mov eax, esi",
            "mov ebx, 0x11111111",
            "mov ecx, 0x22222222",
            "mov edx, 0x33333333",
            "mov esi, 0x44444444",
            "mov ebp, 0x55555555",
            "mov esp, 0x66666666",
            "mov [rdi], eax",
            "2:",
            "hlt",
            "jmp 2b",
            cr4 = const CR4,
            eflags = const EFLAGS,
            data = const guest_stub::descriptors::KERNEL_DATA,
            in("rax") 0x7_1234_5000_u64,
            in("rcx") u64::from(cache_control(start)),
            in("rdx") &raw const table,
            in("rsi") u64::from(start),
            in("rdi") in_job.as_ptr(),
            options(noreturn),
        );
    }
}
