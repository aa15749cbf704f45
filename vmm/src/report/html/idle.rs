//! Delivery over the time that halted targets had been in HLT: where a host's halt polling ends, delivery takes longer.

use super::pictures::{key, picture};
use super::{charts, name};
use crate::report::units;
use crate::results::measurement::Cell;
use crate::results::metric::MetricName;
use guest_stub::abi::cell::CellId;
use maud::{Markup, html};

/// What one cell has to say.
struct Point {
    /// Median time in HLT, ns.
    halted: f64,
    /// Median and 99th percentile of delivery, ns.
    delivery: [f64; 2],
    /// Share of wake-ups that ended a poll.
    polled: Option<f64>,
}

impl Point {
    fn of(cell: &Cell) -> Option<Self> {
        let delivery = cell.metrics.get(&MetricName::Delivery)?;
        Some(Self {
            halted: cell.metrics.get(&MetricName::Halted)?.p50,
            delivery: [delivery.p50, delivery.p99],
            polled: cell.halt.as_ref().map(|halt| halt.polled),
        })
    }

    /// In words.
    fn describe(&self) -> String {
        let [p50, p99] = self.delivery.map(units::time);
        let polled = self.polled.map_or_else(String::new, |share| format!(", woken by poll {}", units::share(share)));
        format!("after {}: half within {p50}, 99 % within {p99}{polled}", units::time(self.halted))
    }
}

/// Cells that differ in the time in HLT alone, by that time.
struct Line {
    name: String,
    points: Vec<Point>,
}

/// The lines of two points or more.
fn lines(cells: &[(usize, &Cell)]) -> Vec<Line> {
    let mut lines: Vec<(CellId, Line)> = Vec::new();
    for (_, cell) in cells.iter().filter(|(_, cell)| cell.id.idle_before_us.is_some()) {
        let Some(point) = Point::of(cell) else { continue };
        let id = CellId { idle_before_us: None, ..cell.id };
        match lines.iter_mut().find(|(known, _)| *known == id) {
            Some((_, line)) => line.points.push(point),
            None => lines.push((id, Line { name: name(&Cell { id, ..(*cell).clone() }), points: vec![point] })),
        }
    }
    let mut lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).filter(|line| line.points.len() > 1).collect();
    for line in &mut lines {
        line.points.sort_by(|one, other| one.halted.total_cmp(&other.halted));
    }
    lines
}

/// A figure of delivery over the time in HLT; nothing where that time does not vary.
pub(super) fn figure(cells: &[(usize, &Cell)]) -> Markup {
    const TITLE: &str = "Delivery over the time in HLT";
    let lines = lines(cells);
    let mut drawn = Vec::new();
    let mut names = Vec::new();
    for line in &lines {
        for (quantile, of) in ["median", "99th percentile"].into_iter().enumerate() {
            names.push((drawn.len(), format!("{}: {of}", line.name)));
            drawn.push(line.points.iter().map(|point| (point.halted, point.delivery[quantile])).collect());
        }
    }
    let words: Vec<String> = lines
        .iter()
        .map(|line| {
            format!("{}: {}", line.name, line.points.iter().map(Point::describe).collect::<Vec<_>>().join("; "))
        })
        .collect();
    let Some(svg) = charts::over_idle(TITLE, &words.join(". "), &drawn) else { return html! {} };
    html! {
        figure {
            figcaption { b { (TITLE) } " before the interrupt was sent, as measured" }
            (picture(svg))
            (key(&names))
            @for line in &words { p.soft { (line) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::halts::CellWakeups;
    use crate::results::source::Source;

    fn cell(route: &str, idle_before_us: u32, delivery: f64, polled: f64) -> Cell {
        let mut cell = fixture::cell("halt", 30_000.0);
        cell.id = CellId { idle_before_us: Some(idle_before_us), ..fixture::id(route, "halt") };
        cell.metrics.insert(MetricName::Halted, fixture::metric(f64::from(idle_before_us) * 1e3 + 7e3));
        cell.metrics.insert(MetricName::Delivery, fixture::metric(delivery));
        cell.halt = Some(CellWakeups { source: Source::Stats, polled, regimes: Vec::new() });
        cell
    }

    #[test]
    fn delivery_is_drawn_over_the_measured_time_a_line_for_each_route() {
        let cells = [
            cell("x2apic", 400, 38_000.0, 0.0),
            cell("x2apic", 20, 5_000.0, 1.0),
            cell("host", 20, 4_000.0, 1.0),
            cell("host", 400, 30_000.0, 0.02),
            cell("msi", 20, 4_000.0, 1.0),
        ];
        let numbered: Vec<(usize, &Cell)> = cells.iter().enumerate().collect();
        let page = figure(&numbered).into_string();
        let words = "x2apic · all-but-self · halt · 2 vCPUs: after 27.0 µs: half within 5.00 µs, 99 % within 10.0 µs, \
                     woken by poll 100 %; after 407 µs: half within 38.0 µs, 99 % within 76.0 µs, woken by poll 0 %";
        assert_eq!(page.matches(words).count(), 2, "below the picture, and in it: {page}");
        assert!(page.contains("host · all-but-self · halt · 2 vCPUs: 99th percentile"), "{page}");
        assert!(!page.contains("msi"), "one point is no line: {page}");
        assert_eq!(page.matches("<circle").count(), 8, "two quantiles of two times on two routes: {page}");
    }

    #[test]
    fn where_the_time_does_not_vary_there_is_no_picture() {
        let once = cell("x2apic", 20, 5_000.0, 1.0);
        assert_eq!(figure(&[(0, &once)]).into_string(), "");
        assert_eq!(figure(&[(0, &fixture::cell("halt", 1.0)), (1, &fixture::cell("spin", 1.0))]).into_string(), "");
    }
}
