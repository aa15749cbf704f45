//! The clock: guest TSC = host TSC + offset, and how far that can be trusted.

use crate::vm::Error;
use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};
use vmm_sys_util::ioctl::ioctl_with_ref;

mod request {
    vmm_sys_util::ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, kvm_bindings::KVMIO, 0xe2, kvm_bindings::kvm_device_attr);
}

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

/// Reads a vCPU's offset.
///
/// # Errors
/// If KVM tells neither the offset nor the guest's TSC.
pub fn read_offset(vcpu: &VcpuFd) -> Result<Offset, Error> {
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
    let error = |source| Error::Kvm { operation: "KVM_GET_MSRS(IA32_TSC)", source };
    let entry = kvm_msr_entry { index: IA32_TSC, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).map_err(|_| error(kvm_ioctls::Error::new(libc::E2BIG)))?;
    let read = vcpu.get_msrs(&mut msrs).map_err(error)?;
    if read == 1 { Ok(msrs.as_slice()[0].data) } else { Err(error(kvm_ioctls::Error::new(libc::EINVAL))) }
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
    best.ok_or(Error::Kvm { operation: "reading the guest's TSC", source: kvm_ioctls::Error::new(libc::EINVAL) })
}

/// The host's TSC.
#[inline]
pub fn host_tsc() -> u64 {
    // SAFETY: user space may read the TSC on every x86-64 Linux unless a process forbids it to itself (prctl).
    unsafe { _rdtsc() }
}

/// The host TSC's frequency in kHz, measured against CLOCK_MONOTONIC: for a KVM that does not tell.
pub fn measure_khz(over: Duration) -> u64 {
    let (start, tsc) = (Instant::now(), host_tsc());
    std::thread::sleep(over);
    let (elapsed, cycles) = (start.elapsed(), host_tsc().wrapping_sub(tsc));
    u64::try_from(u128::from(cycles) * 1_000_000 / elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// A time in TSC cycles.
pub fn cycles(time: Duration, tsc_khz: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(tsc_khz) / 1_000_000).unwrap_or(u64::MAX)
}

/// One exchange of stamps: the partner's stamp was taken between the two of vCPU 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// vCPU 0, before the request.
    pub sent: u64,
    /// The partner, between request and answer.
    pub answered: u64,
    /// vCPU 0, after the answer.
    pub received: u64,
}

/// How far a partner's clock may be from vCPU 0's, in cycles, by the exchange with the shortest round trip: its stamp,
/// taken on an equal clock, must lie between the two. `None`: there was no exchange that makes sense.
pub fn bound(exchanges: &[Exchange]) -> Option<u64> {
    let best = exchanges
        .iter()
        .filter(|exchange| exchange.received > exchange.sent)
        .min_by_key(|exchange| exchange.received - exchange.sent)?;
    let earliest = i128::from(best.answered) - i128::from(best.received);
    let latest = i128::from(best.answered) - i128::from(best.sent);
    u64::try_from(earliest.abs().max(latest.abs())).ok()
}

/// The bound ε of a skew's clock error: two clocks that are each off from vCPU 0's by at most their bounds.
pub fn skew_error(mut bounds: Vec<u64>) -> u64 {
    bounds.sort_unstable_by(|a, b| b.cmp(a));
    bounds.iter().take(2).fold(0, |sum, &bound| sum.saturating_add(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(sent: u64, answered: u64, received: u64) -> Exchange {
        Exchange { sent, answered, received }
    }

    #[test]
    fn the_shortest_round_trip_bounds_the_clocks() {
        // Equal clocks, an answer in the middle: the offset lies within half a round trip either way.
        assert_eq!(bound(&[exchange(1000, 1600, 2000), exchange(5000, 5050, 5100)]), Some(50));
        // The partner is 1000 ahead: between 960 and 1040.
        assert_eq!(bound(&[exchange(5000, 6040, 5080)]), Some(1040));
        // The partner is behind.
        assert_eq!(bound(&[exchange(5000, 4040, 5080)]), Some(1040));
        assert_eq!(bound(&[]), None);
        assert_eq!(bound(&[exchange(10, 10, 5)]), None, "time does not run backwards");
        assert_eq!(bound(&[exchange(0, u64::MAX, 1)]), Some(u64::MAX), "garbage is a bad bound, not a panic");
    }

    #[test]
    fn a_skew_can_be_off_by_two_clocks() {
        assert_eq!(skew_error(vec![]), 0);
        assert_eq!(skew_error(vec![40]), 40);
        assert_eq!(skew_error(vec![40, 10, 30]), 70);
        assert_eq!(skew_error(vec![u64::MAX, 1]), u64::MAX);
    }

    #[test]
    fn a_bracket_contains_the_truth() {
        const AHEAD: i64 = 123_456_789;
        let offset = bracket(|| Ok(host_tsc().wrapping_add_signed(AHEAD))).unwrap();
        assert!((offset.cycles - AHEAD).unsigned_abs() <= offset.error, "{offset:?}");
        assert_eq!(offset.method, Method::Bracket);
    }
}
