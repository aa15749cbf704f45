//! `kipi compare`.

use super::outputs::{any_is_stdout, open_all_beside, print, terminal_width, together, write_text};
use super::status::{Failure, Status};
use super::{documents, values};
use crate::comparison::differences::Factor;
use crate::comparison::gates::Limit;
use crate::comparison::references::Choice;
use crate::comparison::rules::{ERROR_RATE, Rules};
use crate::comparison::{self, Run};
use crate::report;
use crate::report::comparison::Format;
use clap::Args;
use std::path::PathBuf;
use std::slice;

/// Options of `kipi compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// What to compare with: documents of measure --json, as files, patterns, and directories of them
    #[arg(value_name = "BASE", required = true)]
    base: Vec<PathBuf>,
    /// What to judge
    #[arg(long, value_name = "NEW", required_unless_present = "as_overhead", num_args = 1..)]
    new: Vec<PathBuf>,
    /// Judge nothing, but say how many times as long NEW's calls take as BASE's, cell by cell: a virtual machine's as the same code's on
    /// bare metal. Two names may stand alone: --as-overhead metal.json kvm.json
    #[arg(long, conflicts_with_all = ["threshold", "reference", "gate", "decide", "prometheus"])]
    as_overhead: bool,
    /// The change that matters. One of less than half of it is never called a change, and what is certain to be less is the same
    #[arg(long, value_name = "PERCENT", value_parser = values::percentage, default_value = "5%")]
    threshold: f64,
    /// What may differ between the sides, because it is what is tested; that anything else differs is status 3
    #[arg(long, value_name = "F[,F..]", value_delimiter = ',', value_parser = values::factors().or_all())]
    expect: Vec<values::Choice<Factor>>,
    /// Divide all cells by this one, and not each by another route's of the same state, or the memory route's
    #[arg(long, value_name = "ROUTE/STATE", value_parser = values::reference)]
    reference: Option<Choice>,
    /// Compare tails, too: p99=20% is worse if more than 1 % of the new rounds are beyond the base's p99 and 20 %
    #[arg(long, value_name = "Q=PERCENT[,..]", value_delimiter = ',')]
    gate: Vec<Limit>,
    /// Take what runs that ended early have measured
    #[arg(long)]
    allow_partial: bool,
    /// End with status 5 where nothing is worse, and something is undecided
    #[arg(long)]
    decide: bool,
    /// How to report [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = values::comparison_formats())]
    format: Option<Format>,
    /// Write the result as Prometheus text, too, for the node exporter's textfile collector; - is standard output
    #[arg(long, value_name = "FILE.prom", value_parser = values::prom_file)]
    prometheus: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Whatever keeps the sets from being read, or the report from being printed.
pub fn run(options: &Compare) -> Result<Status, Failure> {
    if options.as_overhead {
        return overhead(options);
    }
    let [prometheus] = open_all_beside(&[&options.base, &options.new], [("--prometheus", &options.prometheus)])?;
    if let (Some(format), true) = (options.format, any_is_stdout([&prometheus])) {
        let error = anyhow::anyhow!(
            "--format {} and --prometheus both go to standard output (send the latter to a file)",
            format.name()
        );
        return Err(Failure::bad_input(error));
    }
    check_gates(&options.gate)?;
    let read = |names: &[PathBuf]| documents::read(names, options.allow_partial).map_err(Failure::bad_input);
    let (base, new) = (read(&options.base)?, read(&options.new)?);
    for (side, runs) in [("BASE", &base), ("--new", &new)] {
        documents::check_reference(options.reference, side, runs).map_err(Failure::bad_input)?;
    }
    refuse_same(&base, &new)?;
    let rules = Rules {
        threshold: options.threshold,
        error_rate: ERROR_RATE,
        expected: values::chosen(&options.expect),
        reference: options.reference,
        gates: options.gate.clone(),
        judges_times: true,
    };
    let comparison = comparison::compare(&base, &new, &rules);
    let text = report::comparison::render(&comparison, options.format.unwrap_or(Format::Text), terminal_width())
        .map_err(Failure::failed)?;
    let printed = if any_is_stdout([&prometheus]) { Ok(()) } else { print(&text) };
    let written = write_text(prometheus, || Ok(report::comparison::render_prometheus(&comparison)?));
    together([printed, written]).map_err(Failure::failed)?;
    Ok(Status::of_comparison(comparison.verdict, options.decide))
}

/// Says what one side takes in terms of the other.
fn overhead(options: &Compare) -> Result<Status, Failure> {
    let bad_input = |text: String| Failure::bad_input(anyhow::anyhow!(text));
    let (base, new) = match (options.base.as_slice(), options.new.as_slice()) {
        ([base, new], []) => (slice::from_ref(base), slice::from_ref(new)),
        (_, []) => {
            let text = "--as-overhead takes two names, what divides and what is divided, or BASE.. --new NEW..";
            return Err(bad_input(text.to_owned()));
        }
        sides => sides,
    };
    let read = |names: &[PathBuf]| documents::read(names, options.allow_partial).map_err(Failure::bad_input);
    let (base, new) = (read(base)?, read(new)?);
    refuse_same(&base, &new)?;
    let overhead = comparison::overhead::overhead(&base, &new, &values::chosen(&options.expect));
    let format = options.format.unwrap_or(Format::Text);
    let text = report::overhead::render(&overhead, format, terminal_width()).map_err(Failure::failed)?;
    let text = text.ok_or_else(|| {
        bad_input(format!("--format {}: an overhead has no verdict (take text, json or markdown)", format.name()))
    })?;
    print(&text).map_err(Failure::failed)?;
    Ok(if overhead.not_comparable.is_empty() { Status::Good } else { Status::NotComparable })
}

/// Refuses sides that tell nothing: those that are the same runs.
fn refuse_same(base: &[Run], new: &[Run]) -> Result<(), Failure> {
    if new.iter().all(|run| base.iter().any(|other| other.measurement == run.measurement)) {
        return Err(Failure::bad_input(anyhow::anyhow!(
            "all runs of --new are BASE's, too: they compare with themselves"
        )));
    }
    Ok(())
}

/// A tail has one limit.
fn check_gates(gates: &[Limit]) -> Result<(), Failure> {
    for (index, gate) in gates.iter().enumerate() {
        if gates[..index].iter().any(|other| (other.quantile - gate.quantile).abs() < f64::EPSILON) {
            let percentile = 100.0 * gate.quantile;
            let error = anyhow::anyhow!("--gate: p{percentile} has two limits (give it one)");
            return Err(Failure::bad_input(error));
        }
    }
    Ok(())
}
