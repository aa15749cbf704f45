//! Architectural or hypercall? Of the two ways to interrupt targets that a guest of KVM has, the cheaper one, by what is
//! interrupted.

use super::cells::separate;
use crate::config::routes::{self, Delivery};
use crate::config::{self, CellId, LocalApics};
use crate::report::table::{Column, Table, Value};
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::{Metric, MetricName};
use guest_stub::abi::cell::{Call, Observe, Route};

const TITLE: &str = "Architectural or hypercall? By the medians of round trips";

/// A row for each call, destination, state and number of targets that were measured both ways.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let contests = contests(&measurement.cells);
    let mut table = Table::new(TITLE, Vec::new());
    let of = |value: fn(&CellId) -> Value| contests.iter().map(|contest| value(&contest.icr.0.id)).collect::<Vec<_>>();
    // The default goes without saying.
    if contests.iter().any(|contest| contest.icr.0.id.call != Call::Broadcast) {
        separate(&mut table, Column::key("call", of(|id| Value::text(id.call.name()))), ToString::to_string);
    }
    let destinations = of(|id| Value::text(id.destination.name()));
    separate(&mut table, Column::key("destination", destinations), |value| format!("destination {value}"));
    let states = of(|id| Value::text(id.target_state.name()));
    separate(&mut table, Column::key("state", states), |value| format!("state {value}"));
    table.columns.push(Column::number("", "targets", 0, of(|id| Value::Count(config::targets(id) as u64))));
    let sides = |side: fn(Contest<'_>) -> Side<'_>| contests.iter().copied().map(side).collect::<Vec<_>>();
    for (group, sides) in [("ICR", sides(|contest| contest.icr)), ("hypercall", sides(|contest| contest.hypercall))] {
        let column = |value: fn(Side<'_>) -> Value| sides.iter().copied().map(value).collect();
        let routes = column(|(cell, _)| Value::text(cell.id.route.name()));
        table.columns.push(Column { group, ..Column::words("route", 0, routes) });
        // What decides is the interval. On a narrow terminal the median, which is in it, gives way.
        let is_known = sides.iter().any(|(_, metric)| metric.ci95.p50.is_some());
        let [rank, rank_of_interval] = if is_known { [1, 0] } else { [0, 1] };
        table.columns.push(Column::number(group, "p50", rank, column(|(_, metric)| Value::Time(metric.p50))));
        let intervals = column(|(_, metric)| Value::or_missing(metric.ci95.p50.map(Value::TimeRange)));
        table.columns.push(Column::number(group, "95 %", rank_of_interval, intervals));
    }
    let cheaper = contests.iter().map(|contest| Value::text(contest.cheaper().map_or("undecided", Route::name)));
    table.columns.push(Column::words("cheaper", 0, cheaper.collect()));
    table.notes.push("Undecided: the intervals overlap, or there is none.".to_owned());
    (!contests.is_empty()).then_some(table)
}

/// A cell, and its round trips.
type Side<'a> = (&'a Cell, &'a Metric);

/// The cheapest cell of each way, where all else is the same.
#[derive(Clone, Copy)]
struct Contest<'a> {
    icr: Side<'a>,
    hypercall: Side<'a>,
}

impl Contest<'_> {
    /// The cheaper route; `None` where the intervals do not tell.
    fn cheaper(&self) -> Option<Route> {
        let [icr, hypercall] = [self.icr, self.hypercall].map(|(_, metric)| metric.ci95.p50);
        let (icr, hypercall) = (icr?, hypercall?);
        if icr[1] < hypercall[0] {
            Some(self.icr.0.id.route)
        } else if hypercall[1] < icr[0] {
            Some(self.hypercall.0.id.route)
        } else {
            None
        }
    }
}

/// What was measured both ways, in the order of the first cell of each.
fn contests(cells: &[Cell]) -> Vec<Contest<'_>> {
    let sides: Vec<Side<'_>> = cells
        .iter()
        .filter(|cell| cell.id.observe == Observe::Guest)
        .filter_map(|cell| Some((cell, cell.metrics.get(&MetricName::RoundTrip)?)))
        .collect();
    let but_for_route = |cell: &Cell| CellId { route: Route::X2Apic, ..cell.id };
    let cheapest = |wanted: CellId, is_way: fn(&routes::Spec) -> bool| {
        let of_way = |(cell, _): &&Side<'_>| but_for_route(cell) == wanted && is_way(routes::of(cell.id.route));
        sides.iter().filter(of_way).min_by(|one, other| one.1.p50.total_cmp(&other.1.p50)).copied()
    };
    let mut kinds: Vec<CellId> = Vec::new();
    for (cell, _) in &sides {
        let kind = but_for_route(cell);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let contest = |kind| {
        Some(Contest { icr: cheapest(kind, writes_icr)?, hypercall: cheapest(kind, routes::Spec::makes_hypercalls)? })
    };
    kinds.into_iter().filter_map(contest).collect()
}

/// A fixed interrupt by a write to the ICR of KVM's local APIC.
fn writes_icr(route: &routes::Spec) -> bool {
    route.sends_ipis() && route.delivery == Delivery::Fixed && route.local_apics() == Some(LocalApics::Kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::render;
    use crate::results::fixture;
    use guest_stub::abi::Destination;

    fn cell(route: Route, vcpus: usize, round_trip: f64) -> Cell {
        let cell = fixture::cell("halt", round_trip);
        Cell { id: CellId { route, vcpus, ..cell.id }, ..cell }
    }

    fn verdicts(cells: &[Cell]) -> Vec<(usize, Option<Route>)> {
        contests(cells).iter().map(|contest| (config::targets(&contest.icr.0.id), contest.cheaper())).collect()
    }

    #[test]
    fn the_cheapest_of_each_way_meet() {
        let cells = [
            cell(Route::XApic, 2, 90.0),
            cell(Route::X2Apic, 2, 60.0),
            cell(Route::KvmPv, 2, 80.0),
            cell(Route::HyperV, 2, 70.0),
            cell(Route::X2Apic, 8, 300.0),
            cell(Route::KvmPv, 8, 200.0),
        ];
        assert_eq!(verdicts(&cells), [(1, Some(Route::X2Apic)), (7, Some(Route::KvmPv))]);
        assert_eq!(contests(&cells)[0].hypercall.0.id.route, Route::HyperV);
    }

    #[test]
    fn intervals_that_overlap_decide_nothing() {
        // 95 % within 5 %.
        assert_eq!(verdicts(&[cell(Route::X2Apic, 2, 100.0), cell(Route::KvmPv, 2, 109.0)]), [(1, None)]);
        assert_eq!(
            verdicts(&[cell(Route::X2Apic, 2, 100.0), cell(Route::KvmPv, 2, 111.0)]),
            [(1, Some(Route::X2Apic))]
        );
        let mut unknown = [cell(Route::X2Apic, 2, 100.0), cell(Route::KvmPv, 2, 900.0)];
        unknown[1].metrics.get_mut(&MetricName::RoundTrip).unwrap().ci95.p50 = None;
        assert_eq!(verdicts(&unknown), [(1, None)]);
    }

    #[test]
    fn like_is_compared_with_like() {
        let one_way = [cell(Route::XApic, 2, 1.0), cell(Route::X2Apic, 2, 1.0)];
        let mut unicast = cell(Route::KvmPv, 2, 2.0);
        unicast.id.destination = Destination::Unicast;
        let others = [cell(Route::X2Apic, 4, 1.0), unicast, cell(Route::Nmi, 2, 1.0), cell(Route::VmmX2Apic, 2, 1.0)];
        assert!(contests(&[&one_way[..], &others].concat()).is_empty());
        assert!(contests(&[cell(Route::Nmi, 2, 1.0), cell(Route::KvmPv, 2, 2.0)]).is_empty());
    }

    #[test]
    fn details_have_a_row_for_each_number_of_targets() {
        let mut measurement = fixture::measurement();
        measurement.cells = vec![cell(Route::X2Apic, 2, 66_000.0), cell(Route::KvmPv, 2, 88_000.0)];
        let report = render(&measurement, 80, true);
        let mut table = report.lines().skip_while(|line| !line.starts_with(TITLE));
        let row = table.find(|line| line.contains("kvm-pv") && line.contains("x2apic")).unwrap_or_default();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words.join(" "), "1 x2apic 66.0 µs 62.7–69.3 µs kvm-pv 88.0 µs 83.6–92.4 µs x2apic", "{report}");
        assert!(report.lines().all(|line| line.chars().count() <= 80), "{report}");
        assert!(!render(&measurement, 80, false).contains(TITLE));
    }
}
