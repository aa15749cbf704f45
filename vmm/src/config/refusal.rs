//! Why a cell cannot be measured, and whether another host could. What refuses which cell is in [`super::destinations`],
//! [`super::target_states`] and [`super::routes`].

use super::host_offers::Need;
use super::routes::IdLimit;

/// Why a combination cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Destination or target state do not go with the route.
    Combination(&'static str),
    /// More vCPUs than the route's APIC ids reach.
    Ids(IdLimit),
    /// The host lacks what the route needs.
    Host(Need),
}

impl Refusal {
    /// The reason in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Combination(reason) => reason,
            Self::Ids(limit) => limit.reason(),
            Self::Host(need) => need.reason(),
        }
    }

    /// Whether another host could.
    pub const fn is_the_hosts(self) -> bool {
        match self {
            Self::Combination(_) => false,
            Self::Ids(limit) => limit.is_the_hosts(),
            Self::Host(_) => true,
        }
    }
}
