//! A cell's course over runs.

use super::{Drawn, INK, failed, picture, series, styled, whole};
use plotters::prelude::*;

/// Labels of the axis of runs, at most.
const MOST_LABELS: usize = 12;

/// What each series of the picture is, by its number.
pub(in crate::report::html) const VALUES: usize = 0;
pub(in crate::report::html) const LEVELS: usize = 1;
pub(in crate::report::html) const HOST: usize = 2;

/// A value of a run, and the ends of its interval, if it has one.
pub(in crate::report::html) type At = (usize, f64, Option<[f64; 2]>);

/// A course.
pub(in crate::report::html) struct Course<'a> {
    /// Its runs.
    pub(in crate::report::html) values: &'a [At],
    /// First and last run of each level, and its median.
    pub(in crate::report::html) levels: &'a [(usize, usize, f64)],
    /// The first runs with something else on the host.
    pub(in crate::report::html) host_changes: &'a [usize],
    /// How many runs there are, those without the cell among them.
    pub(in crate::report::html) runs: usize,
    /// What the values are.
    pub(in crate::report::html) name: &'a str,
    /// How one is written.
    pub(in crate::report::html) label: fn(f64) -> String,
}

/// Values and intervals as dots and bars, levels as lines, what changed on the host as lines across. `None`: there is no value.
pub(in crate::report::html) fn course(title: &str, description: &str, course: &Course<'_>) -> Option<Drawn> {
    let ends =
        || course.values.iter().flat_map(|(_, value, ends)| [*value].into_iter().chain(ends.iter().flatten().copied()));
    let (low, high) = ends().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    let margin = (0.05 * (high - low)).max(0.005 * high);
    (low <= high).then(|| draw(title, description, course, [low - margin, high + margin]))
}

fn draw(title: &str, description: &str, course: &Course<'_>, [low, high]: [f64; 2]) -> Drawn {
    picture(title, description, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(78)
            .build_cartesian_2d(-0.5..course.runs as f64 - 0.5, low..high)
            .map_err(failed)?;
        styled(&mut chart.configure_mesh())
            .max_light_lines(2)
            .x_labels(course.runs.min(MOST_LABELS))
            .x_desc("run")
            .y_desc(course.name)
            .x_label_formatter(&|run| whole(*run))
            .y_label_formatter(&|value| (course.label)(*value))
            .draw()
            .map_err(failed)?;
        let across = |run: f64, style: ShapeStyle| PathElement::new([(run, low), (run, high)], style);
        // Between the run before and the one that is named.
        let host = course.host_changes.iter().map(|&run| across(run as f64 - 0.5, series(HOST).stroke_width(2)));
        chart.draw_series(host).map_err(failed)?;
        let bars = course.values.iter().filter_map(|(run, _, ends)| {
            let [low, high] = (*ends)?;
            Some(PathElement::new([(*run as f64, low), (*run as f64, high)], series(VALUES).stroke_width(1)))
        });
        chart.draw_series(bars).map_err(failed)?;
        let dots =
            course.values.iter().map(|(run, value, _)| Circle::new((*run as f64, *value), 3, series(VALUES).filled()));
        chart.draw_series(dots).map_err(failed)?;
        let lines = course.levels.iter().map(|&(first, last, level)| {
            PathElement::new([(first as f64 - 0.5, level), (last as f64 + 0.5, level)], series(LEVELS).stroke_width(3))
        });
        chart.draw_series(lines).map_err(failed)?;
        let changes = course.levels.iter().skip(1).map(|&(first, ..)| across(first as f64 - 0.5, INK.stroke_width(1)));
        chart.draw_series(changes).map_err(failed)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::units;

    #[test]
    fn a_course_has_its_values_intervals_levels_and_what_changed_on_the_host() {
        let values: Vec<At> = (0..6).map(|run| (run, 100.0, (run != 3).then_some([90.0, 110.0]))).collect();
        let levels = [(0, 2, 100.0), (3, 5, 100.0)];
        let of = |values, host_changes| Course {
            values,
            levels: &levels,
            host_changes,
            runs: 6,
            name: "time",
            label: units::time,
        };
        let svg = course("<title>", "words", &of(&values, &[3])).unwrap().unwrap();
        assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
        assert!(svg.contains("&lt;title&gt;") && svg.contains("100 ns"), "{svg}");
        let lines = |svg: &str, color: &str| svg.matches(&format!("stroke=\"var(--{color})\"")).count();
        assert_eq!((lines(&svg, "s1"), lines(&svg, "s2")), (2, 1), "two levels, one change of the host: {svg}");
        assert!(lines(&svg, "s0") >= 5, "five bars: {svg}");
        assert!(course("", "", &of(&[], &[])).is_none());
    }
}
