//! `kipi`: parse, dispatch, exit status.

use kipi::commands::measure::ProcessStart;
use kipi::commands::status::Status;
use kipi::commands::{self, Command, bisect_step, check, compare, doctor, history, image, import, measure, trace};
use kipi::events::kernel::tracefs;
use kipi::report::output;
use kipi::sandbox;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether standard output was closed when this process began.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Called before Rust's runtime, which opens /dev/null in the place of a standard stream that is closed: what is printed there would
/// be lost without a word.
// SAFETY: the C library calls what .init_array points to before main, with the C calling convention (System V gABI, chapter 5), and
// this function needs nothing that Rust's runtime sets up.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STDOUT: extern "C" fn() = look_at_stdout;

extern "C" fn look_at_stdout() {
    // SAFETY: a look at a descriptor's flags touches no memory.
    let is_closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    // Relaxed: there is one thread yet.
    STDOUT_WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

fn main() -> ExitCode {
    let start = ProcessStart::now();
    // Relaxed: as above.
    if STDOUT_WAS_CLOSED.load(Ordering::Relaxed) {
        return commands::refuse("standard output is closed (open it: >/dev/null drops what is printed)").into();
    }
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
