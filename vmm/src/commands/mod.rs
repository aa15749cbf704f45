//! The command line: what can be typed, and a file for each command with its options and its run.
//!
//! Nothing else knows of options: errors elsewhere say what is wrong with a value, and `hints` adds the way out.

#![deny(clippy::wildcard_enum_match_arm)]

mod ab;
pub mod bisect_step;
pub mod check;
pub mod compare;
mod confined;
pub mod doctor;
pub mod documents;
pub mod help;
mod hints;
pub mod history;
pub mod image;
pub mod import;
mod interrupts;
mod judgement;
mod machines;
pub mod measure;
mod options;
mod outputs;
mod processes;
mod progress;
pub mod status;
pub mod trace;
mod under;
mod values;

use check::Check;
use clap::{FromArgMatches, Parser, Subcommand};
use compare::Compare;
use doctor::Doctor;
use image::Image;
use import::Import;
use measure::Measure;
use status::{Failure, Status};
use trace::Trace;

/// Measures how simultaneously code runs on every processor of a KVM guest, and what interrupting them costs.
#[derive(Debug, Parser)]
#[command(name = "kipi", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `measure` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `measure`.
    #[command(flatten)]
    pub measure: Measure,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure broadcast calls and print the table (the default)
    Measure(Box<Measure>),
    /// Show a broadcast call as a timeline: every exit and stamp of every vCPU, in order
    Trace(Box<Trace>),
    /// Check that broadcast calls keep their contract on real vCPUs
    Check(Check),
    /// Say what this host offers, route by route, and why not
    Doctor(Doctor),
    /// Say whether one set of runs is slower than another, or otherwise worse
    Compare(Compare),
    /// Show the course of each cell over many runs, and where it changed
    History(history::Options),
    /// Write the standalone image: the guest for other VMMs and bare metal, which prints its results to a serial line
    Image(Image),
    /// Make the ordinary document and table of what the standalone image has printed
    Import(Import),
    /// Judge a version for git bisect run: 0 is as good as the base, 1 worse, 125 undecided, 128 and more an error
    BisectStep(bisect_step::BisectStep),
}

/// The command line of this process; help texts fit the terminal.
///
/// # Errors
/// What [`end_parsing`] takes.
pub fn parse() -> Result<Cli, clap::Error> {
    let command = help::command().term_width(outputs::terminal_width());
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// Ends a command line that cannot be run: help and version are asked for, everything else is a usage error.
pub fn end_parsing(error: &clap::Error) -> Status {
    if error.use_stderr() {
        return refuse(&one_line(error, subcommand().as_deref()));
    }
    outputs::printed(error.print()).map_or_else(|error| Failure::failed(error).report(), |()| Status::Good)
}

/// Ends what cannot be run, with the reason on standard error.
pub fn refuse(why: &str) -> Status {
    status::complain(why);
    // To git bisect run, 2 would be a bad version.
    if subcommand().is_some_and(|command| command == "bisect-step") { Status::Stop } else { Status::BadInput }
}

/// The subcommand of this process's command line, if it begins with one.
fn subcommand() -> Option<String> {
    let first = std::env::args_os().nth(1)?.into_string().ok()?;
    help::command().find_subcommand(&first).is_some().then_some(first)
}

/// A usage error, of the options of `command` if there is one, as one line.
fn one_line(error: &clap::Error, command: Option<&str>) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let body = lines.take_while(|line| !line.starts_with("For more information") && !line.starts_with("Usage:"));
    let joined = body.map(|line| if line.starts_with("tip:") { format!("; {line}") } else { format!(" {line}") });
    let body = joined.collect::<String>();
    let body = body.trim_start();
    let help = command.map_or_else(|| "kipi --help".to_owned(), |command| format!("kipi {command} --help"));
    format!("{} (see '{help}')", body.strip_prefix("error: ").unwrap_or(body))
}

#[cfg(test)]
mod tests {
    mod told;

    use super::*;

    pub(super) fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::from_arg_matches(&help::command().try_get_matches_from(["kipi"].iter().chain(arguments))?)
    }

    #[test]
    fn the_definition_is_consistent() {
        help::command().debug_assert();
    }

    #[test]
    fn bad_values_are_one_line_with_the_way_out() {
        for (arguments, needles) in [
            (vec!["--vcpus", "0"], vec!["'0'", "--vcpus", "1..=1024"]),
            (vec!["--vcpus", "5000"], vec!["'5000'", "--vcpus", "1..=1024"]),
            (vec!["--vcpus", "x"], vec!["'x'", "--vcpus"]),
            (vec!["--vcpus", "8-2"], vec!["'8-2'", "--vcpus", "write 2-8"]),
            (vec!["--vcpus", "2-"], vec!["'2-'", "--vcpus", "such as 4, 2-8 or all"]),
            (vec!["--vcpus", "2..4"], vec!["'2..4'", "--vcpus", "such as 4, 2-8 or all"]),
            (vec!["--vcpus", "2-x"], vec!["'2-x'", "--vcpus", "such as 4, 2-8 or all"]),
            (vec!["--rounds", "1e-1"], vec!["'1e-1'", "--rounds", "10k"]),
            (vec!["trace", "--vcpus", "2-4"], vec!["'2-4'", "--vcpus", "such as 4 or all"]),
            (vec!["--route", "pigeon"], vec!["'pigeon'", "--route", "xapic", "x2apic", "memory"]),
            (vec!["--destination", "some"], vec!["'some'", "--destination", "all-but-self"]),
            (vec!["--target-state", "idle"], vec!["'idle'", "--target-state", "halt"]),
            (vec!["--worker", "nobody"], vec!["'nobody'", "--worker", "stamp"]),
            (vec!["--pin", "zero"], vec!["'zero'", "--pin", "auto"]),
            (vec!["measure", "--rounds", "0"], vec!["'0'", "--rounds"]),
            (vec!["--prometheus", "kipi.txt"], vec!["'kipi.txt'", "--prometheus", "textfile collector", ".prom"]),
            (vec!["dance"], vec!["'dance'"]),
            (vec!["--round", "5"], vec!["unexpected argument '--round' found; tip: ", "'--rounds'"]),
        ] {
            let line = one_line(&parse(&arguments).unwrap_err(), None);
            assert!(!line.contains('\n'), "{line}");
            for needle in needles.iter().chain(&["--help"]) {
                assert!(line.contains(needle), "{arguments:?}: {line}");
            }
        }
    }
}
