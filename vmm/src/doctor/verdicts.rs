//! Whether each route can be used, judged by using it.

use crate::config::routes::{self, Route};
use crate::config::{HostOffers, XAPIC_VCPUS};
use crate::results::doctor::{Offer, RouteVerdict, Verdict};
use crate::vm::device::Error;
use crate::vm::offers;

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
    let offers = offers::to_routes(offer);
    if let Some(need) = routes::of(route).lacks(offers) {
        return (Verdict::Missing, need.reason().to_owned());
    }
    if let Err(reason) = probe(route) {
        return (Verdict::Missing, format!("a broadcast call over it failed: {reason}"));
    }
    match shortfall(route, offer, offers, vcpus) {
        Some(reason) => (Verdict::Limited, format!("a broadcast call over it completed, but {reason}")),
        None => (Verdict::Ready, "a broadcast call over it completed".to_owned()),
    }
}

/// What keeps a route that works from reaching `vcpus` vCPUs.
fn shortfall(route: Route, offer: &Offer, offers: HostOffers, vcpus: usize) -> Option<String> {
    let most = super::checks::most_vcpus(offer);
    if vcpus > most {
        return Some(format!("{vcpus} vCPUs are more than the {most} that can be had here"));
    }
    let limit = routes::of(route).id_limit(offers).filter(|_| vcpus > XAPIC_VCPUS);
    limit.map(|limit| limit.reason().to_owned())
}
