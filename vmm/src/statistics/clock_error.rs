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
    /// What the exchanges of stamps have told.
    pub comparisons: Comparisons,
    /// How all of it was obtained.
    pub method: String,
}

/// What exchanges of stamps have told, in one boot of a machine or in several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparisons {
    /// How far each partner's clock is ahead of vCPU 0's; `None`: they exchanged no stamps.
    pub ahead: Vec<Option<Ahead>>,
    /// How many exchanges there were.
    pub exchanges: usize,
    /// Whether all of it holds for every other boot as well. Where KVM tells the vCPUs' TSC offsets, stamps differ by no more
    /// than the TSCs of the CPUs do that the vCPUs run on, which booting a guest does not change, as long as those TSCs run at
    /// one rate.
    pub is_of_every_boot: bool,
}

/// How far a partner's clock is ahead of vCPU 0's, in cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    least: i128,
    most: i128,
    /// What the bound is at least: how far the clocks were apart before that changed.
    before: u64,
}

impl Ahead {
    /// By the exchange with the shortest round trip: the partner's stamp was taken between the two of vCPU 0. `None`: there was
    /// no exchange that makes sense.
    pub fn of(exchanges: &[Exchange]) -> Option<Self> {
        let best = exchanges
            .iter()
            .filter(|exchange| exchange.received > exchange.sent)
            .min_by_key(|exchange| exchange.received - exchange.sent)?;
        let answered = i128::from(best.answered);
        Some(Self { least: answered - i128::from(best.received), most: answered - i128::from(best.sent), before: 0 })
    }

    /// How far the clocks are apart at most, in cycles.
    pub fn bound(self) -> u64 {
        let farthest = self.least.unsigned_abs().max(self.most.unsigned_abs());
        u64::try_from(farthest).unwrap_or(u64::MAX).max(self.before)
    }

    /// What is known of the clocks when `later` has been found of them, too: the difference lies in both ranges, however loose
    /// a busy host made one of them. Ranges that have nothing in common show that it has changed, and the bound covers both. A
    /// change that is smaller than the ranges are wide is not noticed: the bound is then too small by it at most.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        let (least, most) = (self.least.max(later.least), self.most.min(later.most));
        if least <= most { Self { least, most, ..self } } else { Self { before: self.bound(), ..later } }
    }
}

/// The bound ε of a skew's clock error: two clocks that are each off from vCPU 0's by at most their bounds.
pub fn skew_error(mut bounds: Vec<u64>) -> u64 {
    bounds.sort_unstable_by(|a, b| b.cmp(a));
    bounds.iter().take(2).fold(0, |sum, &bound| sum.saturating_add(bound))
}

#[cfg(test)]
mod tests;
