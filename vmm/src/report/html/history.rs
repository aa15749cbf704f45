//! A history as a page: the table of changes, then each cell's course.

use super::charts::{self, At, HOST, LEVELS, VALUES};
use super::pictures::{key, picture};
use super::{page, table};
use crate::report::history::table::{changes, divided_by};
use crate::report::history::{date, head};
use crate::report::{tables, units};
use crate::results::count::count;
use crate::results::history::{ChangeAt, Course, History, Series, TimeBy};
use guest_stub::abi::cell::CellId;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// The page.
pub fn render(history: &History) -> String {
    let ids: Vec<CellId> = history.courses.iter().map(|course| course.id).collect();
    let changed = history.courses.iter().filter(|course| !course.changes.is_empty()).count();
    let body = html! {
        header {
            h1 { "Courses of round trips over " (count(history.runs.len(), "run")) }
            p.verdict.bad[changed > 0] {
                @if changed == 0 { "No cell has changed." }
                @else { (changed) " of " (count(history.courses.len(), "cell")) " changed." }
            }
            p.soft { (head(history)) }
        }
        main {
            section #changes aria-labelledby="changes-title" {
                h2 #changes-title { "Changes" }
                @if let Some(changes) = changes(history) { (table::print(&changes)) }
            }
            @for course in &history.courses { (section(history, course, &tables::name_of(&course.id, &ids.iter()))) }
            (host(history))
            (runs(history))
            section aria-labelledby="warnings" {
                h2 #warnings { "Warnings" }
                @if history.warnings.is_empty() { p { "None." } }
                ul { @for warning in &history.warnings { li { (warning) } } }
            }
        }
    };
    page("kipi: history", "#changes", &body)
}

/// A cell's pictures: its time, and what that is of the reference's.
fn section(history: &History, course: &Course, name: &str) -> Markup {
    let raw: Vec<At> = course.points.iter().map(|point| (point.run, point.p50_ns, point.ci95_ns)).collect();
    let divided: Vec<At> = course.points.iter().filter_map(|point| Some((point.run, point.ratio?, None))).collect();
    html! {
        section.cell {
            h2 { (name) }
            (figure(history, course, Series::Raw, &raw, &format!("{name}: round trip p50"), "round trip p50", units::time))
            @if let Some(reference) = course.reference {
                @let what = divided_by(&course.id, &reference);
                (figure(history, course, Series::Divided, &divided, &format!("{name} {what}"), &what, units::times))
            }
        }
    }
}

fn figure(
    history: &History,
    course: &Course,
    series: Series,
    values: &[At],
    title: &str,
    name: &str,
    label: fn(f64) -> String,
) -> Markup {
    let changes: Vec<&ChangeAt> = course.changes.iter().filter(|change| change.series == series).collect();
    let levels = levels(values, &changes);
    let host_changes: BTreeSet<usize> = history.host_changes.iter().map(|change| change.run).collect();
    let host_changes: Vec<usize> = host_changes.into_iter().collect();
    let words = words(values.len(), &changes);
    let drawn =
        charts::Course { values, levels: &levels, host_changes: &host_changes, runs: history.runs.len(), name, label };
    let Some(drawn) = charts::course(title, &words, &drawn) else { return html! {} };
    let mut legend = vec![(VALUES, "a run, with its 95 % interval where it has one".to_owned())];
    legend.extend((!changes.is_empty()).then(|| (LEVELS, "level".to_owned())));
    legend.extend((!host_changes.is_empty()).then(|| (HOST, "host or settings changed".to_owned())));
    html! { figure { figcaption { b { (title) } ": " (words) } (picture(drawn)) (key(&legend)) } }
}

/// First and last run of each level, and its median; none where nothing changed.
fn levels(values: &[At], changes: &[&ChangeAt]) -> Vec<(usize, usize, f64)> {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return Vec::new() };
    let starts = [first.0].into_iter().chain(changes.iter().map(|change| change.first_after));
    let ends = changes.iter().map(|change| change.last_before).chain([last.0]);
    let levels =
        changes.first().map(|change| change.before).into_iter().chain(changes.iter().map(|change| change.after));
    starts.zip(ends).zip(levels).map(|((start, end), level)| (start, end, level)).collect()
}

fn words(runs: usize, changes: &[&ChangeAt]) -> String {
    let told: Vec<String> = changes
        .iter()
        .map(|change| {
            format!("{} between runs {} and {}", units::change(change.change), change.last_before, change.first_after)
        })
        .collect();
    let told = if told.is_empty() { "no change".to_owned() } else { told.join("; ") };
    format!("{}, {told}", count(runs, "run"))
}

fn host(history: &History) -> Markup {
    html! {
        section aria-labelledby="host" {
            h2 #host { "Changes of host and settings" }
            @if history.host_changes.is_empty() { p { "None that the documents tell." } }
            dl { @for change in &history.host_changes { dt { "run " (change.run) } dd { (change) } } }
        }
    }
}

fn runs(history: &History) -> Markup {
    html! {
        section aria-labelledby="runs" {
            h2 #runs { "Runs" }
            div.scroll tabindex="0" role="region" aria-label="Runs" {
                table {
                    thead { tr { th scope="col" { "run" } th scope="col" { "UTC" } th scope="col" { "kernel" } th scope="col" { "document" } } }
                    tbody {
                        @for (run, past) in history.runs.iter().enumerate() {
                            tr {
                                th scope="row" { (run) }
                                td { (date(past.time)) @if past.time_by == TimeBy::File { " (by the file)" } }
                                td { (past.kernel) }
                                td { (past.file) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::history::fixture::history;

    #[test]
    fn the_page_has_each_cells_course_and_all_that_changed() {
        let history = history();
        let page = render(&history);
        assert_eq!(page.matches("<svg role=\"img\"").count(), 3, "two of the one cell, one of the other");
        for needle in [
            "1 of 2 cells changed.",
            "x2apic ÷ xapic",
            "6 runs, +10 % between runs 2 and 3",
            "6 runs, no change",
            "kernel: 6.12.1 → 6.18.0",
            "2025-11-27 08:00 (by the file)",
            "1 run is dated by its file",
        ] {
            assert!(page.contains(needle), "no {needle}: {page}");
        }
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    }

    #[test]
    fn levels_reach_from_change_to_change() {
        let history = history();
        let course = &history.courses[0];
        let raw: Vec<At> = course.points.iter().map(|point| (point.run, point.p50_ns, None)).collect();
        assert_eq!(levels(&raw, &[&course.changes[0]]), [(0, 2, 66_000.0), (3, 5, 1.1 * 66_000.0)]);
        assert_eq!(levels(&raw, &[]), []);
        assert_eq!(levels(&[], &[]), []);
    }
}
