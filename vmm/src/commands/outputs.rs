//! Where a command's results go.

use super::documents;
use super::status::Failure;
use crate::experiment;
use crate::report::csv::CsvWriter;
use crate::report::output::{self, Output, Place};
use crate::report::wrap::UNKNOWN_WIDTH;
use crate::report::{bmf, html, json, prometheus, text};
use crate::results::detail::CellDetail;
use crate::results::measurement::Measurement;
use std::io::{self, Write};
use std::path::PathBuf;

/// Opens what results go to, before anything is measured: no two options may lead to one place, and none to the file that
/// standard output goes to, which its own file would replace.
pub(super) fn open_all<const N: usize>(
    named: [(&'static str, &Option<PathBuf>); N],
) -> Result<[Option<Output>; N], Failure> {
    open(named, &[]).map_err(Failure::bad_input)
}

/// The same for a command that reads documents, which these names stand for: none of them may be replaced.
pub(super) fn open_all_beside<const N: usize>(
    inputs: &[&[PathBuf]],
    named: [(&'static str, &Option<PathBuf>); N],
) -> Result<[Option<Output>; N], Failure> {
    open(named, inputs).map_err(Failure::bad_input)
}

fn open<const N: usize>(
    named: [(&'static str, &Option<PathBuf>); N],
    inputs: &[&[PathBuf]],
) -> anyhow::Result<[Option<Output>; N]> {
    let mut places = [const { None }; N];
    for (index, (option, path)) in named.into_iter().enumerate() {
        let Some(path) = path else { continue };
        let place = Place::find(option, path)?;
        if let Some(other) = places[..index].iter().flatten().find(|other| place.is_same(other)) {
            anyhow::bail!("{} (give them different files)", told_same(other, &place));
        }
        places[index] = Some(place);
    }
    if let Some((place, stream)) = places.iter().flatten().find_map(|place| Some((place, place.replaces()?))) {
        anyhow::bail!("{stream} and {} are the same file (give them different files)", place.as_typed());
    }
    for names in inputs {
        for input in documents::files(names)? {
            if let Some(place) = places.iter().flatten().find(|place| place.is_file(&input)) {
                let (output, input) = (place.as_typed(), input.display());
                anyhow::bail!("{output} and {input}, which is read, are the same file (write to another one)");
            }
        }
    }
    let mut outputs = [const { None }; N];
    for (output, place) in outputs.iter_mut().zip(places) {
        *output = place.map(Output::open).transpose()?;
    }
    Ok(outputs)
}

fn told_same(one: &Place, other: &Place) -> String {
    let what = if one.is_stdout() && other.is_stdout() { "both go to standard output" } else { "are the same file" };
    format!("{} and {} {what}", one.as_typed(), other.as_typed())
}

/// Whether one of `outputs` is standard output, which then belongs to it alone.
pub(super) fn any_is_stdout<const N: usize>(outputs: [&Option<Output>; N]) -> bool {
    outputs.into_iter().flatten().any(Output::is_stdout)
}

/// Writes a document to an output, if there is one; that nobody reads it any more is no error.
pub(super) fn write<E: Into<anyhow::Error>>(
    output: Option<Output>,
    document: impl FnOnce(&mut Output) -> Result<(), E>,
) -> anyhow::Result<()> {
    let Some(mut output) = output else { return Ok(()) };
    unless_nobody_reads(document(&mut output).map_err(E::into).and_then(|()| Ok(output.commit()?)))
}

/// The same, of a text.
pub(super) fn write_text(output: Option<Output>, text: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
    write(output, |output| Ok::<_, anyhow::Error>(output.write_all(text()?.as_bytes())?))
}

/// Prints to standard output; that nobody reads it any more is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    printed(io::stdout().write_all(text.as_bytes()))
}

/// What became of something that was printed to standard output: that nobody reads it any more is no error.
pub(super) fn printed(written: io::Result<()>) -> anyhow::Result<()> {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if !output::is_broken_pipe(&error) => {
            Err(anyhow::anyhow!("cannot write to standard output: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The reader of a pipe went away, as `head` does: no reason to complain.
pub(super) fn nobody_reads(error: &anyhow::Error) -> bool {
    let io_error = match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
        (Some(experiment::Error::Samples(error)), ..) | (_, Some(json::JsonError::Write(error)), _) => Some(error),
        (.., error) => error,
    };
    io_error.is_some_and(output::is_broken_pipe)
        || error.downcast_ref().is_some_and(output::OutputError::is_broken_pipe)
}

/// What became of results: that nobody reads them any more is no error.
fn unless_nobody_reads(written: anyhow::Result<()>) -> anyhow::Result<()> {
    written.or_else(|error| if nobody_reads(&error) { Ok(()) } else { Err(error) })
}

/// What became of several results, all of which have been tried: each that is lost is named, in one line.
pub(super) fn together<const N: usize>(written: [anyhow::Result<()>; N]) -> anyhow::Result<()> {
    let mut errors = written.into_iter().filter_map(Result::err);
    let Some(first) = errors.next() else { return Ok(()) };
    let others: Vec<String> = errors.map(|error| error.to_string()).collect();
    Err(if others.is_empty() { first } else { anyhow::anyhow!("{first}; {}", others.join("; ")) })
}

/// The command line, as documents have it.
pub(super) fn command_line() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Columns of the terminal that standard output is; a file or a pipe has none, and a reader who may have said it: `COLUMNS`, as in
/// POSIX's environment.
pub(super) fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    size.map(|size| size.ws_col.into())
        .filter(|&columns| columns > 0)
        .or_else(said)
        .filter(|&columns| columns > 0)
        .unwrap_or(UNKNOWN_WIDTH)
}

/// Writes page, Prometheus text and Bencher Metric Format, those that are asked for.
pub(super) fn write_reports(
    measurement: &Measurement,
    details: &[CellDetail],
    [html, prometheus, bmf]: [Option<Output>; 3],
) -> anyhow::Result<()> {
    together([
        write_text(html, || Ok(html::render(measurement, details))),
        write_text(prometheus, || Ok(prometheus::render(measurement)?)),
        write_text(bmf, || Ok(bmf::render(measurement)?)),
    ])
}

/// Writes samples, document and table, those that are asked for.
pub(super) fn write_results(
    measurement: &Measurement,
    json: Option<Output>,
    csv: Option<CsvWriter<Output>>,
    to_stdout: bool,
    details: bool,
) -> anyhow::Result<()> {
    let csv = unless_nobody_reads(csv.map_or(Ok(()), |csv| Ok(csv.finish()?.commit()?)));
    let json = write(json, |output| json::write(measurement, output));
    // Without a cell and a warning there is nothing to show that the error's line does not say.
    let silent = to_stdout || measurement.cells.is_empty() && measurement.warnings.is_empty();
    let table = if silent { Ok(()) } else { print(&text::render(measurement, terminal_width(), details)) };
    together([csv, json, table])
}
