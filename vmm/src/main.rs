//! `kipi`: parse, dispatch, exit status.

use kipi::commands::measure::ProcessStart;
use kipi::commands::status::Status;
use kipi::commands::{self, Command, bisect_step, check, compare, doctor, history, image, import, measure, trace};
use kipi::events::kernel::tracefs;
use kipi::report::output;
use kipi::sandbox;
use std::process::ExitCode;

fn main() -> ExitCode {
    let start = ProcessStart::now();
    output::fail_beyond_size_limit();
    let cli = match commands::parse() {
        Ok(cli) => cli,
        Err(error) => return commands::end_parsing(&error).into(),
    };
    tracefs::remove_left_over();
    let outcome = match &cli.command {
        None => measure::run(&cli.measure, start),
        Some(Command::Measure(options)) => measure::run(options, start),
        Some(Command::Trace(options)) => trace::run(options),
        Some(Command::Check(options)) => check::run(options),
        Some(Command::Doctor(options)) => doctor::run(options),
        Some(Command::Compare(options)) => compare::run(options),
        Some(Command::History(options)) => history::run(options),
        Some(Command::Image(options)) => image::run(options),
        Some(Command::Import(options)) => import::run(options),
        Some(Command::BisectStep(options)) => bisect_step::run(options),
    };
    let status = outcome.unwrap_or_else(|failure| failure.report());
    if sandbox::violation().is_some() { Status::Failed.into() } else { status.into() }
}
