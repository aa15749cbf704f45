//! The pictures as SVG within the page, drawn by plotters: what they have in common, their colours and sizes.
//!
//! Colours are the page's own: what is drawn in a stand-in colour gets the style sheet's variable for it, so that one picture
//! serves light, dark and paper. Lines differ by their dashes too.

mod course;
mod curves;
mod deliveries;
mod timeline;

pub(super) use course::{At, Course, HOST, LEVELS, VALUES, course};
pub(super) use curves::curves;
pub(super) use deliveries::{arrivals, over_idle};
pub(super) use timeline::{SPANS, timeline, timeline_end};

use plotters::chart::MeshStyle;
use plotters::coord::Shift;
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

/// The texts within a picture.
fn text() -> TextStyle<'static> {
    ("sans-serif", 14).into_font().color(&INK)
}

/// A picture, on an area of which `draw` draws all that it shows.
fn picture(
    title: &str,
    description: &str,
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), String>,
) -> Drawn {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(finish(&svg, title, description))
}

/// An index at an axis: whole numbers, and nothing between them.
fn whole(index: f64) -> String {
    if (index - index.round()).abs() < 0.01 { format!("{index:.0}") } else { String::new() }
}

/// Axes, grid and their texts, as all pictures have them.
fn styled<'m, 'a, 'c, X: Ranged, Y: Ranged, B: DrawingBackend>(
    mesh: &'m mut MeshStyle<'a, 'c, X, Y, B>,
) -> &'m mut MeshStyle<'a, 'c, X, Y, B> {
    mesh.axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(GRID.mix(0.4))
        .label_style(text())
        .axis_desc_style(text())
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
