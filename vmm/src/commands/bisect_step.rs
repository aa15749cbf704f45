//! `kipi bisect-step`: a step of `git bisect run`.
//!
//! It measures until the comparison with the base is decided, at one of the [`looks`].

use super::outputs::print;
use super::processes::{self, Ended};
use super::status::{Failure, Status};
use super::{documents, interrupts, values};
use crate::comparison::differences::Factor;
use crate::comparison::rules::{FEWEST_RUNS, Rules};
use crate::comparison::{self, Run, looks};
use crate::report::units;
use crate::results::comparison::{Comparison, OpenReason, Overall, Verdict};
use crate::results::count::count;
use crate::results::measurement::Measurement;
use clap::Args;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Options of `kipi bisect-step`.
#[derive(Debug, Args)]
pub struct BisectStep {
    /// Runs of a version that is known to be good: documents of measure --json, as files, patterns, and directories of them
    #[arg(long, value_name = "BASE", required = true, num_args = 1..)]
    base: Vec<PathBuf>,
    /// Give up after this many seconds: the version cannot be judged, and git skips it
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = values::count(1..=86_400_u32))]
    budget: u32,
    /// The change that matters. One of less than half of it is never called a change
    #[arg(long, value_name = "PERCENT", value_parser = values::percentage, default_value = "5%")]
    threshold: f64,
    /// What may differ from the base, because it is what is bisected
    #[arg(long, value_name = "F[,F..]", value_delimiter = ',', value_parser = values::factors().or_all(), default_value = "kernel,kipi")]
    expect: Vec<values::Choice<Factor>>,
    /// Judge exits a call, and whatever else is no time: for an emulated host, whose times say little
    #[arg(long, conflicts_with = "threshold")]
    ignore_times: bool,
    /// Measure with this build of kipi [default: this one]
    #[arg(long, value_name = "KIPI")]
    exec: Option<PathBuf>,
    /// How to measure, as the base was: measure, and options of it
    #[arg(last = true, value_name = "measure ..", required = true)]
    measure: Vec<OsString>,
}

/// Runs it. Nothing ends with a status that git takes for a bad version but a version that is.
///
/// # Errors
/// Whatever keeps the version from being judged.
pub fn run(options: &BisectStep) -> Result<Status, Failure> {
    let outcome = catch_unwind(AssertUnwindSafe(|| step(options)));
    // What it was has been said.
    outcome.unwrap_or(Ok(Status::Stop)).map_err(|failure| {
        failure.with_status(|status| match status {
            Status::HostCannot => Status::Skip,
            Status::Interrupted => Status::Interrupted,
            Status::Good
            | Status::Failed
            | Status::BadInput
            | Status::NotComparable
            | Status::Undecided
            | Status::Skip
            | Status::Stop => Status::Stop,
        })
    })
}

fn step(options: &BisectStep) -> Result<Status, Failure> {
    let arguments = arguments(&options.measure)?;
    let base = documents::read(&options.base, false).map_err(Failure::bad_input)?;
    if base.len() < FEWEST_RUNS {
        let error = anyhow::anyhow!("a base of {} is none: {FEWEST_RUNS} runs at least, ten are better", base.len());
        return Err(Failure::bad_input(error));
    }
    let kipi = options.exec.clone().map_or_else(processes::own, Ok)?;
    interrupts::handle()?;
    let start = Instant::now();
    let end = start + Duration::from_secs(options.budget.into());
    let rules = looks::rules(options.threshold, &values::chosen(&options.expect), !options.ignore_times);
    let mut new: Vec<Run> = Vec::new();
    let mut why = "";
    for runs in looks::RUNS {
        while new.len() < runs {
            match processes::run(&kipi, &arguments, Some(end))? {
                Ended::Measured(measurement) => new.push(next(&new, &kipi, *measurement)?),
                Ended::Interrupted => return Ok(Status::Interrupted),
                Ended::OutOfTime => {
                    let what = format!("undecided: the budget of {} s is spent{why}", options.budget);
                    return conclude(Status::Skip, &what, [&base, &new], start);
                }
            }
        }
        let comparison = comparison::compare(&base, &new, &rules);
        match comparison.verdict {
            Overall::Worse => {
                return conclude(Status::Failed, &what_is_worse(&comparison, &rules), [&base, &new], start);
            }
            Overall::NothingWorse => return conclude(Status::Good, nothing_worse(&rules), [&base, &new], start),
            Overall::NotComparable => return Err(Failure::new(Status::Stop, not_comparable(&comparison))),
            Overall::Undecided => why = why_undecided(&comparison, &rules),
        }
    }
    conclude(Status::Skip, &format!("undecided: more runs would not decide it soon{why}"), [&base, &new], start)
}

/// A run that is none of those before: otherwise a program that writes one document again and again would decide.
fn next(runs: &[Run], kipi: &Path, measurement: Measurement) -> Result<Run, Failure> {
    if let Some(failure) = ended_early(&measurement) {
        return Err(failure);
    }
    if runs.iter().any(|run| run.measurement == measurement) {
        return Err(Failure::failed(anyhow::anyhow!("{}: it wrote the same run twice", kipi.display())));
    }
    Ok(Run { file: format!("run {}", runs.len() + 1), measurement })
}

/// A run that ended early lacks cells, which says nothing of the version; calls that went wrong do.
fn ended_early(measurement: &Measurement) -> Option<Failure> {
    let is_clean = measurement.cells.iter().all(|cell| cell.integrity.is_clean());
    (measurement.partial && is_clean).then(|| {
        let why = measurement.error.as_deref().unwrap_or("no reason given");
        Failure::failed(anyhow::anyhow!("a run ended early: {why}"))
    })
}

/// The one line that it says.
fn conclude(status: Status, what: &str, [base, new]: [&[Run]; 2], start: Instant) -> Result<Status, Failure> {
    let runs = count(new.len(), "run");
    let line = format!("{what} ({runs} in {:.0} s{})\n", start.elapsed().as_secs_f64(), without_sandbox(base, new));
    print(&line).map_err(Failure::failed)?;
    Ok(status)
}

/// That runs had no sandbox, or not all of it, behind what is said of them.
fn without_sandbox(base: &[Run], new: &[Run]) -> String {
    let sides = [("the base's", base), ("its own", new)];
    let warnings = sides.map(|(whose, runs)| {
        let warning = comparison::side(runs).sandbox_warning("run");
        warning.map_or_else(String::new, |warning| format!("; {whose}: {warning}"))
    });
    warnings.concat()
}

/// The command line of a run: its result goes to this process.
fn arguments(measure: &[OsString]) -> Result<Vec<OsString>, Failure> {
    let is =
        |argument: &OsString, option: &str| argument.to_str().is_some_and(|it| it.split('=').next() == Some(option));
    if !measure.first().is_some_and(|first| is(first, "measure")) {
        return Err(Failure::bad_input(anyhow::anyhow!("behind -- stands what to run: measure, and its options")));
    }
    let is_refused = |option: &&str| measure.iter().any(|argument| is(argument, option));
    if let Some(option) =
        ["--json", "--csv", "--html", "--prometheus", "--bmf", "--ab", "--ab-exec"].iter().find(|it| is_refused(it))
    {
        return Err(Failure::bad_input(anyhow::anyhow!("{option} is none of a step's options (leave it out)")));
    }
    Ok(measure.iter().cloned().chain(["--json", "-"].map(OsString::from)).collect())
}

fn nothing_worse(rules: &Rules) -> &'static str {
    if rules.judges_times { "same: nothing is worse" } else { "same: nothing but times may be worse" }
}

/// What keeps times from being decided and is not how much they vary, behind what is said of it.
fn why_undecided(comparison: &Comparison, rules: &Rules) -> &'static str {
    let mut opens = comparison.cells.iter().filter_map(|row| row.open.as_ref());
    if rules.judges_times && opens.any(|open| open.reason == OpenReason::OneSideDisturbed) {
        "; most runs of one side were never quiet, and most of the other were (measure the base again under the load that there is \
         now, or both in turns: kipi measure --ab-exec)"
    } else {
        ""
    }
}

fn what_is_worse(comparison: &Comparison, rules: &Rules) -> String {
    let rows = comparison.cells.iter().chain(&comparison.references);
    let slower = rows.filter(|row| rules.judges_times && row.verdict == Verdict::Slower);
    let worst = slower.max_by(|one, other| one.judged().estimate.total_cmp(&other.judged().estimate));
    if let Some(row) = worst {
        let change = row.judged();
        let interval = change.interval.map_or_else(String::new, |it| format!(", {}", units::change_range(it)));
        return format!("slower: {}: {}{interval}", row.name(), units::change(change.estimate));
    }
    comparison.worse_findings().next().map_or_else(|| "worse".to_owned(), |finding| format!("worse: {finding}"))
}

fn not_comparable(comparison: &Comparison) -> anyhow::Error {
    let differs = comparison.differences.iter().find(|difference| !difference.allowed);
    let what = differs.map_or_else(
        || comparison.why_not_comparable().join("; "),
        |it| format!("{it} (--expect {} allows it)", it.factor),
    );
    anyhow::anyhow!("the base is not comparable: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::comparison::Open;
    use crate::results::comparison::fixture::comparison;
    use crate::results::fixture;
    use crate::results::integrity::Integrity;
    use crate::results::sandbox::Sandbox;

    #[test]
    fn a_run_that_ended_early_is_not_judged_unless_a_call_went_wrong() {
        let mut measurement = fixture::measurement();
        for cell in &mut measurement.cells {
            cell.integrity = Integrity::default();
        }
        assert!(ended_early(&measurement).is_none());
        measurement.partial = true;
        measurement.error = Some("the machine did not start".to_owned());
        let failure = ended_early(&measurement).expect("a failure");
        assert!(format!("{failure:?}").contains("ended early: the machine did not start"), "{failure:?}");
        measurement.cells[0].integrity.lost = 1;
        assert!(ended_early(&measurement).is_none());
    }

    #[test]
    fn a_side_without_sandbox_is_told() {
        let run = |sandbox| {
            let measurement = Measurement { sandbox, ..fixture::measurement() };
            vec![Run { file: "run".to_owned(), measurement }]
        };
        assert_eq!(without_sandbox(&run(None), &[]), "");
        let off = run(Some(Sandbox::off()));
        assert_eq!(without_sandbox(&run(None), &off), "; its own: NO SANDBOX (--no-sandbox)");
        let base = [off.clone(), run(None)].concat();
        let both = "; the base's: NO SANDBOX (--no-sandbox) in 1 of 2 runs; its own: NO SANDBOX (--no-sandbox)";
        assert_eq!(without_sandbox(&base, &off), both);
    }

    #[test]
    fn a_load_that_the_base_did_not_have_is_named() {
        let mut comparison = comparison();
        let rules = |judges_times| looks::rules(0.05, &[], judges_times);
        assert_eq!(why_undecided(&comparison, &rules(true)), "");
        comparison.cells[0].open = Some(Open { reason: OpenReason::OneSideDisturbed, more_runs: None });
        assert!(why_undecided(&comparison, &rules(true)).contains("most runs of one side were never quiet"));
        assert_eq!(why_undecided(&comparison, &rules(false)), "", "times are not judged");
    }

    fn of(words: &str) -> Result<Vec<OsString>, Failure> {
        arguments(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_step_runs_measure_and_takes_its_result() {
        let arguments = of("measure --route x2apic").unwrap();
        assert_eq!(arguments, ["measure", "--route", "x2apic", "--json", "-"]);
        for wrong in ["check", "measure --json=x.json", "measure --ab halt-poll=0,1"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
