//! From samples and events to numbers: order statistics and intervals ([`order`]), the metrics ([`metrics`]), and where a call's
//! time went ([`stages`], [`breakdown`]).

pub mod breakdown;
pub mod metrics;
pub mod order;
pub mod stages;
