//! A vCPU's TSC offset, read before it runs.

use super::error::{Error, kvm_error};
use crate::events::clock::{Method, Offset, host_tsc};
use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl_with_ref;

mod request {
    vmm_sys_util::ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, kvm_bindings::KVMIO, 0xe2, kvm_bindings::kvm_device_attr);
}

/// Reads a vCPU's offset.
///
/// # Errors
/// If KVM tells neither the offset nor the guest's TSC.
pub(super) fn read_offset(vcpu: &VcpuFd) -> Result<Offset, Error> {
    let mut value = 0_u64;
    let attribute = kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: KVM_VCPU_TSC_OFFSET.into(),
        addr: (&raw mut value) as u64,
        flags: 0,
    };
    // SAFETY: for this attribute KVM writes one u64 to `addr`, which is `value`.
    if unsafe { ioctl_with_ref(vcpu, request::KVM_GET_DEVICE_ATTR(), &attribute) } == 0 {
        return Ok(Offset { cycles: value.cast_signed(), error: 0, method: Method::Attribute });
    }
    bracket(|| read_guest_tsc(vcpu))
}

fn read_guest_tsc(vcpu: &VcpuFd) -> Result<u64, Error> {
    const IA32_TSC: u32 = 0x10;
    const OPERATION: &str = "KVM_GET_MSRS(IA32_TSC)";
    let failed = |errno| kvm_error(OPERATION)(kvm_ioctls::Error::new(errno));
    let entry = kvm_msr_entry { index: IA32_TSC, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).map_err(|_| failed(libc::E2BIG))?;
    let read = vcpu.get_msrs(&mut msrs).map_err(kvm_error(OPERATION))?;
    if read == 1 { Ok(msrs.as_slice()[0].data) } else { Err(failed(libc::EINVAL)) }
}

/// The narrowest of some brackets: the guest's clock lies between the host's two stamps.
fn bracket(mut guest_tsc: impl FnMut() -> Result<u64, Error>) -> Result<Offset, Error> {
    const TRIES: usize = 32;
    let mut best: Option<Offset> = None;
    for _ in 0..TRIES {
        let before = host_tsc();
        let guest = guest_tsc()?;
        let after = host_tsc();
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
    best.ok_or_else(|| kvm_error("reading the guest's TSC")(kvm_ioctls::Error::new(libc::EINVAL)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_contains_the_truth() {
        const AHEAD: i64 = 123_456_789;
        let offset = bracket(|| Ok(host_tsc().wrapping_add_signed(AHEAD))).unwrap();
        assert!((offset.cycles - AHEAD).unsigned_abs() <= offset.error, "{offset:?}");
        assert_eq!(offset.method, Method::Bracket);
    }
}
