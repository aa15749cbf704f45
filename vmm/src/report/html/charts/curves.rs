//! Distribution functions.

use super::{Drawn, failed, picture, positive_range, series, styled};
use crate::report::units;
use crate::results::detail::Curve;
use plotters::prelude::*;

/// Distribution functions over a logarithmic time. `None`: no curve has a positive value.
pub(in crate::report::html) fn curves(title: &str, description: &str, curves: &[(usize, &Curve)]) -> Option<Drawn> {
    let values = curves.iter().flat_map(|(_, curve)| curve.points.iter().map(|(value, _)| value));
    let range = positive_range(values)?;
    Some(picture(title, description, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(52)
            .build_cartesian_2d(range.clone().log_scale(), 0.0..1.0)
            .map_err(failed)?;
        styled(&mut chart.configure_mesh())
            .y_max_light_lines(1)
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
        Ok(())
    }))
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
}
