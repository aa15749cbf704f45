//! The measurement as one page that needs nothing else: no network, no script.
//!
//! The verdict comes first, then the table, the distributions, each cell's own pictures, the host's facts and the warnings.
//! Numbers are the document's, printed as the text report prints them; what a program wants to compare is in `data-value`.

mod charts;

use super::trace::text::lane_name;
use super::units;
use crate::results::detail::{CellDetail, Curve};
use crate::results::integrity::Integrity;
use crate::results::measurement::{Breakdown, Cell, Exits, Measurement, Metric};
use crate::results::trace::Call;
use guest_stub::abi::cell::{CellId, Observe};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeSet;

/// Most lanes of a timeline that is drawn.
const MOST_LANES: usize = 8;

/// The page. `details` are the cells', in their order; a cell without them has no pictures.
pub fn render(measurement: &Measurement, details: &[CellDetail]) -> String {
    let cells: Vec<(usize, &Cell)> = measurement.cells.iter().enumerate().collect();
    let guest: Vec<(usize, &Cell)> =
        cells.iter().copied().filter(|(_, cell)| cell.id.observe == Observe::Guest).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Without it, a browser asks the page's host for one.
                link rel="icon" href="data:,";
                title { "kipi: " (measurement.host.kvm.join(", ")) " on Linux " (measurement.host.kernel) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                a.skip href="#cells" { "Skip to the table" }
                header {
                    h1 { "Broadcast calls on every processor" }
                    (verdict(measurement))
                    p.soft {
                        "kipi " (measurement.host.kipi) " · Linux " (measurement.host.kernel) " · KVM: "
                        (measurement.host.kvm.join(", ")) " · " (measurement.host.cpu)
                    }
                }
                main {
                    section #cells aria-labelledby="cells-title" {
                        h2 #cells-title { "Cells" }
                        (table("By the guest's time stamps", &cells, Observe::Guest))
                        (table("Each worker beginning with an exit", &cells, Observe::Exits))
                        (overview(&guest, details))
                        (breakdowns(&guest))
                        (exits(&cells))
                    }
                    @for (index, cell) in &cells {
                        (section(*index, cell, details.get(*index)))
                    }
                    (facts(measurement))
                    (warnings(measurement))
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn name(cell: &Cell) -> String {
    let CellId { route, destination, target_state, vcpus, observe } = cell.id;
    let (route, destination, state) = (route.name(), destination.name(), target_state.name());
    let observed = match observe {
        Observe::Guest => "",
        Observe::Exits => ", observed",
    };
    format!("{route} · {destination} · {state} · {vcpus} vCPUs{observed}")
}

/// What tells a cell apart from `others`, and its route in any case.
fn short_name(cell: &Cell, others: &[&Cell]) -> String {
    let varies = |differs: &dyn Fn(&Cell) -> bool| others.iter().any(|other| differs(other));
    let mut parts = vec![cell.id.route.name().to_owned()];
    if varies(&|other| other.id.destination != cell.id.destination) {
        parts.push(cell.id.destination.name().to_owned());
    }
    if varies(&|other| other.id.target_state != cell.id.target_state) {
        parts.push(cell.id.target_state.name().to_owned());
    }
    if varies(&|other| other.id.vcpus != cell.id.vcpus) {
        parts.push(format!("{} vCPUs", cell.id.vcpus));
    }
    parts.join(" · ")
}

/// What all cells have in common, as a caption's second half.
fn in_common(cells: &[&Cell]) -> String {
    let Some(first) = cells.first() else { return String::new() };
    let mut parts = Vec::new();
    if cells.iter().all(|cell| cell.id.destination == first.id.destination) {
        parts.push(first.id.destination.name().to_owned());
    }
    if cells.iter().all(|cell| cell.id.target_state == first.id.target_state) {
        parts.push(first.id.target_state.name().to_owned());
    }
    if cells.iter().all(|cell| cell.id.vcpus == first.id.vcpus) {
        parts.push(format!("{} vCPUs", first.id.vcpus));
    }
    if parts.is_empty() { String::new() } else { format!(" · all: {}", parts.join(", ")) }
}

fn anchor(index: usize) -> String {
    format!("cell-{index}")
}

/// One sentence for those who read no further.
fn verdict(measurement: &Measurement) -> Markup {
    let broken = measurement.cells.iter().filter(|cell| cell.integrity != Integrity::default()).count();
    let of = |cell: &Cell| cell.metrics.get("round_trip").map(|metric| metric.p50);
    let mut guest: Vec<&Cell> = measurement.cells.iter().filter(|cell| cell.id.observe == Observe::Guest).collect();
    guest.retain(|cell| of(cell).is_some());
    guest.sort_by(|one, other| of(one).unwrap_or(0.0).total_cmp(&of(other).unwrap_or(0.0)));
    let told = |cell: &Cell| {
        let skew = cell.metrics.get("start_skew").map(|skew| units::bounded(skew.p50, cell.clock.error_ns));
        let skew = skew.map_or_else(String::new, |skew| format!(", start skew {skew}"));
        format!("{} ({}{skew})", name(cell), of(cell).map_or_else(String::new, units::time))
    };
    let bad = broken > 0 || measurement.partial;
    html! {
        p.verdict.bad[bad] {
            @if measurement.cells.is_empty() { "Nothing was measured. " }
            @else if broken > 0 { "Calls went WRONG in " (broken) " of " (measurement.cells.len()) " cells. " }
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
    }
}

/// A column of the table: the metric, the statistic's name, and whether the clocks' error bounds it.
const COLUMNS: [(&str, &str, &str, bool); 11] = [
    ("round_trip", "p50", "round trip p50", false),
    ("round_trip", "p99", "p99", false),
    ("round_trip", "max", "max", false),
    ("delivery", "p50", "delivery p50", false),
    ("delivery", "p99", "p99", false),
    ("arrival_skew", "p50", "arrival skew p50", true),
    ("start_skew", "p50", "start skew p50", true),
    ("start_skew", "p99", "p99", true),
    ("vmm_start_skew", "p50", "VMM's start skew p50", true),
    ("vmm_start_skew", "p99", "p99", true),
    ("overlap", "p50", "overlap p50", false),
];

fn statistic(metric: &Metric, name: &str) -> f64 {
    match name {
        "p99" => metric.p99,
        "max" => metric.max,
        _ => metric.p50,
    }
}

fn table(title: &str, cells: &[(usize, &Cell)], observe: Observe) -> Markup {
    let cells: Vec<&(usize, &Cell)> = cells.iter().filter(|(_, cell)| cell.id.observe == observe).collect();
    let has = |metric: &str| cells.iter().any(|(_, cell)| cell.metrics.contains_key(metric));
    let columns: Vec<_> = COLUMNS.iter().filter(|(metric, ..)| has(metric)).collect();
    if cells.is_empty() {
        return html! {};
    }
    let all: Vec<&Cell> = cells.iter().map(|(_, cell)| *cell).collect();
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table {
                caption { (title) (in_common(&all)) }
                thead { tr {
                    th scope="col" { "cell" }
                    th.n scope="col" { "rounds" }
                    @for (_, _, heading, _) in &columns { th.n scope="col" { (heading) } }
                    th scope="col" { "integrity" }
                    th.n scope="col" { "ε" }
                } }
                tbody {
                    @for (index, cell) in &cells {
                        tr data-cell=(index) {
                            th scope="row" { a href={ "#" (anchor(*index)) } { (short_name(cell, &all)) } }
                            td.n { (cell.rounds) @if cell.rounds != cell.rounds_asked { " of " (cell.rounds_asked) } }
                            @for (metric, name, _, bounded) in &columns { (value(cell, metric, name, *bounded)) }
                            td { (integrity(cell.integrity)) }
                            td.n { (units::time(cell.clock.error_ns)) }
                        }
                    }
                }
            }
        }
    }
}

fn value(cell: &Cell, metric: &str, name: &str, bounded: bool) -> Markup {
    let Some(found) = cell.metrics.get(metric) else { return html! { td.n { "–" } } };
    let value = statistic(found, name);
    let text = match found.unit.as_str() {
        "ratio" => units::ratio(value),
        _ if bounded => units::bounded(value, cell.clock.error_ns),
        _ => units::time(value),
    };
    html! { td.n data-metric=(metric) data-stat=(name) data-value=(value) { (text) } }
}

fn integrity(integrity: Integrity) -> String {
    let Integrity { lost, duplicate, late, timed_out } = integrity;
    let faults = [(lost, "lost"), (duplicate, "duplicate"), (late, "late"), (timed_out, "timed out")];
    let texts: Vec<String> =
        faults.iter().filter(|(count, _)| *count > 0).map(|(count, fault)| format!("{count} {fault}")).collect();
    if texts.is_empty() { "ok".to_owned() } else { texts.join(", ") }
}

fn picture(drawn: charts::Drawn) -> Markup {
    match drawn {
        Ok(svg) => html! { div.scroll tabindex="0" role="region" aria-label="picture" { (PreEscaped(svg)) } },
        Err(error) => html! { p { "This picture could not be drawn: " (error) } },
    }
}

fn key(names: &[(usize, String)]) -> Markup {
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

/// The round trips of all cells.
fn overview(cells: &[(usize, &Cell)], details: &[CellDetail]) -> Markup {
    let all: Vec<&Cell> = cells.iter().map(|(_, cell)| *cell).collect();
    let found: Vec<(String, &Curve)> = cells
        .iter()
        .filter_map(|(index, cell)| {
            let curve = details.get(*index)?.curves.iter().find(|curve| curve.metric == "round_trip")?;
            Some((short_name(cell, &all), curve))
        })
        .collect();
    let numbered: Vec<(usize, &Curve)> = found.iter().enumerate().map(|(index, (_, curve))| (index, *curve)).collect();
    let names: Vec<(usize, String)> =
        found.iter().enumerate().map(|(index, (name, _))| (index, name.clone())).collect();
    let title = "Round trips of all cells: distribution functions";
    let Some(drawn) = charts::curves(title, &describe(&numbered, &names), &numbered) else { return html! {} };
    html! { figure { figcaption { b { (title) } (in_common(&all)) } (picture(drawn)) (key(&names)) (not_drawn(&numbered)) } }
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
        @if thinned { p.soft { "Curves of more than " (crate::results::detail::MOST_POINTS) " values are thinned evenly; the table's quantiles are of all." } }
    }
}

fn breakdowns(cells: &[(usize, &Cell)]) -> Markup {
    let found: Vec<(&Cell, &Breakdown)> =
        cells.iter().filter_map(|(_, cell)| Some((*cell, cell.breakdown.as_ref()?))).collect();
    let mut stages: Vec<&str> = Vec::new();
    for stage in crate::statistics::stages::Stage::ALL {
        if found.iter().any(|(_, breakdown)| breakdown.stages.iter().any(|it| it.stage == stage.name())) {
            stages.push(stage.name());
        }
    }
    if found.is_empty() {
        return html! {};
    }
    let title = "Where the time goes: means, over the target that arrives last";
    let all: Vec<&Cell> = found.iter().map(|(cell, _)| *cell).collect();
    let cost = |breakdown: &Breakdown, stage: &str| {
        let found = breakdown.stages.iter().find(|it| it.stage == stage);
        found.map_or_else(|| "–".to_owned(), |it| units::time(it.mean_ns))
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table {
                caption { (title) (in_common(&all)) }
                thead { tr {
                    th scope="col" { "cell" }
                    @for stage in &stages { th.n scope="col" { (stage) } }
                    th.n scope="col" { "remainder" }
                    th.n scope="col" { "= round trip" }
                } }
                tbody { @for (cell, breakdown) in &found { tr {
                    th scope="row" { (short_name(cell, &all)) }
                    @for stage in &stages { td.n { (cost(breakdown, stage)) } }
                    td.n { (units::time(breakdown.remainder_ns)) }
                    td.n { (units::time(breakdown.round_trip_ns)) }
                } } }
            }
        }
    }
}

fn exits(cells: &[(usize, &Cell)]) -> Markup {
    let rows: Vec<(&Cell, &Exits)> =
        cells.iter().flat_map(|(_, cell)| cell.exits.iter().map(move |exits| (*cell, exits))).collect();
    if rows.is_empty() {
        return html! {};
    }
    let title = "Exits a call (stats: KVM_GET_STATS_FD, vmm: KVM_RUN returns, kernel: tracepoints)";
    html! {
        details {
            summary { (title) }
            div.scroll tabindex="0" role="region" aria-label=(title) {
                table {
                    thead { tr {
                        th scope="col" { "cell" } th scope="col" { "source" } th scope="col" { "reason" }
                        th.n scope="col" { "initiator" } th.n scope="col" { "each target" }
                    } }
                    tbody { @for (cell, exits) in &rows { tr {
                        th scope="row" { (name(cell)) }
                        td { (exits.source) } td { (exits.reason) }
                        td.n { (units::per_call(exits.initiator)) } td.n { (units::per_call(exits.per_target)) }
                    } } }
                }
            }
        }
    }
}

fn section(index: usize, cell: &Cell, detail: Option<&CellDetail>) -> Markup {
    let Some(detail) = detail else { return html! {} };
    let title = name(cell);
    let numbered: Vec<(usize, &Curve)> = detail.curves.iter().enumerate().collect();
    let names: Vec<(usize, String)> =
        numbered.iter().map(|(index, curve)| (*index, curve.metric.replace('_', " "))).collect();
    let heading = format!("Distribution functions of {title}");
    html! {
        section.cell id=(anchor(index)) aria-labelledby={ (anchor(index)) "-title" } {
            h2 id={ (anchor(index)) "-title" } { (title) }
            @if let Some(drawn) = charts::curves(&heading, &describe(&numbered, &names), &numbered) {
                figure { figcaption { b { "Distribution functions" } } (picture(drawn)) (key(&names)) (not_drawn(&numbered)) }
            }
            (arrivals(&title, detail))
            (heat_map(cell))
            @for call in &detail.calls { (timeline(&title, call)) }
        }
    }
}

/// Delivery over the target's index.
fn arrivals(title: &str, detail: &CellDetail) -> Markup {
    let arrivals = &detail.arrivals;
    let medians = || arrivals.iter().map(|arrival| arrival.p50);
    let (low, high) = (medians().fold(f64::INFINITY, f64::min), medians().fold(f64::NEG_INFINITY, f64::max));
    let heading = format!("Delivery over the vCPU's index of {title}");
    let words = format!("median deliveries from {} to {}", units::time(low), units::time(high));
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

/// Median delivery by initiator and target: the deeper, the longer.
fn heat_map(cell: &Cell) -> Markup {
    let rows = &cell.by_initiator;
    let all = || rows.iter().flat_map(|row| row.targets.iter().map(|target| target.p50_ns));
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let heat = |p50: f64| if high > low { 10.0 + 60.0 * (p50 - low) / (high - low) } else { 10.0 };
    let columns: BTreeSet<usize> = rows.iter().flat_map(|row| row.targets.iter().map(|target| target.vcpu)).collect();
    if columns.is_empty() {
        return html! {};
    }
    let title = "Median delivery by initiator and target";
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table.heat {
                caption { (title) ", " (rows[0].rounds) " rounds each" @if rows.len() < cell.id.vcpus { ", of " (rows.len()) " initiators" } }
                thead { tr { th scope="col" {} @for vcpu in &columns { th.n scope="col" { "to vCPU " (vcpu) } } } }
                tbody { @for row in rows { tr {
                    th scope="row" { "from vCPU " (row.initiator) }
                    @for vcpu in &columns { @match row.targets.iter().find(|target| target.vcpu == *vcpu) {
                        Some(target) => td
                            data-from=(row.initiator) data-to=(vcpu) data-value=(target.p50_ns)
                            style={ "background: color-mix(in srgb, var(--s0) " (format!("{:.0}", heat(target.p50_ns))) "%, var(--paper))" }
                            { (units::time(target.p50_ns)) },
                        None => td { "–" },
                    } }
                } } }
            }
        }
    }
}

fn timeline(title: &str, call: &Call) -> Markup {
    let mut lanes: Vec<Option<usize>> = Vec::new();
    let initiator = call.events.iter().find(|event| event.kind == "send").map(|event| event.vcpu);
    for lane in
        initiator.into_iter().chain(call.last_target.map(Some)).chain(call.events.iter().map(|event| event.vcpu))
    {
        if !lanes.contains(&lane) {
            lanes.push(lane);
        }
    }
    let all = lanes.len();
    lanes.truncate(MOST_LANES);
    let which = match call.which.as_str() {
        "only" => "The round",
        "median" => "The round of the median",
        _ => "The worst round",
    };
    let stages: Vec<String> =
        call.stages.iter().map(|stage| format!("{} {}", stage.stage, units::time(stage.cost_ns))).collect();
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
                div.scroll tabindex="0" role="region" aria-label={ "events of " (heading) } {
                    table {
                        thead { tr { th.n scope="col" { "after the send" } th scope="col" { "lane" } th scope="col" { "source" } th scope="col" { "event" } th scope="col" { "stage that ends" } } }
                        tbody { @for event in &call.events { tr {
                            td.n { (units::time(event.at_ns)) } td { (lane_name(event.vcpu)) } td { (event.source) } td { (event.detail) }
                            td { (event.stage.as_deref().unwrap_or_default()) }
                        } } }
                    }
                }
            }
        }
    }
}

fn facts(measurement: &Measurement) -> Markup {
    let host = &measurement.host;
    let cpus: Vec<String> = host.cpus.iter().map(ToString::to_string).collect();
    html! {
        section aria-labelledby="facts" {
            h2 #facts { "Host and instruments" }
            dl {
                dt { "Kernel" } dd { "Linux " (host.kernel) }
                dt { "KVM" } dd { (host.kvm.join(", ")) @if host.nested { ", nested: this machine is virtual" } }
                dt { "Processor" } dd { (host.cpu) ", CPUs " (cpus.join(", ")) }
                @for (name, value) in &host.settings { dt { (name) } dd { (value) } }
                dt { "Rounds" } dd { (measurement.config.rounds) " of each cell, " (measurement.config.warmup) " before each block thrown away" }
                dt { "Worker" } dd { (measurement.config.worker) }
                @for machine in &measurement.instruments {
                    dt { "Machine of " (machine.vcpus) " vCPUs, local APIC: " (machine.local_apic) }
                    dd {
                        "time stamp " (units::time(machine.stamp_ns.p50)) ", exit leg " (units::time(machine.exit_leg_ns.p50))
                        ", exit round trip " (units::time(machine.exit_round_trip_ns.p50)) " (medians); ε = "
                        (units::time(machine.clock.error_ns)) ": " (machine.clock.method)
                    }
                }
            }
        }
    }
}

fn warnings(measurement: &Measurement) -> Markup {
    html! {
        section aria-labelledby="warnings" {
            h2 #warnings { "Warnings" }
            @if measurement.warnings.is_empty() && measurement.skipped.is_empty() { p { "None." } }
            ul {
                @for warning in &measurement.warnings { li { (warning) } }
                @for skipped in &measurement.skipped {
                    li {
                        "Not measured: " (skipped.id.route.name()) " · " (skipped.id.destination.name()) " · " (skipped.id.target_state.name()) " · "
                        (skipped.id.vcpus) " vCPUs: " (skipped.reason)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
