//! Runs in order of time: the course of each cell, where it changed, and what changed on the host.
//!
//! The reference of a cell is the one that two sets of runs are compared with. Change points are looked for in the time itself and in
//! what it is of the reference's: a change of the host shows in both cells alike, and then in the time only.

use super::values::{Observed, observe};
use super::{Run, differences, references, side};
use crate::results::count::count;
use crate::results::history::{ChangeAt, Course, HISTORY_SCHEMA, History, HostChange, PastRun, Point, Series, TimeBy};
use crate::results::metric::MetricName;
use crate::statistics::change_points::{change_points, parts};
use crate::statistics::order::middle;
use guest_stub::abi::cell::CellId;
use std::collections::BTreeSet;

/// Fewer runs have no change that could be told from chance.
const FEWEST_RUNS: usize = 14;

/// When a run was, in seconds since 1970-01-01 00:00 UTC, and who says so.
pub type Time = (f64, TimeBy);

/// Follows runs, each with its time, the oldest first.
pub fn follow(runs: &[Run], times: &[Time], choice: Option<references::Choice>) -> History {
    let pairs = references::pair(runs, runs, choice);
    let mut cells: Vec<(CellId, Option<CellId>)> = pairs.judged.into_iter().chain(pairs.references).collect();
    let is_asked = |id: &CellId| runs.iter().any(|run| run.measurement.asked().any(|cell| cell.id == *id));
    cells.retain(|(id, _)| is_asked(id));
    History {
        schema: HISTORY_SCHEMA.to_owned(),
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        runs: runs.iter().zip(times).map(|(run, time)| past(run, *time)).collect(),
        host_changes: host_changes(runs),
        courses: cells.into_iter().map(|(id, reference)| course(runs, id, reference)).collect(),
        warnings: warnings(runs, times),
    }
}

fn past(run: &Run, (time, time_by): Time) -> PastRun {
    let host = &run.measurement.host;
    let (cpu, kernel, kipi) = (host.cpu.clone(), host.kernel.clone(), host.kipi.clone());
    let sandbox = run.measurement.sandbox.as_ref().map(|sandbox| sandbox.state);
    PastRun { file: run.file.clone(), time, time_by, cpu, kernel, kipi, sandbox }
}

fn host_changes(runs: &[Run]) -> Vec<HostChange> {
    let of = |(index, pair): (usize, &[Run])| {
        let found = differences::find(&pair[..1], &pair[1..], &[]).into_iter();
        // What a document of before does not say is no change.
        found.filter(|difference| !difference.allowed).map(move |difference| HostChange {
            run: index + 1,
            factor: difference.factor,
            item: difference.item,
            before: difference.base.join(" | "),
            after: difference.new.join(" | "),
        })
    };
    runs.windows(2).enumerate().flat_map(of).collect()
}

fn course(runs: &[Run], id: CellId, reference: Option<CellId>) -> Course {
    let observed: Vec<(usize, Observed, Option<Observed>)> = runs
        .iter()
        .enumerate()
        .filter_map(|(index, run)| {
            Some((index, observe(run, &id)?, reference.and_then(|reference| observe(run, &reference))))
        })
        .collect();
    let by_turns = observed.iter().all(|(_, own, other)| other.as_ref().is_none_or(|other| own.has_turns(Some(other))));
    let point = |(run, own, other): &(usize, Observed, Option<Observed>)| Point {
        run: *run,
        p50_ns: own.p50_ns,
        ci95_ns: interval(&runs[*run], &id),
        ratio: other.as_ref().map(|other| own.value(Some(other), by_turns).logarithm.exp()),
    };
    let points: Vec<Point> = observed.iter().map(point).collect();
    let raw: Vec<(usize, f64)> = points.iter().map(|point| (point.run, point.p50_ns)).collect();
    let divided: Vec<(usize, f64)> = points.iter().filter_map(|point| Some((point.run, point.ratio?))).collect();
    let mut changes = [changes(Series::Raw, &raw), changes(Series::Divided, &divided)].concat();
    changes.sort_by_key(|change| (change.first_after, change.series));
    Course { id, reference, points, changes }
}

fn interval(run: &Run, id: &CellId) -> Option<[f64; 2]> {
    let cell = run.measurement.cells.iter().find(|cell| cell.id == *id)?;
    cell.metrics.get(&MetricName::RoundTrip)?.ci95.p50
}

/// The change points of positive values, each of a run.
fn changes(series: Series, values: &[(usize, f64)]) -> Vec<ChangeAt> {
    let logarithms: Vec<f64> = values.iter().map(|(_, value)| value.ln()).collect();
    let found = change_points(&logarithms);
    let parts = parts(&found, values.len());
    let level = |part: usize| middle(logarithms[parts[part].clone()].to_vec()).unwrap_or(0.0);
    let change = |(index, point): (usize, &crate::statistics::change_points::ChangePoint)| {
        let (before, after) = (level(index), level(index + 1));
        ChangeAt {
            series,
            last_before: values[point.at - 1].0,
            first_after: values[point.at].0,
            before: before.exp(),
            after: after.exp(),
            change: (after - before).exp_m1(),
            p: point.p,
        }
    };
    found.iter().enumerate().map(change).collect()
}

fn warnings(runs: &[Run], times: &[Time]) -> Vec<String> {
    let mut warnings = Vec::new();
    let by_file = times.iter().filter(|(_, by)| *by == TimeBy::File).count();
    if by_file > 0 {
        warnings.push(format!(
            "{by_file} of {} dated by when files were modified: their documents do not say when they began",
            count(runs.len(), "run")
        ));
    }
    if runs.len() < FEWEST_RUNS {
        warnings.push(format!(
            "{} cannot tell a change from chance: from {FEWEST_RUNS} on, a large one is found",
            count(runs.len(), "run")
        ));
    }
    warnings.extend(side(runs).sandbox_warning("run"));
    let went_wrong = |run: &&Run| run.measurement.cells.iter().any(|cell| !cell.integrity.is_clean());
    let wrong: Vec<&str> = runs.iter().filter(went_wrong).map(|run| run.file.as_str()).collect();
    if let Some(first) = wrong.first() {
        warnings.push(format!(
            "calls went wrong in {} of {}, in {first} first: kipi compare says which",
            wrong.len(),
            count(runs.len(), "run")
        ));
    }
    let processors: BTreeSet<&str> = runs.iter().map(|run| run.measurement.host.cpu.as_str()).collect();
    if processors.len() > 1 {
        let processors: Vec<&str> = processors.into_iter().collect();
        warnings.push(format!(
            "the runs are of several hosts ({}): their courses are of one host each if each has a directory of its own",
            processors.join(", ")
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
