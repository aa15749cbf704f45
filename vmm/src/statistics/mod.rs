//! From samples and events to numbers: order statistics and intervals ([`order`]), the metrics ([`metrics`]), where a call's
//! time went ([`stages`], [`breakdown`]), and its [`exits`].

pub mod breakdown;
pub mod exits;
pub mod metrics;
pub mod order;
pub mod stages;
