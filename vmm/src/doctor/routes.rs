//! Whether each route can be used, judged by using it.

use super::kvm::{Capability, Error, Offer};
use super::{RouteVerdict, Verdict};
use crate::config::XAPIC_VCPUS;
use crate::config::routes::{Route, Rules as _};

/// KVM_CAP_X2APIC_API's flags: APIC ids of 32 bits, and 255 as an id like any other.
const X2APIC_API_WHOLE: i32 = 0b11;

/// A verdict for every route.
pub(super) fn judge_all(
    offer: &Result<Offer, Error>,
    vcpus: usize,
    probe: impl Fn(Route) -> Result<(), String>,
) -> Vec<RouteVerdict> {
    let judge_one = |&route| {
        let (verdict, reason) = match offer {
            Ok(offer) => judge(route, offer, vcpus, &probe),
            Err(error) => (Verdict::Missing, error.to_string()),
        };
        RouteVerdict { route: route.name().to_owned(), verdict, reason }
    };
    Route::ALL.iter().map(judge_one).collect()
}

fn judge(route: Route, offer: &Offer, vcpus: usize, probe: impl Fn(Route) -> Result<(), String>) -> (Verdict, String) {
    if let Some(reason) = obstacle(route, offer) {
        return (Verdict::Missing, reason.to_owned());
    }
    if let Err(reason) = probe(route) {
        return (Verdict::Missing, format!("a broadcast call over it failed: {reason}"));
    }
    match shortfall(route, offer, vcpus) {
        Some(reason) => (Verdict::Limited, format!("a broadcast call over it completed, but {reason}")),
        None => (Verdict::Ready, "a broadcast call over it completed".to_owned()),
    }
}

/// What makes a route impossible for any number of vCPUs.
fn obstacle(route: Route, offer: &Offer) -> Option<&'static str> {
    match route {
        Route::XApic | Route::X2Apic | Route::Nmi | Route::Msi | Route::Host if !offer.has(Capability::IRQCHIP) => {
            Some("it needs an in-kernel irqchip, and KVM_CAP_IRQCHIP is 0")
        }
        route if route.is_x2apic() && offer.cpuid.is_some_and(|cpuid| !cpuid.x2apic) => {
            Some("KVM's CPUID does not offer x2APIC")
        }
        _ => None,
    }
}

/// What keeps a route that works from reaching `vcpus` vCPUs.
fn shortfall(route: Route, offer: &Offer, vcpus: usize) -> Option<String> {
    let most = super::checks::most_vcpus(offer);
    if vcpus > most {
        return Some(format!("{vcpus} vCPUs are more than the {most} that can be had here"));
    }
    match route {
        route if route.is_xapic() && vcpus > XAPIC_VCPUS => {
            Some(format!("xAPIC ids end at 254: {XAPIC_VCPUS} vCPUs at most, not {vcpus}"))
        }
        Route::X2Apic | Route::Nmi | Route::Msi | Route::Host
            if vcpus > XAPIC_VCPUS && offer.value(Capability::X2APIC_API) & X2APIC_API_WHOLE != X2APIC_API_WHOLE =>
        {
            Some(format!("APIC ids above 254 need KVM_CAP_X2APIC_API: {XAPIC_VCPUS} vCPUs at most, not {vcpus}"))
        }
        _ => None,
    }
}
