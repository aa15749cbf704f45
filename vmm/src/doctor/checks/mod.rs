//! The checks: findings turned into verdicts and advice.

mod host;
mod kvm;
mod tracing;
mod vcpus;

pub(super) use vcpus::most_vcpus;

use crate::results::acceleration::Acceleration;
use crate::results::doctor::{Check, Offer};
use crate::results::host::Facts;
use crate::vm::device::Error;

/// Every check that can be made, in the order of their groups.
pub(super) fn all(
    host: &Facts,
    offer: &Result<Offer, Error>,
    accelerations: &[Acceleration],
    vcpus: usize,
) -> Vec<Check> {
    let offered = offer.as_ref().ok();
    let mut checks = host::checks(host);
    checks.push(kvm::device(host, offer));
    checks.push(kvm::module(host, offered.is_some()));
    checks.extend(offered.into_iter().flat_map(kvm::offers));
    checks.extend(accelerations.iter().map(kvm::acceleration));
    checks.extend(vcpus::checks(host, offered, vcpus));
    checks.extend(tracing::checks(host));
    checks
}
