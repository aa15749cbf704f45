//! Whether each route can be used, judged by using it.

use crate::config::routes::{self, Route};
use crate::config::{Call, HostOffers, XAPIC_VCPUS};
use crate::results::doctor::{Offer, RouteVerdict, Verdict};
use crate::vm::device::Error;
use crate::vm::offers;

/// A verdict for every route, on `cpus` CPUs (0: nobody knows).
pub(super) fn judge_all(
    offer: &Result<Offer, Error>,
    vcpus: usize,
    cpus: usize,
    probe: impl Fn(Route) -> Result<(), String>,
) -> Vec<RouteVerdict> {
    let judge_one = |&route| {
        let (verdict, reason) = match offer {
            // It needs no KVM.
            _ if routes::of(route).is_native() => {
                judge(route, offers::without_kvm(), || shortfall_of_threads(vcpus, cpus), &probe)
            }
            Ok(offer) => {
                let offers = offers::to_routes(offer);
                judge(route, offers, || shortfall(route, offer, offers, vcpus), &probe)
            }
            Err(error) => (Verdict::Missing, error.to_string()),
        };
        RouteVerdict { route: route.name().to_owned(), verdict, reason }
    };
    Route::ALL.iter().map(judge_one).collect()
}

fn judge(
    route: Route,
    offers: HostOffers,
    shortfall: impl Fn() -> Option<String>,
    probe: impl Fn(Route) -> Result<(), String>,
) -> (Verdict, String) {
    if let Some(need) = routes::of(route).lacks(offers) {
        return (Verdict::Missing, need.reason().to_owned());
    }
    let call = match routes::of(route).probe_call() {
        Call::Broadcast => "a broadcast call",
        Call::Ping => "a ping",
    };
    if let Err(reason) = probe(route) {
        return (Verdict::Missing, format!("{call} over it failed: {reason}"));
    }
    match shortfall() {
        Some(reason) => (Verdict::Limited, format!("{call} over it completed, but {reason}")),
        None => (Verdict::Ready, format!("{call} over it completed")),
    }
}

/// What keeps a native route that works from reaching as many threads as there are to be vCPUs.
fn shortfall_of_threads(threads: usize, cpus: usize) -> Option<String> {
    match threads {
        0 | 1 => Some("a thread alone interrupts nobody".to_owned()),
        _ => {
            (cpus > 0 && threads > cpus).then(|| format!("each of {threads} threads needs a CPU, and there are {cpus}"))
        }
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
