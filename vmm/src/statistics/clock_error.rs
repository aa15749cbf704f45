//! How far the vCPUs' clocks may be apart, by exchanges of stamps.

use crate::events::clock::Exchange;

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
