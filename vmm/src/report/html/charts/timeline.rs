//! A call as a timeline, a lane for each vCPU.

use super::{Drawn, GRID, INK, failed, picture, series, styled, text};
use crate::report::{tables, units};
use crate::results::source::Source;
use crate::results::trace::Call;
use plotters::prelude::*;

/// Where a timeline ends: at the last event, unless that is long after the call, which would then be too small to see.
pub(in crate::report::html) fn timeline_end(call: &Call) -> f64 {
    let last = call.events.iter().map(|event| event.at_ns).fold(call.round_trip_ns, f64::max);
    last.min(call.round_trip_ns * 1.6).max(1.0)
}

/// What a timeline's lane shows.
pub(in crate::report::html) const SPANS: [(&str, &str, &str); 4] = [
    ("send", "send", "sent"),
    ("waits at the gate", "arrival", "worker_start"),
    ("worker", "worker_start", "worker_end"),
    ("out of the guest", "kvm_exit", "kvm_entry"),
];

/// A call: for each lane the spans above, and a mark for every other event.
pub(in crate::report::html) fn timeline(title: &str, description: &str, call: &Call, lanes: &[Option<usize>]) -> Drawn {
    let end = timeline_end(call);
    let rows = lanes.len().max(1) as f64;
    picture(title, description, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..end * 1.02, 0.0..rows)
            .map_err(failed)?;
        styled(&mut chart.configure_mesh())
            .max_light_lines(2)
            .disable_y_mesh()
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
            area.draw_text(&name, &text(), (x - 62, y - 8)).map_err(failed)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_names_its_lanes() {
        let call = &crate::results::fixture::trace().calls[0];
        let svg = timeline("call", "", call, &[Some(0), Some(1)]).unwrap();
        assert!(svg.contains("vCPU 0") && svg.contains("vCPU 1"), "{svg}");
        assert!(svg.matches("<rect").count() >= 8, "send, gate, two workers and an exit, each with its edge: {svg}");
    }
}
