//! Delivery over the vCPU's index, and over the time in HLT.

use super::{Drawn, failed, picture, positive_range, series, styled, whole};
use crate::report::units;
use crate::results::detail::Arrival;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// Labels of an axis where nothing else is said: as many as plotters makes.
const LABELS: usize = 11;

/// An axis: the range that it shows, and what it says.
struct Axis<'a, C> {
    range: C,
    name: &'a str,
    labels: usize,
    label: &'a dyn Fn(f64) -> String,
}

/// Lines with a dot at each point.
fn lines<X, Y>(
    title: &str,
    description: &str,
    x: Axis<'_, X>,
    y: Axis<'_, Y>,
    lines: impl Iterator<Item = Vec<(f64, f64)>>,
) -> Drawn
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    picture(title, description, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(78)
            .build_cartesian_2d(x.range, y.range)
            .map_err(failed)?;
        styled(&mut chart.configure_mesh())
            .max_light_lines(2)
            .x_labels(x.labels)
            .y_labels(y.labels)
            .x_desc(x.name)
            .y_desc(y.name)
            .x_label_formatter(&|value| (x.label)(*value))
            .y_label_formatter(&|value| (y.label)(*value))
            .draw()
            .map_err(failed)?;
        for (index, points) in lines.enumerate() {
            let dots: Vec<_> = points.iter().map(|&point| Circle::new(point, 3, series(index).filled())).collect();
            chart.draw_series(LineSeries::new(points, series(index).stroke_width(2))).map_err(failed)?;
            chart.draw_series(dots).map_err(failed)?;
        }
        Ok(())
    })
}

/// Delivery over the target's index: median and 99th percentile.
pub(in crate::report::html) fn arrivals(title: &str, description: &str, arrivals: &[Arrival]) -> Drawn {
    let low = arrivals.iter().map(|arrival| arrival.p50.min(0.0)).fold(0.0, f64::min);
    let high = arrivals.iter().map(|arrival| arrival.p99.max(arrival.p50)).fold(1.0, f64::max) * 1.05;
    let first = arrivals.first().map_or(0, |arrival| arrival.vcpu) as f64 - 0.5;
    let last = arrivals.last().map_or(0, |arrival| arrival.vcpu) as f64 + 0.5;
    let x = Axis { range: first..last, name: "vCPU", labels: arrivals.len().min(16), label: &whole };
    let y = Axis { range: low..high, name: "delivery", labels: LABELS, label: &units::time };
    let values: [fn(&Arrival) -> f64; 2] = [|arrival| arrival.p50, |arrival| arrival.p99];
    let points = values.map(|value| arrivals.iter().map(|arrival| (arrival.vcpu as f64, value(arrival))).collect());
    lines(title, description, x, y, points.into_iter())
}

/// Delivery over the time in HLT, both logarithmic: a line for each of `idle`. `None`: none has a point.
pub(in crate::report::html) fn over_idle(title: &str, description: &str, idle: &[Vec<(f64, f64)>]) -> Option<Drawn> {
    let times = positive_range(idle.iter().flatten().map(|(time, _)| time))?.log_scale();
    let deliveries = positive_range(idle.iter().flatten().map(|(_, delivery)| delivery))?.log_scale();
    let x = Axis { range: times, name: "time in HLT (logarithmic)", labels: 8, label: &units::time };
    let y = Axis { range: deliveries, name: "delivery (logarithmic)", labels: LABELS, label: &units::time };
    let is_shown = |&(time, delivery): &(f64, f64)| time > 0.0 && delivery > 0.0;
    let points = idle.iter().map(|line| line.iter().copied().filter(is_shown).collect());
    Some(lines(title, description, x, y, points))
}
