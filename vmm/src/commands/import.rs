//! `kipi import`.

use super::judgement::{is_clean, judge, status_of, without_rounds};
use super::outputs::{any_is_stdout, nobody_reads, together, write_reports, write_results};
use super::progress::Shown;
use super::status::{Failure, Status, complain};
use super::{documents, hints, options, values};
use crate::config::CellId;
use crate::events::samples::Block;
use crate::experiment::{Observer, RawSink, recorded};
use crate::host::bounded;
use crate::report::csv::CsvWriter;
use crate::results::measurement::Measurement;
use crate::standalone::boot::End;
use crate::standalone::faults::Faults;
use crate::standalone::runs::{self, RecordedRun};
use crate::standalone::{copies, log};
use clap::Args;
use std::path::{Path, PathBuf};

/// The largest log that is read. A boot of default rounds on four processors has some 4 MiB.
const MOST_BYTES: u64 = 1 << 29;

/// Faults that a line names.
const MOST_TOLD: usize = 2;

/// Options of `kipi import`.
#[derive(Debug, Clone, Args)]
pub struct Import {
    /// What the standalone image has written to its serial line; - is standard input
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Which of the log's runs, if it has several: boots of one plan on one machine are a run [default: the last one]
    #[arg(long, value_name = "N", value_parser = values::count(1..=u32::MAX))]
    run: Option<u32>,
    /// Print everything: all times, what the instruments cost, where the run is from
    #[arg(long)]
    details: bool,
    #[command(flatten)]
    outputs: options::Outputs,
    #[command(flatten)]
    shown: Shown,
}

/// Runs it.
///
/// # Errors
/// A log that cannot be read or has no run in it, or a result that cannot be written.
pub fn run(options: &Import) -> Result<Status, Failure> {
    let name = options.log.display().to_string();
    let path = path(&options.log);
    let bytes = bounded::read(path, MOST_BYTES)
        .map_err(|error| Failure::bad_input(anyhow::anyhow!("{}: {error}", path.display())))?;
    let log::Log { boots, faults, gave_up } = copies::left_out(log::read(&bytes));
    if let Some(schema) = documents::schema(&bytes).ok().flatten().filter(|_| boots.is_empty()) {
        return Err(Failure::bad_input(anyhow::anyhow!(
            "{name}: it is a document already ({schema}), and no log (kipi compare and kipi history read documents)"
        )));
    }
    let runs = runs::of(boots);
    let chosen = choose(&name, &runs, options.run, &faults).map_err(Failure::bad_input)?;
    let outputs = options.outputs.open_beside(path)?;
    let to_stdout = any_is_stdout(outputs.each_ref());
    let [json, csv, html, prometheus, bmf] = outputs;
    let mut csv = csv.map(CsvWriter::new).transpose().map_err(Failure::failed)?;
    let mut samples =
        csv.as_mut().map(|csv| |cell: &CellId, block: &Block, tsc_khz: u64| csv.block(cell, block, tsc_khz));
    let mut details = Vec::new();
    let bar = options.shown.progress("blocks");
    let mut progress = |done: usize, total: usize, _: &CellId| bar.count(done as u64, total as u64);
    let mut observer = Observer {
        progress: &mut progress,
        samples: samples.as_mut().map(|samples| samples as RawSink<'_>),
        started: None,
        details: html.is_some().then_some(&mut details),
        repeats: None,
    };
    let run = &runs[chosen];
    let (mut measurement, error) = recorded::import(run, &name, &mut observer);
    bar.end();
    measurement.warnings.extend(faults.lines().chain(left_out(&runs, chosen)));

    let status = status_of(&measurement, error.as_ref(), false);
    let wrong = wrong(run, &measurement, gave_up);
    let (status, impossible) = judge(wrong.as_ref().map_or(status, |_| status.or(Status::Failed)), &measurement);
    let written = together([
        write_results(&measurement, json, csv, to_stdout, options.details),
        write_reports(&measurement, &details, [html, prometheus, bmf]),
    ]);
    if let Some(error) = error.map(anyhow::Error::from).filter(|error| !nobody_reads(error)) {
        complain(&format!("{name}: {}", hints::line(error.as_ref())));
    } else if let Some(wrong) = wrong.or(impossible) {
        complain(&format!("{name}: {wrong}"));
    } else if let Some(why) = &measurement.error {
        complain(&format!("{name}: {why}: what is whole of it was used"));
    }
    written.map_err(|error| Failure::new(status.or(Status::Failed), error))?;
    Ok(status)
}

/// Where a log of this name is.
fn path(log: &Path) -> &Path {
    if log == Path::new("-") { Path::new("/dev/stdin") } else { log }
}

/// The index of the run that is asked for; of the last one with a whole block, if none is.
fn choose(log: &str, runs: &[RecordedRun], asked: Option<u32>, faults: &Faults) -> anyhow::Result<usize> {
    let count = runs.len();
    match asked.map(|number| number as usize) {
        _ if count == 0 => {
            let why = if faults.is_empty() {
                "no line of it begins with ~kipi as its records do: is it that machine's serial line, as text of 8 bits? (115,200 baud, no \
                 parity)"
                    .to_owned()
            } else {
                faults.first(MOST_TOLD)
            };
            anyhow::bail!("{log}: there is no run of the standalone image in it; {why}")
        }
        Some(number) if number > count => anyhow::bail!("{log}: there is no run {number} in it, but {count} (--run)"),
        Some(number) => Ok(number - 1),
        None => Ok(runs.iter().rposition(|run| run.blocks() > 0).unwrap_or(count - 1)),
    }
}

/// The runs that are not imported, a line each.
fn left_out(runs: &[RecordedRun], chosen: usize) -> impl Iterator<Item = String> + '_ {
    let others = runs.iter().enumerate().filter(move |(index, _)| *index != chosen);
    others.map(|(index, run)| {
        let first = run.first();
        let platform = first.platform.hypervisor.as_deref().unwrap_or("bare metal");
        let plan = if first.image.command_line.is_empty() { "no plan" } else { &first.image.command_line };
        let (number, blocks) = (index + 1, run.blocks());
        format!("the log has another run, of {blocks} whole blocks ({platform}, {plan}): --run {number} imports it")
    })
}

/// What went wrong in the run, if something did, or in a boot that is none of it since the image `gave_up` on that log line; that the
/// log lacks some of it is not that.
fn wrong(run: &RecordedRun, measurement: &Measurement, gave_up: Option<(usize, String)>) -> Option<String> {
    if !is_clean(measurement) {
        return Some("calls went wrong: see the integrity column".to_owned());
    }
    let has_ended = run.boots().iter().any(|boot| boot.end == End::GaveUp);
    if measurement.error.is_some() && (has_ended || measurement.cells.is_empty()) {
        return measurement.error.clone();
    }
    let without = without_rounds(measurement).map(|cell| cell.id).or_else(|| recorded::lost_cell(run, measurement));
    let without = without.map(|cell| format!("no round of {cell} counts"));
    without
        .or_else(|| gave_up.map(|(line, why)| format!("the image gave up in the boot from log line {line} on: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standalone::fixture::{self, Writer, begin};

    fn runs_of(plans: &[u32]) -> Vec<RecordedRun> {
        let mut writer = Writer::default();
        for &turns in plans {
            fixture::boot(&mut writer, turns, "");
        }
        runs::of(log::read(&writer.log).boots)
    }

    #[test]
    fn the_last_run_with_a_block_is_imported_unless_another_is_asked_for() {
        let runs = runs_of(&[1, 2, 1]);
        assert_eq!(runs.len(), 2);
        let chosen = |asked| choose("a.log", &runs, asked, &Faults::default());
        assert_eq!((chosen(None).unwrap(), chosen(Some(1)).unwrap()), (1, 0));
        assert_eq!(chosen(Some(3)).unwrap_err().to_string(), "a.log: there is no run 3 in it, but 2 (--run)");
        let mut writer = Writer::default();
        fixture::boot(&mut writer, 1, "");
        begin(&mut writer, 2, "");
        let runs = runs::of(log::read(&writer.log).boots);
        assert_eq!((runs.len(), choose("a.log", &runs, None, &Faults::default()).unwrap()), (2, 0));
        let mut writer = Writer::default();
        begin(&mut writer, 1, "");
        let lines = writer.log.split_inclusive(|&byte| byte == b'\n').enumerate();
        let headless: Vec<u8> = lines.filter(|(index, _)| *index != 2).flat_map(|(_, line)| line.to_vec()).collect();
        let nothing = choose("a.log", &[], None, &log::read(&headless).faults).unwrap_err().to_string();
        let expected = "a.log: there is no run of the standalone image in it; the boot around log line 3 lacks its first record: left out";
        assert_eq!(nothing, expected);
    }

    #[test]
    fn what_is_left_out_is_named() {
        let runs = runs_of(&[1, 2]);
        let told: Vec<String> = left_out(&runs, 1).collect();
        let expected = "the log has another run, of 2 whole blocks (bare metal, route=x2apic,memory,msi state=spin): --run 1 imports it";
        assert_eq!(told, [expected]);
    }
}
