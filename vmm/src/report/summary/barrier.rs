//! What it costs that workers start together: from the last arrival to the last start, and where pings were measured beside the
//! calls, what is left of a round trip without that and without the workers.

use crate::report::{tables, units};
use crate::results::halts::are_alike;
use crate::results::measurement::Cell;
use crate::results::metric::MetricName;
use guest_stub::abi::cell::{Call, CellId, Observe};
use guest_stub::abi::{Destination, TargetState};

/// The answer in a line, if there are broadcast calls.
pub(super) fn start_barrier(cells: &[&Cell]) -> Option<String> {
    let guest = || cells.iter().copied().filter(|cell| cell.id.observe == Observe::Guest);
    let barriers = || guest().filter_map(|cell| cell.metrics.get(&MetricName::StartBarrier));
    let (least, most) = (
        barriers().min_by(|one, other| one.p50.total_cmp(&other.p50))?,
        barriers().max_by(|one, other| one.p50.total_cmp(&other.p50))?,
    );
    let [one, other] = [least, most].map(|metric| units::bounded(metric.p50, metric.clock_error));
    let barrier = if one == other {
        one
    } else if units::is_below(least.p50, least.clock_error) {
        format!("{one} to {other}")
    } else {
        units::range(least.p50, most.p50)
    };
    let pings = pings(&guest().collect::<Vec<_>>());
    Some(format!("{barrier} from the last arrival to the last worker's start{pings}"))
}

/// The pings' round trips in those of the calls, by target state; empty without pings. Halted targets are compared where they had
/// been in HLT for like times, which a wake-up depends on.
fn pings(cells: &[&Cell]) -> String {
    let pairs: Vec<(&Cell, &Cell)> = cells.iter().filter_map(|ping| Some((*ping, call_of(ping, cells)?))).collect();
    let ratios: Vec<(TargetState, f64)> =
        pairs.iter().filter(|pair| idle_times(pair).is_none()).filter_map(|(ping, call)| ratio(ping, call)).collect();
    let of_state = |&state: &TargetState| {
        let ratios = || ratios.iter().filter(|(of, _)| *of == state).map(|&(_, ratio)| ratio);
        let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(f64::NEG_INFINITY, f64::max));
        let (one, other) = (format!("{least:.2}"), format!("{most:.2}"));
        ratios().next()?;
        Some(if one == other {
            format!("{one} ({})", state.name())
        } else {
            format!("{one}–{other} ({})", state.name())
        })
    };
    let compared = match TargetState::ALL.iter().filter_map(of_state).collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        states => format!("; a ping's round trip over the call's: {}", states.join(", ")),
    };
    let told = |[ping, call]: [f64; 2]| format!("{} and {}", units::time(ping), units::time(call));
    match pairs.iter().filter_map(idle_times).map(told).collect::<Vec<_>>().as_slice() {
        [] => compared,
        [first, others @ ..] => {
            let others = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
            let why =
                "not compared where halted targets had been in HLT for different times (--idle-before asks for them)";
            format!("{compared}; {why}: {first}{others}")
        }
    }
}

/// The median times in HLT before a ping and before a call, ns, if they are too different to compare the two.
fn idle_times((ping, call): &(&Cell, &Cell)) -> Option<[f64; 2]> {
    let times = [tables::median_in_hlt(ping)?, tables::median_in_hlt(call)?];
    (!are_alike(times[0], times[1])).then_some(times)
}

/// The call that interrupts a ping's target in the same way, and nobody else.
fn call_of<'a>(ping: &Cell, cells: &[&'a Cell]) -> Option<&'a Cell> {
    let CellId { call: Call::Ping, destination: Destination::Unicast, .. } = ping.id else { return None };
    let same = |destination| CellId { call: Call::Broadcast, destination, ..ping.id };
    let find = |id: CellId| cells.iter().copied().find(|cell| cell.id == id);
    // With two vCPUs, all but the sender are one.
    let or_everybody = || find(same(Destination::AllButSelf)).filter(|cell| cell.id.vcpus == 2);
    find(same(Destination::Unicast)).or_else(or_everybody)
}

/// A ping's median round trip in that of a call.
fn ratio(ping: &Cell, call: &Cell) -> Option<(TargetState, f64)> {
    let (ping_ns, call_ns) = (median(ping, MetricName::RoundTrip)?, median(call, MetricName::RoundTrip)?);
    (call_ns > 0.0).then_some((ping.id.target_state, ping_ns / call_ns))
}

fn median(cell: &Cell, metric: MetricName) -> Option<f64> {
    cell.metrics.get(&metric).map(|metric| metric.p50)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    /// A cell whose metric has this median.
    fn cell(id: CellId, metric: MetricName, p50: f64) -> Cell {
        let mut cell = Cell { id, ..fixture::cell("halt", 100_000.0) };
        cell.metrics.insert(metric, fixture::metric(p50));
        cell
    }

    #[test]
    fn the_barrier_is_a_range_and_pings_are_compared_with_calls_of_the_same_targets() {
        let id = fixture::id("x2apic", "halt");
        let call = cell(id, MetricName::StartBarrier, 30_000.0);
        let of = |cells: &[Cell]| start_barrier(&cells.iter().collect::<Vec<_>>());
        let text = |cells: &[Cell]| of(cells).expect("there is a call");
        assert_eq!(text(std::slice::from_ref(&call)), "30.0 µs from the last arrival to the last worker's start");
        let user = cell(CellId { target_state: TargetState::User, ..id }, MetricName::StartBarrier, 2_000.0);
        let ping = CellId { call: Call::Ping, destination: Destination::Unicast, ..id };
        let ping_of_three = cell(CellId { vcpus: 3, ..ping }, MetricName::RoundTrip, 1.0);
        let ping = cell(ping, MetricName::RoundTrip, 42_000.0);
        assert_eq!(
            text(&[call, user, ping.clone(), ping_of_three]),
            "2.00–30.0 µs from the last arrival to the last worker's start; a ping's round trip over the call's: 0.42 (halt)"
        );
        assert_eq!(of(&[ping]), None, "a ping has no start barrier");
    }

    #[test]
    fn pings_and_calls_of_targets_that_were_halted_for_unlike_times_are_not_compared() {
        let id = fixture::id("x2apic", "halt");
        let ping = CellId { call: Call::Ping, destination: Destination::Unicast, ..id };
        let text = |ping_ns, call_ns| {
            let call = cell(id, MetricName::StartBarrier, 30_000.0);
            let halted = |id, ns| {
                let mut of_id = Cell { metrics: call.metrics.clone(), ..cell(id, MetricName::RoundTrip, 100_000.0) };
                of_id.metrics.insert(MetricName::Halted, fixture::metric(ns));
                of_id
            };
            start_barrier(&[&halted(id, call_ns), &halted(ping, ping_ns)]).expect("there is a call")
        };
        assert!(text(66_000.0, 70_000.0).ends_with("a ping's round trip over the call's: 1.00 (halt)"));
        let unlike = text(30_000.0, 66_000.0);
        assert!(unlike.ends_with("(--idle-before asks for them): 30.0 µs and 66.0 µs"), "{unlike}");
        assert!(!unlike.contains("over the call's"), "{unlike}");
    }
}
