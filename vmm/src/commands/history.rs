//! `kipi history`.

use super::outputs::{any_is_stdout, open_all_beside, print, terminal_width, together, write, write_text};
use super::status::{Failure, Status};
use super::{documents, values};
use crate::comparison::history::{Time, follow};
use crate::comparison::references::Choice;
use crate::report::json;
use crate::report::output::Output;
use crate::results::history::{History, TimeBy};
use crate::{comparison::Run, report};
use anyhow::Context;
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// Options of `kipi history`.
#[derive(Debug, Args)]
pub struct Options {
    /// The runs: documents of measure --json, as files, patterns, and directories of them
    #[arg(value_name = "RUNS", required = true)]
    runs: Vec<PathBuf>,
    /// Divide all cells by this one, and not each by another route's of the same state, or the memory route's
    #[arg(long, value_name = "ROUTE/STATE", value_parser = values::reference)]
    reference: Option<Choice>,
    /// Take what runs that ended early have measured
    #[arg(long)]
    allow_partial: bool,
    /// Write a page with each cell's course; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the document; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Whatever keeps the runs from being read, or the report from being written.
pub fn run(options: &Options) -> Result<Status, Failure> {
    let [html, json] = open_all_beside(&[&options.runs], [("--html", &options.html), ("--json", &options.json)])?;
    let runs = documents::read(&options.runs, options.allow_partial).map_err(Failure::bad_input)?;
    documents::check_reference(options.reference, "RUNS", &runs).map_err(Failure::bad_input)?;
    let dated = runs.into_iter().map(|run| Ok((time(&run)?, run))).collect::<anyhow::Result<Vec<_>>>();
    let mut dated = dated.map_err(Failure::bad_input)?;
    dated.sort_by(|((one, _), _), ((other, _), _)| one.total_cmp(other));
    let (times, runs): (Vec<Time>, Vec<Run>) = dated.into_iter().unzip();
    let history = follow(&runs, &times, options.reference);
    write_results(&history, html, json).map_err(Failure::failed)?;
    Ok(Status::Good)
}

/// When a run was, by its document, or where that does not say, by its file.
fn time(run: &Run) -> anyhow::Result<Time> {
    if let Some(started) = run.measurement.started {
        return Ok((started, TimeBy::Document));
    }
    let modified = fs::metadata(&run.file).and_then(|file| file.modified());
    let modified = modified.with_context(|| format!("{}: it does not say when it was measured", run.file))?;
    // A file that says it is older than the clock's beginning comes first.
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok((since.as_secs_f64(), TimeBy::File))
}

/// Writes everything that was asked for.
fn write_results(history: &History, html: Option<Output>, json: Option<Output>) -> anyhow::Result<()> {
    let to_stdout = any_is_stdout([&html, &json]);
    let json = write(json, |output| json::write_history(history, output));
    let html = write_text(html, || Ok(report::html::history::render(history)));
    let text = if to_stdout { Ok(()) } else { print(&report::history::render(history, terminal_width())) };
    together([json, html, text])
}
