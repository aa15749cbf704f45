//! From samples and events to numbers: order statistics ([`order`]) and their intervals ([`bootstrap`]), of values that
//! are kept in little room ([`digest`]), the metrics
//! ([`metrics`]) and their form in documents ([`documents`]), where a call's time went ([`stages`], [`breakdown`]) and how much
//! of it exits explain ([`parts`]), its [`exits`] and what one of them costs ([`exit_costs`]), how its targets were woken
//! ([`halts`]), how far its deliveries went ([`distances`]), what it took of the host's CPUs ([`host_cpu`]), and how far the clocks
//! may be apart ([`clock_error`]). Of several runs: by how much two sets of them differ ([`change`]), or two settings that were measured
//! in turns ([`paired`]); where a series of them changed ([`change_points`]), and which do not belong to a group ([`outliers`]).

pub mod bootstrap;
pub mod breakdown;
#[cfg(test)]
mod chance;
pub mod change;
pub mod change_points;
pub mod clock_error;
pub mod digest;
pub mod distances;
pub mod documents;
pub mod drift;
pub mod exit_costs;
mod exit_kinds;
pub mod exits;
pub mod halts;
pub mod holm;
pub mod host_cpu;
pub mod metrics;
pub mod order;
pub mod outliers;
pub mod paired;
pub mod parts;
pub mod ratio;
pub mod stages;
