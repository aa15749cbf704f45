//! The TSC's frequency: what processor or hypervisor say, or measured against a clock that is known.

use crate::cpu::{self, HYPERVISOR};
use crate::platform;

/// A frequency, and how it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frequency {
    pub(crate) khz: u64,
    /// By how much it may be wrong, in millionths.
    pub(crate) error_ppm: u32,
    pub(crate) source: &'static str,
}

/// The first of these that there is. `pm_timer` is the port of the ACPI PM timer.
pub(crate) fn find(pm_timer: Option<u16>) -> Option<Frequency> {
    crystal().or_else(hypervisor_leaf).or_else(kvm_clock).or_else(|| against_pm_timer(pm_timer?)).or_else(against_pit)
}

/// CPUID 15H: the ratio to the crystal, and the crystal's frequency (SDM Vol. 2A).
fn crystal() -> Option<Frequency> {
    let leaf = cpu::cpuid(0x15, 0);
    if leaf.eax == 0 || leaf.ebx == 0 || leaf.ecx == 0 {
        return None;
    }
    let khz = u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax) / 1000;
    Some(Frequency { khz, error_ppm: 0, source: "CPUID 15H" })
}

/// CPUID 40000010H, EAX: the TSC's frequency in kHz, where a hypervisor has that leaf (VMware's proposal, which QEMU follows).
fn hypervisor_leaf() -> Option<Frequency> {
    const TIMING: u32 = HYPERVISOR + 0x10;
    if !platform::is_virtual() || cpu::cpuid(HYPERVISOR, 0).eax < TIMING {
        return None;
    }
    let khz = u64::from(cpu::cpuid(TIMING, 0).eax);
    (khz != 0).then_some(Frequency { khz, error_ppm: 1, source: "CPUID 40000010H" })
}

/// What KVM writes into a page of the guest's (Linux, Documentation/virt/kvm/x86/msr.rst).
#[repr(C, align(64))]
struct TimeInfo {
    version: u32,
    pad: u32,
    tsc_timestamp: u64,
    system_time: u64,
    tsc_to_system_mul: u32,
    tsc_shift: i8,
    flags: u8,
    pad2: [u8; 2],
}

/// KVM's clock: nanoseconds are TSC cycles, shifted, times a fraction of 2^32.
fn kvm_clock() -> Option<Frequency> {
    const CLOCKSOURCE2: u32 = 1 << 3;
    const MSR_KVM_SYSTEM_TIME_NEW: u32 = 0x4B56_4D01;
    const ENABLED: u64 = 1;
    static mut TIME: TimeInfo = TimeInfo {
        version: 0,
        pad: 0,
        tsc_timestamp: 0,
        system_time: 0,
        tsc_to_system_mul: 0,
        tsc_shift: 0,
        flags: 0,
        pad2: [0; 2],
    };
    if platform::hypervisor().text() != "KVMKVMKVM" || cpu::cpuid(HYPERVISOR + 1, 0).eax & CLOCKSOURCE2 == 0 {
        return None;
    }
    let time = &raw mut TIME;
    cpu::write_msr(MSR_KVM_SYSTEM_TIME_NEW, crate::space::physical(time as u64) | ENABLED);
    // SAFETY: KVM has written it before the WRMSR returned, and writes it no more after the next one.
    let (multiplier, shift) = unsafe {
        ((&raw const (*time).tsc_to_system_mul).read_volatile(), (&raw const (*time).tsc_shift).read_volatile())
    };
    cpu::write_msr(MSR_KVM_SYSTEM_TIME_NEW, 0);
    if multiplier == 0 {
        return None;
    }
    let khz = (1_000_000u64 << 32) / u64::from(multiplier);
    let khz = if shift >= 0 { khz >> shift.min(63) } else { khz << shift.unsigned_abs().min(20) };
    Some(Frequency { khz, error_ppm: 1, source: "KVM's clock" })
}

/// How long a measurement takes. The PIT's count lasts 55 ms.
const MILLISECONDS: u64 = 40;

/// A clock that counts up, of so many bits.
struct Counter {
    hz: u64,
    mask: u32,
    /// How often it is looked at before it is taken for standing still.
    looks: u32,
}

impl Counter {
    /// Counts TSC cycles in so many milliseconds. Each end is the best of several looks between two stamps; how far these are
    /// apart, and a tick of the clock's, are the error. `None`: the clock stands still, or cannot be read any more.
    fn measure(&self, mut read: impl FnMut() -> Option<u32>, source: &'static str) -> Option<Frequency> {
        let ticks = u32::try_from(self.hz * MILLISECONDS / 1000).ok()?;
        let mut look = || {
            let mut best = (u64::MAX, 0, 0);
            for _ in 0..8 {
                let before = cpu::tsc();
                let count = read()?;
                best = best.min((cpu::tsc() - before, before, count));
            }
            Some(best)
        };
        let (width, began, first) = look()?;
        let elapsed = |count: u32| count.wrapping_sub(first) & self.mask;
        let mut last = look()?;
        let mut looks = 0;
        while elapsed(last.2) < ticks {
            looks += 1;
            if looks > self.looks {
                return None;
            }
            last = look()?;
        }
        let cycles = last.1 - began;
        let counted = u64::from(elapsed(last.2));
        let khz = u64::try_from(u128::from(cycles) * u128::from(self.hz) / u128::from(counted) / 1000).ok()?;
        let of_tick = 1_000_000 / counted.max(1);
        let of_looks = (width + last.0) * 1_000_000 / cycles.max(1);
        let error_ppm = u32::try_from(of_tick + of_looks + 1).unwrap_or(u32::MAX);
        (khz != 0).then_some(Frequency { khz, error_ppm, source })
    }
}

/// The ACPI PM timer (ACPI 4.8.3.3): 3.579545 MHz, 24 bits at least.
fn against_pm_timer(port: u16) -> Option<Frequency> {
    let timer = Counter { hz: 3_579_545, mask: 0xFF_FFFF, looks: 1 << 20 };
    timer.measure(|| Some(cpu::inl(port)), "ACPI PM timer")
}

/// The PIT's channel 2 (Intel 8254): 1.193182 MHz, counted down from 65535 and latched to be read. After 55 ms it begins anew, which its
/// output, a bit of its status, tells of: whoever was kept from looking until then tries again.
fn against_pit() -> Option<Frequency> {
    const TRIES: usize = 20;
    (0..TRIES).find_map(|_| against_pit_once())
}

fn against_pit_once() -> Option<Frequency> {
    const CHANNEL: u16 = 0x42;
    const CONTROL: u16 = 0x43;
    const GATE: u16 = 0x61;
    const GATE_ON_SPEAKER_OFF: u8 = 0x01;
    const CHANNEL_2_MODE_0: u8 = 0xB0;
    /// The read-back command: status and count of channel 2, as they are at one moment.
    const LATCH_2: u8 = 0xC8;
    /// The status' bit of the output.
    const IS_OVER: u8 = 0x80;
    cpu::outb(GATE, cpu::inb(GATE) & !0x02 | GATE_ON_SPEAKER_OFF);
    cpu::outb(CONTROL, CHANNEL_2_MODE_0);
    cpu::outb(CHANNEL, 0xFF);
    cpu::outb(CHANNEL, 0xFF);
    let read = || {
        cpu::outb(CONTROL, LATCH_2);
        let [status, low, high] = [(); 3].map(|()| cpu::inb(CHANNEL));
        (status & IS_OVER == 0).then(|| u32::from(!u16::from_le_bytes([low, high])))
    };
    Counter { hz: 1_193_182, mask: 0xFFFF, looks: 1 << 18 }.measure(read, "PIT")
}
