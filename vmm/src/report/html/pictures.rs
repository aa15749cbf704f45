//! Pictures with their legends, and what they cannot show.

use super::charts;
use crate::report::{tables, units};
use crate::results::detail::{CellDetail, Curve, MOST_POINTS};
use crate::results::measurement::Cell;
use crate::results::metric::MetricName;
use maud::{Markup, PreEscaped, html};

/// The round trips of these cells.
pub(super) fn overview(cells: &[(usize, &Cell)], details: &[CellDetail]) -> Markup {
    let found: Vec<(String, &Curve)> = cells
        .iter()
        .filter_map(|(index, cell)| {
            let curve = details.get(*index)?.curves.iter().find(|curve| curve.metric == MetricName::RoundTrip)?;
            Some((tables::name(cell, &cells.iter().map(|(_, cell)| *cell)), curve))
        })
        .collect();
    let numbered: Vec<(usize, &Curve)> = found.iter().enumerate().map(|(index, (_, curve))| (index, *curve)).collect();
    let names: Vec<(usize, String)> =
        found.iter().enumerate().map(|(index, (name, _))| (index, name.clone())).collect();
    distributions("Round trips of all cells: distribution functions", &numbered, &names)
}

/// A figure of distribution functions; nothing where no curve can be drawn.
pub(super) fn distributions(title: &str, curves: &[(usize, &Curve)], names: &[(usize, String)]) -> Markup {
    let Some(drawn) = charts::curves(title, &describe(curves, names), curves) else { return html! {} };
    html! { figure { figcaption { b { (title) } } (picture(drawn)) (key(names)) (not_drawn(curves)) } }
}

pub(super) fn picture(drawn: charts::Drawn) -> Markup {
    match drawn {
        Ok(svg) => html! { div.scroll tabindex="0" role="region" aria-label="picture" { (PreEscaped(svg)) } },
        Err(error) => html! { p { "This picture could not be drawn: " (error) } },
    }
}

/// The legend: each line as it is drawn, and what it is of.
pub(super) fn key(names: &[(usize, String)]) -> Markup {
    html! {
        ul.key {
            @for (index, name) in names {
                li {
                    (PreEscaped(format!(
                        "<svg viewBox=\"0 0 42 12\" aria-hidden=\"true\"><line x1=\"0\" y1=\"6\" x2=\"42\" y2=\"6\" stroke-width=\"3\" {}/></svg>",
                        charts::line_attributes(*index)
                    )))
                    (name)
                }
            }
        }
    }
}

/// A picture in words.
fn describe(curves: &[(usize, &Curve)], names: &[(usize, String)]) -> String {
    let quantile = |curve: &Curve, fraction: f64| {
        let found = curve.points.iter().find(|(_, at)| *at >= fraction).or(curve.points.last());
        found.map_or_else(String::new, |(value, _)| units::time(*value))
    };
    let texts: Vec<String> = curves
        .iter()
        .zip(names)
        .map(|((_, curve), (_, name))| {
            format!("{name}: half within {}, 99 % within {}", quantile(curve, 0.5), quantile(curve, 0.99))
        })
        .collect();
    texts.join("; ")
}

/// What a logarithmic axis has no place for, and what was thinned.
fn not_drawn(curves: &[(usize, &Curve)]) -> Markup {
    let lost: usize = curves.iter().map(|(_, curve)| curve.not_positive).sum();
    let thinned = curves.iter().any(|(_, curve)| curve.points.len() < curve.n);
    html! {
        @if lost > 0 { p.soft { (lost) " values of zero or less have no place on a logarithmic axis; the curves begin above them." } }
        @if thinned { p.soft { "Curves of more than " (MOST_POINTS) " values are thinned evenly; the table's quantiles are of all." } }
    }
}
