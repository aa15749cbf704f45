//! Sets of documents that a user names: files, patterns, directories.

use crate::comparison::Run;
use crate::comparison::references::Choice;
use crate::host::bounded;
use crate::results::measurement::{Cell, MEASUREMENT_SCHEMA, Measurement, Spread};
use crate::results::metric::MetricName;
use kipi_standalone::lines;
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest document that is read; one of 1,200 cells has some 30 MiB.
const MOST_BYTES: u64 = 1 << 30;

/// More exits a call than any guest makes.
const MOST_EXITS: f64 = 1e12;

/// Why a set cannot be had. Each is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that nothing is at.
    #[error("{0}: no such file or directory")]
    Missing(String),
    /// A directory or a pattern with nothing in it.
    #[error("{0}: there is no .json file in it")]
    Empty(String),
    /// A pattern that is none.
    #[error("{0}: {1}")]
    Pattern(String, glob::PatternError),
    /// What cannot be read.
    #[error("{0}: {1}")]
    Read(String, bounded::Error),
    /// What is no JSON.
    #[error("{0}: it is no JSON: {1}")]
    NotJson(String, serde_json::Error),
    /// What the standalone image has written.
    #[error("{0}: it is a log of the standalone image: kipi import {0} --json FILE makes a document of it")]
    Log(String),
    /// JSON that is no document of kipi's.
    #[error("{0}: it is no document of kipi measure --json (it has no \"schema\")")]
    NotADocument(String),
    /// Another document, or one of another version.
    #[error("{0}: its schema is {1}, and this kipi compares {MEASUREMENT_SCHEMA} (of kipi measure --json)")]
    OtherSchema(String, String),
    /// A document that its schema does not allow.
    #[error("{0}: it does not keep to {MEASUREMENT_SCHEMA}: {1}")]
    NotOfSchema(String, serde_json::Error),
    /// A document that contradicts itself.
    #[error("{0}: {1}: it is not as kipi wrote it")]
    Contradiction(String, String),
    /// A run that ended early.
    #[error("{0}: the run ended early: {1} (--allow-partial takes what it measured until then)")]
    Partial(String, String),
    /// A run that is there twice: it would count as two that agree.
    #[error("{0} and {1} are the same run")]
    Twice(String, String),
    /// A reference that no run has.
    #[error("--reference {route}/{state}: no run of {side} has it (measure it, or name another)")]
    NoReference {
        /// The reference's route.
        route: &'static str,
        /// Its state.
        state: &'static str,
        /// Whose runs.
        side: &'static str,
    },
}

/// The runs that `names` stand for, by rising time; where some document does not say when it was measured, in the order of the names.
///
/// # Errors
/// Every variant of [`enum@Error`].
pub fn read(names: &[PathBuf], allow_partial: bool) -> Result<Vec<Run>, Error> {
    let mut runs: Vec<Run> = Vec::new();
    for file in files(names)? {
        let run = read_one(&file, allow_partial)?;
        if let Some(same) = runs.iter().find(|other| other.measurement == run.measurement) {
            return Err(Error::Twice(same.file.clone(), run.file));
        }
        runs.push(run);
    }
    if runs.iter().all(|run| run.measurement.started.is_some()) {
        let started = |run: &Run| run.measurement.started.unwrap_or(0.0);
        runs.sort_by(|one, other| started(one).total_cmp(&started(other)));
    }
    Ok(runs)
}

/// The files that names stand for: themselves, what matches a pattern, what a directory has that ends in `.json`.
///
/// # Errors
/// Those of [`read`] that are about names.
pub(super) fn files(names: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for name in names {
        let said = name.display().to_string();
        if name.is_dir() {
            let entries = fs::read_dir(name).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
            let entries: Vec<PathBuf> = entries.map_err(|error| Error::Read(said.clone(), error.into()))?;
            let mut found: Vec<PathBuf> = entries.into_iter().filter(|path| is_json(path)).collect();
            found.sort();
            files.extend((!found.is_empty()).then_some(found).ok_or(Error::Empty(said))?);
        } else if name.exists() {
            files.push(name.clone());
        } else if said.contains(['*', '?', '[']) {
            let paths = glob::glob(&said).map_err(|error| Error::Pattern(said.clone(), error))?;
            let found = paths.collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|error| Error::Read(said.clone(), io::Error::from(error).into()))?;
            files.extend((!found.is_empty()).then_some(found).ok_or(Error::Missing(said))?);
        } else {
            return Err(Error::Missing(said));
        }
    }
    Ok(files)
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json") && path.is_file()
}

fn read_one(path: &Path, allow_partial: bool) -> Result<Run, Error> {
    let file = path.display().to_string();
    let text = bounded::read(path, MOST_BYTES).map_err(|error| Error::Read(file.clone(), error))?;
    accept(&file, &text, allow_partial)
}

/// The run that a document's text describes, if kipi can have written it.
///
/// # Errors
/// Those of [`read`] that are about one document.
pub(super) fn accept(file: &str, text: &[u8], allow_partial: bool) -> Result<Run, Error> {
    let file = file.to_owned();
    let measurement = parse(&file, text)?;
    if let Err(what) = check(&measurement) {
        return Err(Error::Contradiction(file, what));
    }
    if measurement.partial && !allow_partial {
        let why = measurement.error.unwrap_or_else(|| "it was interrupted".to_owned());
        return Err(Error::Partial(file, why));
    }
    Ok(Run { file, measurement })
}

/// The schema that a document says it has, if it says so.
///
/// # Errors
/// It is not JSON.
pub(super) fn schema(text: &[u8]) -> serde_json::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Head {
        schema: Option<String>,
    }
    let value: serde_json::Value = serde_json::from_slice(text)?;
    Ok(Head::deserialize(&value).ok().and_then(|head| head.schema))
}

fn parse(file: &str, text: &[u8]) -> Result<Measurement, Error> {
    let schema = schema(text).map_err(|error| {
        let is_log = text.windows(lines::PREFIX.len()).any(|bytes| bytes == lines::PREFIX);
        if is_log { Error::Log(file.to_owned()) } else { Error::NotJson(file.to_owned(), error) }
    })?;
    match schema {
        None => Err(Error::NotADocument(file.to_owned())),
        Some(schema) if schema != MEASUREMENT_SCHEMA => Err(Error::OtherSchema(file.to_owned(), schema)),
        // From the text once more: an error then has its line.
        Some(_) => serde_json::from_slice(text).map_err(|error| Error::NotOfSchema(file.to_owned(), error)),
    }
}

/// Refuses a reference that none of a side's runs has: it divides nothing.
///
/// # Errors
/// [`Error::NoReference`].
pub(super) fn check_reference(choice: Option<Choice>, side: &'static str, runs: &[Run]) -> Result<(), Error> {
    let Some((route, state)) = choice else { return Ok(()) };
    let cells = runs.iter().flat_map(|run| &run.measurement.cells).map(|cell| cell.id);
    let beside = runs.iter().flat_map(|run| &run.measurement.references).filter_map(|reference| reference.cell);
    let has_it = cells.chain(beside).any(|cell| (cell.route, cell.target_state) == (route, state));
    if has_it { Ok(()) } else { Err(Error::NoReference { route: route.name(), state: state.name(), side }) }
}

/// Whether a document is one that kipi can have written: what is compared of it agrees with the rest. The error says what does not.
fn check(measurement: &Measurement) -> Result<(), String> {
    if measurement.error.is_some() && !measurement.partial {
        return Err("it says that the run failed, and that it is whole".to_owned());
    }
    for (index, cell) in measurement.cells.iter().enumerate() {
        if measurement.cells[..index].iter().any(|other| other.id == cell.id) {
            return Err(format!("it has the cell {} twice", cell.id));
        }
        check_cell(cell).map_err(|what| format!("the cell {}: {what}", cell.id))?;
    }
    for block in measurement.references.iter().flat_map(|reference| &reference.blocks) {
        if block.p50_ns <= 0.0 {
            return Err(format!("references: a median of {} ns", block.p50_ns));
        }
    }
    Ok(())
}

fn check_cell(cell: &Cell) -> Result<(), String> {
    if let Some(exits) = cell.exits.iter().find(|exits| exits.initiator < 0.0 || exits.per_target < 0.0) {
        return Err(format!("fewer than no exits {}", exits.reason));
    }
    if let Some(exits) = cell.exits.iter().find(|exits| exits.initiator.max(exits.per_target) > MOST_EXITS) {
        return Err(format!("more than {MOST_EXITS:e} exits {} a call", exits.reason));
    }
    let Some(round_trip) = cell.metrics.get(&MetricName::RoundTrip) else { return Ok(()) };
    let quantiles = [round_trip.min, round_trip.p50, round_trip.p90, round_trip.p99, round_trip.p999, round_trip.max];
    if !quantiles.is_sorted() {
        return Err("the quantiles of round_trip do not rise".to_owned());
    }
    if round_trip.n == 0 || round_trip.negative > round_trip.n {
        return Err(format!("round_trip has {} values, {} of them negative", round_trip.n, round_trip.negative));
    }
    if let Some(counts) = cell.round_trips.as_ref().filter(|counts| counts.n() != round_trip.n) {
        return Err(format!("round_trips counts {} values, round_trip {}", counts.n(), round_trip.n));
    }
    let spreads = cell.blocks.iter().filter_map(|block| block.metrics.get(&MetricName::RoundTrip));
    for &Spread { n, min, p50, p99, max } in spreads {
        if n == 0 || ![min, p50, p99, max].is_sorted() {
            return Err("the quantiles of round_trip in a block do not rise".to_owned());
        }
    }
    let in_blocks = cell.counted_blocks().filter_map(|block| block.metrics.get(&MetricName::RoundTrip));
    let [lowest, highest] = in_blocks
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], block| [low.min(block.p50), high.max(block.p50)]);
    if lowest <= highest && !(lowest..=highest).contains(&round_trip.p50) {
        return Err("the median of round_trip lies beyond those of all blocks".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
