//! A vCPU's TSC: how it differs from the host's, and how to write it.

use crate::error::{Error, Operation};
use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};
use vmm_sys_util::ioctl::ioctl_with_ref;

mod request {
    vmm_sys_util::ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, kvm_bindings::KVMIO, 0xe1, kvm_bindings::kvm_device_attr);
    vmm_sys_util::ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, kvm_bindings::KVMIO, 0xe2, kvm_bindings::kvm_device_attr);
}

/// IA32_TIME_STAMP_COUNTER.
pub(crate) const IA32_TSC: u32 = 0x10;
/// IA32_TSC_ADJUST (SDM Vol. 3B 19.17.3).
pub(crate) const IA32_TSC_ADJUST: u32 = 0x3B;

/// How an offset was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The vCPU's attribute KVM_VCPU_TSC_OFFSET (KVM API, vcpu devices): exact.
    Attribute,
    /// The guest's IA32_TSC read between two reads of the host's.
    Bracket,
}

/// Guest TSC minus host TSC of one vCPU, in cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The difference.
    pub cycles: i64,
    /// How far it may be off, in cycles.
    pub error: u64,
    /// How it was obtained.
    pub method: Method,
}

/// The host's TSC.
#[inline]
pub fn host() -> u64 {
    // SAFETY: user space may read the TSC on every x86-64 Linux unless a process forbids it to itself (prctl).
    unsafe { _rdtsc() }
}

/// The host TSC's frequency in kHz, measured against CLOCK_MONOTONIC: for a KVM that does not tell.
fn measure_khz(over: Duration) -> u64 {
    let (start, tsc) = (Instant::now(), host());
    std::thread::sleep(over);
    let (elapsed, cycles) = (start.elapsed(), host().wrapping_sub(tsc));
    u64::try_from(u128::from(cycles) * 1_000_000 / elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// The frequency of a vCPU's TSC in kHz: KVM_GET_TSC_KHZ, or measured over 20 ms where this KVM does not tell.
pub fn khz(vcpu: &VcpuFd) -> u64 {
    const MEASURE_OVER: Duration = Duration::from_millis(20);
    match vcpu.get_tsc_khz() {
        Ok(khz) if khz > 0 => khz.into(),
        _ => measure_khz(MEASURE_OVER),
    }
}

/// Reads a vCPU's offset.
///
/// # Errors
/// If KVM tells neither the offset nor the guest's TSC.
pub fn read_offset(vcpu: &VcpuFd) -> Result<Offset, Error> {
    match offset_attribute(vcpu) {
        Some(cycles) => Ok(Offset { cycles, error: 0, method: Method::Attribute }),
        None => bracket(|| read_msr(vcpu, IA32_TSC)),
    }
}

/// The attribute KVM_VCPU_TSC_OFFSET; `None`: this KVM does not have it (before Linux 5.16).
pub(crate) fn offset_attribute(vcpu: &VcpuFd) -> Option<i64> {
    let mut value = 0_u64;
    let attribute = offset(&raw mut value);
    // SAFETY: for this attribute KVM writes one u64 to `addr`, which is `value`.
    let status = unsafe { ioctl_with_ref(vcpu, request::KVM_GET_DEVICE_ATTR(), &attribute) };
    (status == 0).then_some(value.cast_signed())
}

fn offset(value: *mut u64) -> kvm_device_attr {
    kvm_device_attr { group: KVM_VCPU_TSC_CTRL, attr: KVM_VCPU_TSC_OFFSET.into(), addr: value as u64, flags: 0 }
}

/// Moves a vCPU's TSC, by its attribute KVM_VCPU_TSC_OFFSET: for tests of clocks that differ.
///
/// # Errors
/// KVM's, which may not have the attribute. A KVM that runs the guest on the host's TSC takes it, and nothing follows.
pub fn shift(vcpu: &VcpuFd, cycles: i64) -> Result<(), Error> {
    set_offset(vcpu, read_offset(vcpu)?.cycles.wrapping_add(cycles))
}

fn set_offset(vcpu: &VcpuFd, cycles: i64) -> Result<(), Error> {
    let mut value = cycles.cast_unsigned();
    let attribute = offset(&raw mut value);
    // SAFETY: for this attribute KVM reads one u64 from `addr`, which is `value`.
    let status = unsafe { ioctl_with_ref(vcpu, request::KVM_SET_DEVICE_ATTR(), &attribute) };
    if status == 0 { Ok(()) } else { Err(Error::of(Operation::SetTscOffset)(kvm_ioctls::Error::last())) }
}

/// Does what a guest's write of IA32_TSC or IA32_TSC_ADJUST does: each moves the other by as much (SDM Vol. 3B 19.17.3). Not
/// by KVM_SET_MSRS: KVM takes zero, and a value within a second of what the TSC last written in this VM has reached, for an attempt
/// to synchronise, and uses that TSC's offset (`kvm_synchronize_tsc`). The new offset, as KVM says: a KVM that runs the guest on the
/// host's TSC takes the write, and nothing follows from it.
///
/// # Errors
/// KVM's.
pub(crate) fn write(vcpu: &VcpuFd, msr: u32, value: u64) -> Result<i64, Error> {
    let offset = read_offset(vcpu)?.cycles;
    // Where CPUID does not offer IA32_TSC_ADJUST, KVM may not have it.
    let adjust = read_msr(vcpu, IA32_TSC_ADJUST);
    let moved = match msr {
        IA32_TSC => value.wrapping_sub(read_msr(vcpu, IA32_TSC)?),
        _ => value.wrapping_sub(adjust?),
    };
    set_offset(vcpu, offset.wrapping_add_unsigned(moved))?;
    if let Ok(adjust) = adjust {
        write_msr(vcpu, IA32_TSC_ADJUST, adjust.wrapping_add(moved))?;
    }
    Ok(read_offset(vcpu)?.cycles)
}

fn entries(entry: kvm_msr_entry, operation: Operation) -> Result<Msrs, Error> {
    Msrs::from_entries(&[entry]).map_err(|_| Error { operation, errno: libc::E2BIG })
}

/// One MSR, whatever the filter says.
pub(crate) fn read_msr(vcpu: &VcpuFd, index: u32) -> Result<u64, Error> {
    let operation = Operation::GetMsrs;
    let mut msrs = entries(kvm_msr_entry { index, ..Default::default() }, operation)?;
    match vcpu.get_msrs(&mut msrs).map_err(Error::of(operation))? {
        1 => Ok(msrs.as_slice()[0].data),
        _ => Err(Error { operation, errno: libc::EINVAL }),
    }
}

/// As [`read_msr`].
pub(crate) fn write_msr(vcpu: &VcpuFd, index: u32, data: u64) -> Result<(), Error> {
    let operation = Operation::SetMsrs;
    let msrs = entries(kvm_msr_entry { index, data, ..Default::default() }, operation)?;
    match vcpu.set_msrs(&msrs).map_err(Error::of(operation))? {
        1 => Ok(()),
        _ => Err(Error { operation, errno: libc::EINVAL }),
    }
}

/// The narrowest of some brackets: the guest's clock lies between the host's two stamps.
fn bracket(mut guest_tsc: impl FnMut() -> Result<u64, Error>) -> Result<Offset, Error> {
    const TRIES: usize = 32;
    let mut best: Option<Offset> = None;
    for _ in 0..TRIES {
        let before = host();
        let guest = guest_tsc()?;
        let after = host();
        let width = after.wrapping_sub(before);
        let middle = before.wrapping_add(width / 2);
        let offset = Offset {
            cycles: guest.wrapping_sub(middle).cast_signed(),
            error: width.div_ceil(2),
            method: Method::Bracket,
        };
        if best.is_none_or(|best| offset.error < best.error) {
            best = Some(offset);
        }
    }
    best.ok_or(Error { operation: Operation::GetMsrs, errno: libc::EINVAL })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_contains_the_truth() {
        const AHEAD: i64 = 123_456_789;
        let offset = bracket(|| Ok(host().wrapping_add_signed(AHEAD))).unwrap();
        assert!((offset.cycles - AHEAD).unsigned_abs() <= offset.error, "{offset:?}");
        assert_eq!(offset.method, Method::Bracket);
    }
}
