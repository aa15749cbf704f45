//! `kipi check`.

use super::interrupts::{self, INTERRUPTED};
use super::outputs::{command_line, print, terminal_width};
use super::progress::{Progress, Shown};
use super::status::{Failure, Status};
use super::{confined, hints, machines, options, values};
use crate::check::{self, Suite, Test};
use crate::config::{self, Pin};
use crate::host;
use crate::report::check::Sink;
use crate::report::check::json::{About, Json};
use crate::report::check::junit::Junit;
use crate::report::check::tap::{Tap, Version};
use crate::report::check::text::Text;
use crate::report::output;
use crate::results::check::{CheckConfig, Head, Summary};
use crate::sandbox;
use crate::vm::Hypervisor;
use clap::Args;
use guest_stub::abi::Fault;
use std::io;

/// How `kipi check` reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// TAP version 13, for prove, kselftest and LAVA.
    Tap,
    /// TAP version 14.
    Tap14,
    /// JUnit's XML.
    Junit,
    /// JSON, one document at the end.
    Json,
}

/// Options of `kipi check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Name the tests instead of running them
    #[arg(long, conflicts_with = "format")]
    list: bool,
    /// Run the tests whose name contains TEXT; may be given again, for more of them
    #[arg(long, value_name = "TEXT", conflicts_with = "soak")]
    filter: Vec<String>,
    /// Leave out the tests whose name contains TEXT; may be given again
    #[arg(long, value_name = "TEXT", conflicts_with = "soak")]
    skip: Vec<String>,
    /// How to report
    #[arg(long, value_enum, ignore_case = true, default_value_t = Format::Text)]
    format: Format,
    /// Make calls under random disturbances for so long instead, a test for each minute
    #[arg(long, value_name = "MINUTES", value_parser = values::count(1..=10_080_u32))]
    soak: Option<u32>,
    /// Seed of everything random [default: another one each time, which is printed]
    #[arg(long, value_name = "N", value_parser = values::count(0..=u64::MAX))]
    seed: Option<u64>,
    /// Let the guest do this wrong in the tests of the contract, or of processors, to see that they find it
    #[arg(long, value_name = "FAULT", value_parser = values::faults(), default_value = "nothing")]
    inject: Fault,
    /// Where vCPU threads run: as measure's
    #[arg(long, value_name = "auto|none|LIST", value_parser = values::pin, default_value = "auto")]
    pin: Pin,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    sandbox: options::Sandbox,
    #[command(flatten)]
    machine: options::Machine,
}

/// Runs it.
///
/// # Errors
/// Whatever keeps the tests from being run or reported.
pub fn run(options: &Check) -> Result<Status, Failure> {
    let tests = choose(options)?;
    if options.list {
        let names: String = tests.iter().map(|test| test.name() + "\n").collect();
        return print(&names).map(|()| Status::Good).map_err(Failure::failed);
    }
    let cpus = machines::allowed_cpus();
    let pin = config::resolve_pin(options.pin.clone(), &cpus).map_err(Failure::bad_input)?;
    let image = machines::image(options.machine.guest.as_deref())?;
    let needs_kvm = tests.iter().any(Test::needs_kvm);
    let hypervisor = needs_kvm.then(|| Hypervisor::open(&options.machine.device)).transpose()?;
    machines::raise_open_file_limit();
    confined::enter(&options.sandbox, []);
    interrupts::handle()?;
    let suite = Suite {
        hypervisor: hypervisor.as_ref(),
        image: &image,
        pin: &pin,
        cpus: cpus.len(),
        seed: options.seed.unwrap_or_else(random_seed),
        fault: options.inject,
        interrupted: &INTERRUPTED,
        explain: hints::line,
        stretch: 1,
    };
    let stdout = io::stdout().lock();
    let mut sink: Box<dyn Sink> = match options.format {
        Format::Text => Box::new(Text::new(stdout, terminal_width())),
        Format::Tap => Box::new(Tap::new(stdout, Version::V13)),
        Format::Tap14 => Box::new(Tap::new(stdout, Version::V14)),
        Format::Junit => Box::new(Junit::new(stdout)),
        Format::Json => Box::new(Json::new(stdout, about(options, &pin))),
    };
    let progress = options.shown.progress("tests");
    match run_and_report(&suite, &tests, &progress, sink.as_mut()) {
        Ok(summary) => Ok(status_of(&summary)),
        Err(error) if output::is_broken_pipe(&error) => Ok(Status::Good),
        Err(error) => Err(Failure::failed(anyhow::anyhow!("cannot write to standard output: {error}"))),
    }
}

fn choose(options: &Check) -> Result<Vec<Test>, Failure> {
    let tests = options.soak.map_or_else(|| check::matching(&options.filter, &options.skip), check::soak);
    if tests.is_empty() {
        let filters = options.filter.iter().map(|text| format!(" --filter '{text}'"));
        let chosen: String = filters.chain(options.skip.iter().map(|text| format!(" --skip '{text}'"))).collect();
        let error = anyhow::anyhow!("no test is chosen by{chosen} (see 'kipi check --list' for their names)");
        return Err(Failure::bad_input(error));
    }
    Ok(tests)
}

fn run_and_report(suite: &Suite<'_>, tests: &[Test], progress: &Progress, sink: &mut dyn Sink) -> io::Result<Summary> {
    sink.start(&head(suite, tests.len()))?;
    let begins = |number: usize, test: &Test| {
        progress.count(number as u64, tests.len() as u64);
        progress.say(test.name());
    };
    // The line is put out of the way of what may go to the same terminal.
    let summary = suite.run(tests, begins, |finished| progress.beside(|| sink.finished(finished)));
    progress.end();
    let summary = summary?;
    sink.end(&summary)?;
    Ok(summary)
}

fn status_of(summary: &Summary) -> Status {
    match summary {
        Summary { interrupted: true, .. } => Status::Interrupted,
        Summary { failed: 1.., .. } => Status::Failed,
        Summary { passed: 0, .. } => Status::HostCannot,
        Summary { .. } => Status::Good,
    }
}

fn about(options: &Check, pin: &[usize]) -> About {
    let started = host::unix_time();
    About {
        started,
        date: started.and_then(host::date),
        command: command_line(),
        host: host::describe(),
        config: describe(options, pin),
    }
}

/// The options are taken apart field by field: whoever adds one is asked by the compiler where the document has it.
fn describe(options: &Check, pin: &[usize]) -> CheckConfig {
    let Check {
        filter,
        skip,
        soak,
        inject,
        machine: options::Machine { device, guest },
        // The head has seed and sandbox.
        seed: _,
        sandbox: _,
        // As it was resolved.
        pin: _,
        // No verdict depends on them, and the command line has them.
        list: _,
        format: _,
        shown: _,
    } = options;
    CheckConfig {
        filter: filter.clone(),
        skip: skip.clone(),
        soak_minutes: *soak,
        injected_fault: (*inject != Fault::Nothing).then(|| inject.name().to_owned()),
        pin: pin.to_vec(),
        device: device.display().to_string(),
        guest: guest.as_ref().map(|guest| guest.display().to_string()),
    }
}

fn head(suite: &Suite<'_>, planned: usize) -> Head {
    let facts = host::read_facts(&host::Sources::system());
    Head {
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        kvm: facts.kvm().join(", "),
        kernel: facts.kernel,
        cpu: facts.cpu.unwrap_or_else(|| "unknown processor".to_owned()),
        cpus: suite.cpus,
        seed: suite.seed,
        planned,
        sandbox: sandbox::state(),
    }
}

/// Another one each time: the standard library seeds its hash maps from the system's random numbers.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
