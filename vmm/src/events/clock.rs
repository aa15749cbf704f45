//! The clock: guest TSC = host TSC + offset, and how far that can be trusted.

use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};

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
}
