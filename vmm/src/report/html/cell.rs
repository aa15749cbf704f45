//! One cell's pictures: distributions, arrivals, initiators, and two of its calls.

use super::heat_map::heat_map;
use super::pictures::{distributions, key, picture};
use super::{anchor, charts, name, table};
use crate::report::{tables, units};
use crate::results::detail::{CellDetail, Curve};
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use crate::results::trace::{Call, Which};
use maud::{Markup, html};

/// Most lanes of a timeline that is drawn.
const MOST_LANES: usize = 8;

/// The cell's section; nothing without details.
pub(super) fn section(measurement: &Measurement, index: usize, cell: &Cell, detail: Option<&CellDetail>) -> Markup {
    let Some(detail) = detail else { return html! {} };
    let title = name(cell);
    let epsilon = cell.clock.error_ns;
    let curves: Vec<(usize, &Curve)> = detail.curves.iter().enumerate().collect();
    let names: Vec<(usize, String)> =
        curves.iter().map(|(index, curve)| (*index, curve.metric.name().replace('_', " "))).collect();
    html! {
        section.cell id=(anchor(index)) aria-labelledby={ (anchor(index)) "-title" } {
            h2 id={ (anchor(index)) "-title" } { (title) }
            (distributions(&format!("Distribution functions of {title}"), &curves, &names))
            p.soft {
                @if epsilon == Some(0.0) { "One clock took all stamps." }
                @else { "All times but round trips may be off by the clocks' error, ε = " (units::epsilon(epsilon)) "." }
            }
            (arrivals(&title, detail, of_deliveries(cell)))
            (heat_map(measurement, cell))
            @for call in &detail.calls { (timeline(&title, call, epsilon)) }
        }
    }
}

/// The clocks' error in deliveries: events may have made the cell's own larger.
pub(super) fn of_deliveries(cell: &Cell) -> Option<f64> {
    cell.metrics.get(&MetricName::Delivery).map_or(cell.clock.error_ns, |delivery| delivery.clock_error)
}

/// Delivery over the target's index.
fn arrivals(title: &str, detail: &CellDetail, epsilon: Option<f64>) -> Markup {
    let arrivals = &detail.arrivals;
    let medians = || arrivals.iter().map(|arrival| arrival.p50);
    let (low, high) = (medians().fold(f64::INFINITY, f64::min), medians().fold(f64::NEG_INFINITY, f64::max));
    let heading = format!("Delivery over the vCPU's index of {title}");
    let [low, high] = [low, high].map(|ns| units::bounded(ns, epsilon));
    let words = format!("median deliveries from {low} to {high}");
    html! {
        @if arrivals.len() > 1 {
            figure {
                figcaption { b { "Delivery over the vCPU's index" } }
                (picture(charts::arrivals(&heading, &words, arrivals)))
                (key(&[(0, "median".to_owned()), (1, "99th percentile".to_owned())]))
            }
        }
    }
}

/// One call as a picture, and its events.
fn timeline(title: &str, call: &Call, epsilon: Option<f64>) -> Markup {
    let mut lanes = tables::lanes(call);
    let all = lanes.len();
    lanes.truncate(MOST_LANES);
    let which = match call.which {
        Which::Only => "The round",
        Which::Median => "The round of the median",
        Which::Worst => "The worst round",
    };
    let cost = |ns: f64| units::bounded(ns, epsilon);
    let stages: Vec<String> =
        call.stages.iter().map(|stage| format!("{} {}", stage.stage.name(), cost(stage.cost_ns))).collect();
    let words = format!("round trip {}; {}", units::time(call.round_trip_ns), stages.join(", "));
    let heading = format!("{which} of {title}");
    let late = call.events.iter().filter(|event| event.at_ns > charts::timeline_end(call)).count();
    let spans: Vec<(usize, String)> =
        charts::SPANS.iter().enumerate().map(|(index, (name, ..))| (index, (*name).to_owned())).collect();
    let shown: Vec<(usize, String)> = spans
        .into_iter()
        .filter(|(index, _)| call.events.iter().any(|event| event.kind == charts::SPANS[*index].1))
        .collect();
    html! {
        figure {
            figcaption { b { (which) } ": " (words) }
            (picture(charts::timeline(&heading, &words, call, &lanes)))
            (key(&shown))
            @if late > 0 { p.soft { (late) " events long after the call are not drawn; the table has them." } }
            @if all > lanes.len() { p.soft { (all - lanes.len()) " more lanes are not drawn; the table has them." } }
            details.events {
                summary { "Its " (call.events.len()) " events" }
                (table::print(&tables::timeline(call, usize::MAX, epsilon)))
            }
        }
    }
}
