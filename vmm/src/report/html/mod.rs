//! The measurement as one page that needs nothing else: no network, no script.
//!
//! The verdict comes first, then the tables, each cell's own pictures, the host's facts and the warnings. The tables are
//! those of the text report; what a program wants to compare is in `data-value`.

mod cell;
mod charts;
mod heat_map;
pub mod history;
mod host;
mod idle;
mod pictures;
mod table;

use super::summary;
use super::wrap::printable_page;
use super::{tables, units};
use crate::results::count::count;
use crate::results::detail::CellDetail;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use guest_stub::abi::Wait;
use guest_stub::abi::cell::{Call, CellId, Observe};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The page. `details` are the cells', in their order; a cell without them has no pictures.
pub fn render(measurement: &Measurement, details: &[CellDetail]) -> String {
    let cells: Vec<(usize, &Cell)> = measurement.cells.iter().enumerate().collect();
    let guest: Vec<(usize, &Cell)> =
        cells.iter().copied().filter(|(_, cell)| cell.id.observe == Observe::Guest).collect();
    let body = html! {
        header {
            h1 { (heading(measurement)) }
            (verdict(measurement))
            (host::trust(measurement))
            @if let Some(sandbox) = summary::sandbox(measurement) { p { strong { (sandbox) } } }
            p.soft {
                "kipi " (measurement.host.kipi) " · "
                @match measurement.host.standalone_platform() {
                    Some(platform) => { (platform) }
                    None => { "Linux " (measurement.host.kernel) " · KVM: " (measurement.host.kvm.join(", ")) }
                }
                " · " (measurement.host.cpu)
            }
        }
        main {
            section #cells aria-labelledby="cells-title" {
                h2 #cells-title { "Cells" }
                @if let Some(result) = tables::result(measurement) { (table::print(&result)) }
                (pictures::overview(&guest, details))
                (idle::figure(&guest))
                @if let Some(exits) = tables::exit_costs(measurement) { (table::print(&exits)) }
                @for more in tables::details(measurement) { (table::print(&more)) }
            }
            @for (index, cell) in &cells {
                (cell::section(measurement, *index, cell, details.get(*index)))
            }
            (host::host(measurement))
            (host::warnings(measurement))
        }
    };
    let title = match measurement.host.standalone_platform() {
        Some(platform) => format!("kipi: {platform}"),
        None => format!("kipi: {} on Linux {}", measurement.host.kvm.join(", "), measurement.host.kernel),
    };
    page(&title, "#cells", &body)
}

/// The page around its body; `table` is where the table is.
fn page(title: &str, table: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Without it, a browser asks the page's host for one.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                a.skip href=(table) { "Skip to the table" }
                (body)
            }
        }
    };
    // Texts of documents may have anything in them, and markup needs no control characters.
    printable_page(&page.into_string()) + "\n"
}

/// What was measured, in a few words.
fn heading(measurement: &Measurement) -> &'static str {
    let has = |call| measurement.cells.iter().any(|cell| cell.id.call == call);
    match (has(Call::Broadcast), has(Call::Ping)) {
        (true, true) => "Broadcast calls on every processor, and pings",
        (false, true) => "Pings from processor to processor",
        (true | false, false) => "Broadcast calls on every processor",
    }
}

/// A cell's name, whatever others there are.
fn name(cell: &Cell) -> String {
    let CellId { call: made, route, destination, target_state, vcpus, observe, idle_before_us, wait, under } = cell.id;
    let (what, route) = (made.prefix(), route.name());
    let (destination, state) = (destination.name(), target_state.name());
    let idle = idle_before_us.map_or_else(String::new, |time| format!(" for {time} µs"));
    let waits = match wait {
        Wait::Spin => "",
        Wait::Park => ", parked",
    };
    let observed = match observe {
        Observe::Guest => "",
        Observe::Exits => ", observed",
    };
    let under = under.map_or_else(String::new, |under| format!(" · under {}", under.name()));
    format!("{what}{route} · {destination} · {state}{idle} · {}{waits}{observed}{under}", count(vcpus, "vCPU"))
}

fn anchor(index: usize) -> String {
    format!("cell-{index}")
}

/// One sentence for those who read no further.
fn verdict(measurement: &Measurement) -> Markup {
    let wrong = summary::wrong(measurement);
    let of = |cell: &Cell| cell.metrics.get(&MetricName::RoundTrip).map(|metric| metric.p50);
    let mut guest: Vec<&Cell> = measurement.cells.iter().filter(|cell| cell.id.observe == Observe::Guest).collect();
    guest.retain(|cell| of(cell).is_some());
    guest.sort_by(|one, other| of(one).unwrap_or(0.0).total_cmp(&of(other).unwrap_or(0.0)));
    let told = |cell: &Cell| {
        let skew = cell.metrics.get(&MetricName::StartSkew).map(|skew| units::bounded(skew.p50, skew.clock_error));
        let skew = skew.map_or_else(String::new, |skew| format!(", start skew {skew}"));
        format!("{} ({}{skew})", name(cell), of(cell).map_or_else(String::new, units::time))
    };
    let bad = wrong.is_some() || measurement.partial;
    let loud = measurement.asked().any(Cell::uses_disturbed_blocks);
    html! {
        p.verdict.bad[bad] {
            @if measurement.cells.is_empty() { "Nothing was measured. " }
            @else if let Some(wrong) = &wrong { (wrong) ". " }
            @else { "Every call went right. " }
            @if measurement.partial {
                "The run ended early: " (measurement.error.as_deref().unwrap_or("it was interrupted")) ". "
            }
            @match guest.as_slice() {
                [] => {}
                [only] => { "Median round trip: " (told(only)) "." }
                [quickest, .., slowest] => { "Median round trips from " (told(quickest)) " to " (told(slowest)) "." }
            }
        }
        @if let Some(quiet) = summary::quiet(measurement, usize::MAX) { p.verdict.bad[loud] { (quiet) "." } }
    }
}

#[cfg(test)]
mod tests;
