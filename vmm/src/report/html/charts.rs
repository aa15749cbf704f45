//! The pictures: curves, arrivals and timelines as SVG within the page, drawn by plotters.
//!
//! Colours are the page's own: what is drawn in a stand-in colour gets the style sheet's variable for it, so that one picture
//! serves light, dark and paper. Lines differ by their dashes too.

use crate::report::{tables, units};
use crate::results::detail::{Arrival, Curve};
use crate::results::source::Source;
use crate::results::trace::Call;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::ops::Range;

/// A picture that could not be drawn, with what was wrong.
pub(super) type Drawn = Result<String, String>;

const SIZE: (u32, u32) = (760, 340);
/// Stand-ins for the text's and the grid's colour.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
/// Colours of series, and dashes. Each has eight, in pairs that come again after sixty-four.
const SERIES: usize = 8;
const DASHES: [&str; SERIES] = ["none", "7 3", "2 3", "9 3 2 3", "12 4", "5 2 5 6", "1 4", "14 3 3 3"];

/// The stand-in for a series' colour and dashes.
fn series(index: usize) -> RGBColor {
    let digit = |number: usize| 16 + u8::try_from(number % SERIES).unwrap_or(0);
    RGBColor(16, digit(index / SERIES), digit(index))
}

/// The attributes of a line of a series, as the legend shows it.
pub(super) fn line_attributes(index: usize) -> String {
    let (color, turn) = (index % SERIES, index / SERIES);
    format!("stroke=\"var(--s{color})\" stroke-dasharray=\"{}\"", DASHES[(color + turn) % SERIES])
}

fn hexadecimal(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// The page's own picture of what plotters has drawn.
fn finish(svg: &str, title: &str, description: &str) -> String {
    let body = svg.find('>').map_or("", |end| &svg[end + 1..]);
    let body = body.trim_end().trim_end_matches("</svg>");
    let mut body = body.replace(&format!("\"{}\"", hexadecimal(INK)), "\"var(--ink)\"");
    body = body.replace(&format!("\"{}\"", hexadecimal(GRID)), "\"var(--grid)\"");
    for index in 0..SERIES * SERIES {
        let color = hexadecimal(series(index));
        body = body.replace(&format!("stroke=\"{color}\""), &line_attributes(index));
        body = body.replace(&format!("\"{color}\""), &format!("\"var(--s{})\"", index % SERIES));
    }
    let (width, height) = SIZE;
    let text = |text: &str| maud::PreEscaped(maud::html! { (text) }.into_string()).0;
    format!(
        "<svg role=\"img\" viewBox=\"0 0 {width} {height}\"><title>{}</title><desc>{}</desc>{body}</svg>",
        text(title),
        text(description)
    )
}

fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The range of positive values, widened so that a single one has a place.
fn positive_range<'a>(values: impl Iterator<Item = &'a f64>) -> Option<Range<f64>> {
    let positive = values.copied().filter(|&value| value > 0.0);
    let (low, high) = positive.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    (low <= high).then(|| low / 1.1..high * 1.1)
}

/// Distribution functions over a logarithmic time. `None`: no curve has a positive value.
pub(super) fn curves(title: &str, description: &str, curves: &[(usize, &Curve)]) -> Option<Drawn> {
    let values = curves.iter().flat_map(|(_, curve)| curve.points.iter().map(|(value, _)| value));
    let range = positive_range(values)?;
    let draw = || {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                .x_label_area_size(42)
                .y_label_area_size(52)
                .build_cartesian_2d(range.clone().log_scale(), 0.0..1.0)
                .map_err(failed)?;
            let text = ("sans-serif", 14).into_font().color(&INK);
            chart
                .configure_mesh()
                .axis_style(INK)
                .bold_line_style(GRID)
                .light_line_style(GRID.mix(0.4))
                .y_max_light_lines(1)
                .label_style(text.clone())
                .axis_desc_style(text)
                .x_labels(8)
                .x_desc("time (logarithmic)")
                .y_desc("fraction of values")
                .x_label_formatter(&|ns| units::time(*ns))
                .y_label_formatter(&|fraction| format!("{fraction:.1}"))
                .draw()
                .map_err(failed)?;
            for (index, curve) in curves {
                let style = series(*index).stroke_width(2);
                chart.draw_series(LineSeries::new(steps(curve), style)).map_err(failed)?;
            }
            area.present().map_err(failed)?;
        }
        Ok(finish(&svg, title, description))
    };
    Some(draw())
}

/// A curve as the staircase that it is, where a logarithm has a place for it.
fn steps(curve: &Curve) -> Vec<(f64, f64)> {
    let mut steps = Vec::with_capacity(2 * curve.points.len());
    let mut before = curve.not_positive as f64 / curve.n.max(1) as f64;
    for &(value, fraction) in curve.points.iter().filter(|(value, _)| *value > 0.0) {
        steps.extend([(value, before), (value, fraction)]);
        before = fraction;
    }
    steps
}

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
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(78)
            .build_cartesian_2d(x.range, y.range)
            .map_err(failed)?;
        let text = ("sans-serif", 14).into_font().color(&INK);
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(GRID.mix(0.4))
            .max_light_lines(2)
            .label_style(text.clone())
            .axis_desc_style(text)
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
        area.present().map_err(failed)?;
    }
    Ok(finish(&svg, title, description))
}

/// Delivery over the target's index: median and 99th percentile.
pub(super) fn arrivals(title: &str, description: &str, arrivals: &[Arrival]) -> Drawn {
    let low = arrivals.iter().map(|arrival| arrival.p50.min(0.0)).fold(0.0, f64::min);
    let high = arrivals.iter().map(|arrival| arrival.p99.max(arrival.p50)).fold(1.0, f64::max) * 1.05;
    let first = arrivals.first().map_or(0, |arrival| arrival.vcpu) as f64 - 0.5;
    let last = arrivals.last().map_or(0, |arrival| arrival.vcpu) as f64 + 0.5;
    let index = |vcpu: f64| if (vcpu - vcpu.round()).abs() < 0.01 { format!("{vcpu:.0}") } else { String::new() };
    let x = Axis { range: first..last, name: "vCPU", labels: arrivals.len().min(16), label: &index };
    let y = Axis { range: low..high, name: "delivery", labels: LABELS, label: &units::time };
    let values: [fn(&Arrival) -> f64; 2] = [|arrival| arrival.p50, |arrival| arrival.p99];
    let points = values.map(|value| arrivals.iter().map(|arrival| (arrival.vcpu as f64, value(arrival))).collect());
    lines(title, description, x, y, points.into_iter())
}

/// Delivery over the time in HLT, both logarithmic: a line for each of `idle`. `None`: none has a point.
pub(super) fn over_idle(title: &str, description: &str, idle: &[Vec<(f64, f64)>]) -> Option<Drawn> {
    let times = positive_range(idle.iter().flatten().map(|(time, _)| time))?.log_scale();
    let deliveries = positive_range(idle.iter().flatten().map(|(_, delivery)| delivery))?.log_scale();
    let x = Axis { range: times, name: "time in HLT (logarithmic)", labels: 8, label: &units::time };
    let y = Axis { range: deliveries, name: "delivery (logarithmic)", labels: LABELS, label: &units::time };
    let is_shown = |&(time, delivery): &(f64, f64)| time > 0.0 && delivery > 0.0;
    let points = idle.iter().map(|line| line.iter().copied().filter(is_shown).collect());
    Some(lines(title, description, x, y, points))
}

/// Where a timeline ends: at the last event, unless that is long after the call, which would then be too small to see.
pub(super) fn timeline_end(call: &Call) -> f64 {
    let last = call.events.iter().map(|event| event.at_ns).fold(call.round_trip_ns, f64::max);
    last.min(call.round_trip_ns * 1.6).max(1.0)
}

/// What a timeline's lane shows.
pub(super) const SPANS: [(&str, &str, &str); 4] = [
    ("send", "send", "sent"),
    ("waits at the gate", "arrival", "worker_start"),
    ("worker", "worker_start", "worker_end"),
    ("out of the guest", "kvm_exit", "kvm_entry"),
];

/// A call: for each lane the spans above, and a mark for every other event.
pub(super) fn timeline(title: &str, description: &str, call: &Call, lanes: &[Option<usize>]) -> Drawn {
    let end = timeline_end(call);
    let rows = lanes.len().max(1) as f64;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..end * 1.02, 0.0..rows)
            .map_err(failed)?;
        let text = ("sans-serif", 14).into_font().color(&INK);
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(GRID.mix(0.4))
            .max_light_lines(2)
            .disable_y_mesh()
            .label_style(text.clone())
            .axis_desc_style(text.clone())
            .x_labels(8)
            .y_labels(0)
            .x_desc("after the send")
            .x_label_formatter(&|ns| units::time(*ns))
            .draw()
            .map_err(failed)?;
        for (row, &lane) in lanes.iter().enumerate() {
            let (bottom, top) = (rows - row as f64 - 0.85, rows - row as f64 - 0.15);
            let middle = f64::midpoint(bottom, top);
            let events: Vec<_> = call.events.iter().filter(|event| event.vcpu == lane && event.at_ns <= end).collect();
            for (index, (_, begin, finish)) in SPANS.iter().enumerate() {
                // The kernel's spans lie below the guest's.
                let (low, high) = if *begin == "kvm_exit" { (bottom, middle - 0.05) } else { (middle, top) };
                for (position, from) in events.iter().enumerate().filter(|(_, event)| event.kind == *begin) {
                    let to = events[position + 1..].iter().find(|event| event.kind == *finish);
                    let Some(to) = to else { continue };
                    let corners = [(from.at_ns, low), (to.at_ns.max(from.at_ns), high)];
                    let shape =
                        [Rectangle::new(corners, series(index).filled()), Rectangle::new(corners, INK.stroke_width(1))];
                    chart.draw_series(shape).map_err(failed)?;
                }
            }
            let marks = events.iter().filter(|event| event.source != Source::Guest);
            let marks = marks.map(|event| {
                PathElement::new([(event.at_ns, bottom), (event.at_ns, middle - 0.05)], INK.stroke_width(1))
            });
            chart.draw_series(marks).map_err(failed)?;
            let base = PathElement::new([(0.0, middle), (end * 1.02, middle)], GRID.stroke_width(1));
            chart.draw_series([base]).map_err(failed)?;
            let (x, y) = chart.backend_coord(&(0.0, middle));
            let name = tables::lane_name(lane);
            area.draw_text(&name, &text, (x - 62, y - 8)).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(finish(&svg, title, description))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::metric::MetricName;

    #[test]
    fn a_picture_has_the_pages_colours_a_title_and_no_address() {
        let curve = Curve::of(MetricName::Delivery, &[1.0, 10.0, 100.0]);
        let svg = curves("<title>", "what & how", &[(0, &curve), (1, &curve)]).unwrap().unwrap();
        assert!(svg.contains("<title>&lt;title&gt;</title>") && svg.contains("what &amp; how"), "{svg}");
        for variable in ["var(--ink)", "var(--grid)", "var(--s0)", "var(--s1)", "stroke-dasharray=\"7 3\""] {
            assert!(svg.contains(variable), "no {variable}: {svg}");
        }
        assert!(!svg.contains('#') && !svg.contains("http"), "{svg}");
    }

    #[test]
    fn values_that_have_no_logarithm_make_no_picture() {
        assert!(curves("", "", &[(0, &Curve::of(MetricName::StartSkew, &[-1.0, 0.0]))]).is_none());
        let some = Curve::of(MetricName::StartSkew, &[-1.0, 0.0, 5.0, 6.0]);
        assert_eq!(steps(&some), [(5.0, 0.5), (5.0, 0.75), (6.0, 0.75), (6.0, 1.0)]);
    }

    #[test]
    fn a_timeline_names_its_lanes() {
        let call = &crate::results::fixture::trace().calls[0];
        let svg = timeline("call", "", call, &[Some(0), Some(1)]).unwrap();
        assert!(svg.contains("vCPU 0") && svg.contains("vCPU 1"), "{svg}");
        assert!(svg.matches("<rect").count() >= 8, "send, gate, two workers and an exit, each with its edge: {svg}");
    }
}
