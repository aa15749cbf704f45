//! How far the vCPUs' clocks may be apart, by exchanges of stamps.

use crate::events::clock::Exchange;

/// How far the stamps of one machine may be off the common clock, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockError {
    /// Bound ε of the error of a difference of two vCPUs' stamps, in cycles; `None`: nothing bounds some vCPU's.
    pub vcpus: Option<u64>,
    /// What is added to it where one of the stamps is the host's.
    pub host: u64,
    /// Cycles that were subtracted from each vCPU's stamps.
    pub subtracted: Vec<i64>,
    /// How all of it was obtained.
    pub method: String,
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
mod tests;
