//! What people come for, in a sentence: how simultaneously code runs on all vCPUs, and at what cost.

use crate::config::routes;
use crate::report::{tables, units};
use crate::results::count::count;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::{Metric, MetricName};
use crate::results::quiet::Verdict;
use guest_stub::abi::cell::{Call, Observe};

/// The sentence; `None`: no cell has an answer. It is about the largest machines, kipi's own where there are any, and of their broadcast
/// calls, about those that start most simultaneously, and if others are, the cheapest.
pub(in crate::report) fn sentence(measurement: &Measurement) -> Option<String> {
    let good = measurement.asked().filter(|cell| cell.integrity.is_clean() && cell.rounds > 0);
    let all: Vec<&Cell> = one_kind(&good.collect::<Vec<_>>());
    let round_trip = |cell: &&Cell| cell.metrics.get(&MetricName::RoundTrip).map_or(f64::INFINITY, |metric| metric.p50);
    let cheapest = *all.iter().min_by(|one, other| round_trip(one).total_cmp(&round_trip(other)))?;
    let cost = cheapest.metrics.get(&MetricName::RoundTrip)?;
    let places = routes::of(cheapest.id.route).participant();
    let name = |cell: &Cell| name(cell, &all);
    let is_blind = measurement.quiet.as_ref().is_some_and(|quiet| quiet.verdict == Verdict::NotKnown);
    let loud = |cells: &[&Cell]| match cells.iter().any(|cell| cell.never_quiet) {
        true => "; never quiet meanwhile",
        false if is_blind => "; not known to be quiet meanwhile",
        false => "",
    };
    let (price, noise) = (units::time(cost.p50), loud(&[cheapest]));
    if cheapest.id.call == Call::Ping {
        return Some(format!("one interrupt there and back takes {price}{}{noise}", name(cheapest)));
    }
    let skew = |cell: &&&Cell| cell.metrics.get(&MetricName::StartSkew).map(|metric| metric.p50);
    let first = all.iter().filter(|cell| skew(cell).is_some());
    let Some(&first) = first.min_by(|one, other| skew(one).unwrap_or(0.0).total_cmp(&skew(other).unwrap_or(0.0)))
    else {
        let alone =
            if cheapest.id.vcpus == 1 { format!(": one {places} alone is always simultaneous") } else { String::new() };
        return Some(format!("a call costs {price}{}{alone}{noise}", name(cheapest)));
    };
    let start = |cell: &Cell| cell.metrics.get(&MetricName::StartSkew).map_or_else(Default::default, within);
    let on = count(first.id.vcpus, places);
    let noise = loud(&[first, cheapest]);
    let its_price = first.metrics.get(&MetricName::RoundTrip).map(|metric| units::time(metric.p50))?;
    let [half, nearly_all] = start(first);
    let most =
        format!("code starts on all {on} within {half} of each other{nearly_all} at {its_price} a call{}", name(first));
    if std::ptr::eq(first, cheapest) {
        return Some(format!("{most}{noise}"));
    }
    let [half, nearly_all] = start(cheapest);
    Some(format!("{most}, or within {half}{nearly_all} at {price}{}{noise}", name(cheapest)))
}

/// The cells that can be spoken of in one sentence: of broadcast calls before pings, virtual machines before threads, kipi's own VMM
/// before others, the guest's vantage, and the most vCPUs.
fn one_kind<'m>(cells: &[&'m Cell]) -> Vec<&'m Cell> {
    let kind = |cell: &Cell| {
        let is_native = routes::of(cell.id.route).is_native();
        let is_ping = cell.id.call == Call::Ping;
        (is_ping, is_native, cell.id.under.is_some(), cell.id.observe != Observe::Guest, usize::MAX - cell.id.vcpus)
    };
    let best = cells.iter().map(|cell| kind(cell)).min();
    cells.iter().copied().filter(|cell| Some(kind(cell)) == best).collect()
}

/// A start skew's median, and what it seldom exceeds.
fn within(metric: &Metric) -> [String; 2] {
    let told = |ns| units::bounded(ns, metric.clock_error).trim_start_matches("≤ ").to_owned();
    [told(metric.p50), format!(" (99 % of calls: {})", told(metric.p99))]
}

/// A cell's name in brackets, if there are others.
fn name(cell: &Cell, all: &[&Cell]) -> String {
    if all.len() < 2 { String::new() } else { format!(" ({})", tables::name(cell, &all.iter().copied())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::disturbance::Kind;
    use crate::results::fixture;
    use crate::results::quiet::Quiet;
    use std::collections::BTreeSet;

    fn cell(route: &str, state: &str, round_trip: f64, skew: f64) -> Cell {
        let mut cell = Cell { id: fixture::id(route, state), ..fixture::cell(state, round_trip) };
        cell.metrics.insert(MetricName::RoundTrip, Metric { clock_error: Some(0.0), ..fixture::metric(round_trip) });
        let p99 = 3.0 * skew;
        cell.metrics.insert(MetricName::StartSkew, Metric { p99, clock_error: Some(35.0), ..fixture::metric(skew) });
        cell
    }

    fn told(cells: &[Cell]) -> Option<String> {
        sentence(&Measurement { cells: cells.to_vec(), ..fixture::measurement() })
    }

    #[test]
    fn the_most_simultaneous_and_the_cheapest_calls_are_told() {
        let (spin, halt) = (cell("x2apic", "spin", 800_000.0, 400.0), cell("xapic", "halt", 62_000.0, 450.0));
        assert_eq!(
            told(&[halt.clone(), spin.clone()]).expect("an answer"),
            "code starts on all 2 vCPUs within 400 ns of each other (99 % of calls: 1.20 µs) at 800 µs a call (x2apic spin), or \
             within 450 ns (99 % of calls: 1.35 µs) at 62.0 µs (xapic halt)"
        );
        let one = "code starts on all 2 vCPUs within 400 ns of each other (99 % of calls: 1.20 µs) at 800 µs a call";
        assert_eq!(told(std::slice::from_ref(&spin)).expect("an answer"), one);
        let mut others = [spin.clone(), halt.clone(), halt.clone(), halt];
        others[1].id.vcpus = 1;
        others[2].integrity.lost = 1;
        others[3].rounds = 0;
        assert_eq!(told(&others).expect("an answer"), one, "fewer vCPUs, wrong calls, and none");
        let loud = Cell { never_quiet: true, ..spin };
        assert_eq!(told(&[loud]).expect("an answer"), format!("{one}; never quiet meanwhile"));
    }

    #[test]
    fn a_machine_that_is_not_known_to_be_quiet_is_no_quiet_one() {
        let cells = vec![cell("x2apic", "halt", 5_000.0, 2_000.0)];
        let of = |unknown| {
            let quiet = Some(Quiet::of_cells(&cells, BTreeSet::from([unknown])));
            sentence(&Measurement { cells: cells.clone(), quiet, ..fixture::measurement() }).expect("an answer")
        };
        let quiet = of(Kind::Steal);
        assert!(quiet.ends_with(" a call"), "{quiet}");
        assert_eq!(of(Kind::WaitedForCpu), format!("{quiet}; not known to be quiet meanwhile"));
    }

    #[test]
    fn what_the_clocks_cannot_tell_is_below_their_error() {
        let text = told(&[cell("x2apic", "halt", 5_000.0, 20.0)]).expect("an answer");
        assert_eq!(
            text,
            "code starts on all 2 vCPUs within ε of each other (99 % of calls: 60.0 ns) at 5.00 µs a call"
        );
    }

    #[test]
    fn one_vcpu_threads_and_pings_have_sentences_of_their_own() {
        let mut alone = cell("x2apic", "spin", 5_000.0, 20.0);
        alone.id.vcpus = 1;
        alone.metrics.remove(&MetricName::StartSkew);
        assert_eq!(told(&[alone]).expect("an answer"), "a call costs 5.00 µs: one vCPU alone is always simultaneous");
        let threads = told(&[cell("native-rseq", "user", 9_000.0, 300.0)]).expect("an answer");
        assert!(threads.starts_with("code starts on all 2 threads within 300 ns"), "{threads}");
        let mut ping = cell("x2apic", "user", 4_000.0, 300.0);
        ping.id.call = Call::Ping;
        ping.metrics.remove(&MetricName::StartSkew);
        let only = told(std::slice::from_ref(&ping)).expect("an answer");
        assert_eq!(only, "one interrupt there and back takes 4.00 µs");
        let both = told(&[ping, cell("x2apic", "user", 9_000.0, 300.0)]).expect("an answer");
        assert!(both.contains("9.00 µs a call") && !both.contains("interrupt"), "{both}");
        assert_eq!(told(&[]), None);
    }
}
