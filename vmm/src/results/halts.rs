//! How halted targets were woken: while KVM still polled for an event (halt polling), or after their threads had slept.

use super::source::Source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// How the targets of a round, or of a block of rounds, were woken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Regime {
    /// A round: every target while KVM polled. A block: at least 95 % of its wake-ups.
    Polled,
    /// A round: every target after its thread had slept. A block: at least 95 % of its wake-ups.
    Blocked,
    /// Some so, some so.
    Mixed,
    /// Of some target, no wake-up was seen: its interrupt may have been pending when it executed HLT.
    Unknown,
}

impl Regime {
    /// Share of a block's wake-ups, in per cent, that must be alike for the block to be called so.
    const ALIKE: u64 = 95;

    /// That of a block, by what woke its targets.
    pub fn of_block(polled: u64, blocked: u64) -> Self {
        let all = polled.saturating_add(blocked);
        let is_alike = |part: u64| u128::from(part) * 100 >= u128::from(all) * u128::from(Self::ALIKE);
        match all {
            0 => Self::Unknown,
            _ if is_alike(polled) => Self::Polled,
            _ if is_alike(blocked) => Self::Blocked,
            _ => Self::Mixed,
        }
    }

    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How KVM woke the targets of one block, by its counters (KVM_GET_STATS_FD), from the first round that counts to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockWakeups {
    /// What the block is called.
    pub regime: Regime,
    /// HLTs that ended while KVM polled: `halt_successful_poll`.
    pub polled: u64,
    /// Threads that were woken: `halt_wakeup`.
    pub blocked: u64,
    /// HLTs that KVM polled in, in vain too: `halt_attempted_poll`.
    pub attempted: u64,
    /// Successful polls that brought nothing to run for: `halt_poll_invalid`.
    pub invalid: u64,
    /// Time of successful polls, ns: `halt_poll_success_ns`.
    pub poll_success_ns: u64,
    /// Time of polls in vain, ns: `halt_poll_fail_ns`.
    pub poll_fail_ns: u64,
    /// Time asleep, ns: `halt_wait_ns`.
    pub wait_ns: u64,
}

/// How KVM woke the targets of a cell, and what difference it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellWakeups {
    /// Who told: `kernel`, round by round (tracepoint kvm_vcpu_wakeup), or `stats`, block by block (KVM_GET_STATS_FD).
    pub source: Source,
    /// Share of the wake-ups that ended a poll.
    pub polled: f64,
    /// The regimes that there were.
    pub regimes: Vec<OfRegime>,
}

/// The rounds of one regime.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfRegime {
    /// Which.
    pub regime: Regime,
    /// Its rounds, that count.
    pub rounds: u64,
    /// Blocks that they are from.
    pub blocks: u64,
    /// Median round trip, ns.
    pub round_trip_p50_ns: f64,
    /// Median delivery, ns; `null`: there is none.
    pub delivery_p50_ns: Option<f64>,
}

/// Whether two times in HLT, in ns, are as good as one for what follows from them: they differ by 10 µs at most, or by a fifth of
/// the shorter one.
pub fn are_alike(one: f64, other: f64) -> bool {
    const SHARE: f64 = 0.2;
    const LEAST_NS: f64 = 10_000.0;
    (one - other).abs() <= (SHARE * one.min(other)).max(LEAST_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_hlt_are_alike_within_a_fifth_or_ten_microseconds() {
        assert!(are_alike(20_000.0, 30_000.0) && !are_alike(20_000.0, 30_001.0));
        assert!(are_alike(480_000.0, 400_000.0) && !are_alike(400_000.0, 481_000.0));
    }

    #[test]
    fn a_block_is_called_by_what_woke_nineteen_in_twenty() {
        for (polled, blocked, regime) in [
            (20, 0, Regime::Polled),
            (19, 1, Regime::Polled),
            (18, 1, Regime::Mixed),
            (1, 18, Regime::Mixed),
            (1, 19, Regime::Blocked),
            (0, 1, Regime::Blocked),
            (0, 0, Regime::Unknown),
        ] {
            assert_eq!(Regime::of_block(polled, blocked), regime, "{polled}, {blocked}");
        }
    }
}
