//! Why a cell cannot be measured, whether another host could, and which other choice could. What refuses which cell is in
//! [`super::calls`], [`super::destinations`], [`super::target_states`] and [`super::routes`].

use super::host_offers::Need;
use super::routes::{IdLimit, Route};
use super::{Call, CellId, Observe};
use guest_stub::abi::{Destination, TargetState, Wait};

/// Why a combination cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The cell's choices do not go together: the reason, and the changes of which each takes it away.
    Combination(&'static str, &'static [Change]),
    /// More vCPUs than the route's APIC ids reach.
    Ids(IdLimit),
    /// The host lacks what the route needs.
    Host(Need),
}

/// One choice of a cell, made differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Call(Call),
    Route(Route),
    Destination(Destination),
    TargetState(TargetState),
    Vcpus(usize),
    Observe(Observe),
    Wait(Wait),
}

impl Change {
    /// The cell with this choice.
    pub fn apply(self, to: &CellId) -> CellId {
        match self {
            Self::Call(call) => CellId { call, ..*to },
            Self::Route(route) => CellId { route, ..*to },
            Self::Destination(destination) => CellId { destination, ..*to },
            Self::TargetState(target_state) => CellId { target_state, ..*to },
            Self::Vcpus(vcpus) => CellId { vcpus, ..*to },
            Self::Observe(observe) => CellId { observe, ..*to },
            Self::Wait(wait) => CellId { wait, ..*to },
        }
    }
}

impl Refusal {
    /// The reason in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Combination(reason, _) => reason,
            Self::Ids(limit) => limit.reason(),
            Self::Host(need) => need.reason(),
        }
    }

    /// Changes of which each takes the reason away, on this host.
    pub const fn ways_out(self) -> &'static [Change] {
        match self {
            Self::Combination(_, changes) => changes,
            Self::Ids(limit) => limit.ways_out(),
            Self::Host(_) => &[],
        }
    }

    /// Whether another host could.
    pub const fn is_the_hosts(self) -> bool {
        match self {
            Self::Combination(..) => false,
            Self::Ids(limit) => limit.is_the_hosts(),
            Self::Host(_) => true,
        }
    }
}
