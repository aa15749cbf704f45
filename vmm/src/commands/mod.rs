//! The command line, turned into a [`Config`].

use crate::config::routes::{self, Route};
use crate::config::sources::ExitSource;
use crate::config::{self, Config, HostOffers, Observe, Pin};
use crate::host;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use guest_stub::abi::{self, Destination, Fault, TargetState, Worker};
use std::path::PathBuf;
use std::time::Duration;

/// Measures how simultaneously code runs on every processor of a KVM guest, and what interrupting them costs.
#[derive(Debug, Parser)]
#[command(name = "kipi", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
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
}

/// Options of `kipi measure`.
#[derive(Debug, Args)]
pub struct Measure {
    /// vCPU counts [default: the CPUs that kipi may use, at least 2, at most 4]
    #[arg(long, value_name = "N[,N..]", value_delimiter = ',', value_parser = vcpus())]
    pub vcpus: Vec<u16>,
    /// How the interrupt travels
    #[arg(long, value_name = "R[,R..]", value_delimiter = ',', value_parser = route_names(), default_value = "xapic,x2apic,memory")]
    pub route: Vec<Route>,
    /// How the targets are addressed
    #[arg(long, value_name = "D[,D..]", value_delimiter = ',', value_parser = destinations(), default_value = "all-but-self")]
    pub destination: Vec<Destination>,
    /// What the targets do when the interrupt arrives
    #[arg(long, value_name = "S[,S..]", value_delimiter = ',', value_parser = states(), default_value = "spin,user,halt")]
    pub target_state: Vec<TargetState>,
    /// Where time stamps are taken: in the guest only, or at an exit of each worker too
    #[arg(long, value_name = "O[,O..]", value_delimiter = ',', value_parser = observes(), default_value = "guest,exits")]
    pub observe: Vec<Observe>,
    /// Record events by these sources too: where the time goes, and what recording costs. Each source doubles the work
    #[arg(long, value_name = "S[,S..]", value_delimiter = ',', value_parser = sources())]
    pub trace: Vec<ExitSource>,
    /// Measured rounds of each cell, in some 20 blocks that alternate with the other cells' blocks
    #[arg(long, value_name = "K", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rounds: u32,
    /// Rounds before each block that are thrown away
    #[arg(long, value_name = "W", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub warmup: u32,
    /// What runs on every vCPU: stamp is empty, spin is busy for --spin-cycles
    #[arg(long, value_name = "NAME", value_parser = workers(), default_value = "stamp")]
    pub worker: Worker,
    /// How long the spin worker is busy, in TSC cycles
    #[arg(long, value_name = "CYCLES", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(..=10_000_000_000))]
    pub spin_cycles: u64,
    /// Where vCPU threads run: each on the next CPU (auto), anywhere (none), or each on the next of a list such as 0,2-3
    #[arg(long, value_name = "auto|none|LIST", value_parser = parse_pin, default_value = "auto")]
    pub pin: Pin,
    /// Time between the targets' readiness and the send, in µs
    #[arg(long, value_name = "US", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub settle: u32,
    /// Give a call up after this many ms [default: 4000, and 200 more for each vCPU that shares a CPU]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub deadline: Option<u32>,
    /// Limit of the virtual machines' halt polling, in ns [default: the host's]
    #[arg(long, value_name = "NS")]
    pub halt_poll: Option<u32>,
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the raw samples as CSV; - is standard output
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a page with table, distributions and timelines that needs no network; - is standard output. Measures delivery from
    /// every vCPU, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// The KVM device
    #[arg(long, value_name = "FILE", default_value = "/dev/kvm")]
    pub device: PathBuf,
    /// Run this guest image instead of the one that kipi was built with
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
}

/// Options of `kipi trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// The number of vCPUs [default: the CPUs that kipi may use, at least 2, at most 4]
    #[arg(long, value_name = "N", value_parser = vcpus())]
    pub vcpus: Option<u16>,
    /// How the interrupt travels [default: x2apic, or xapic where guests have no x2APIC mode]
    #[arg(long, value_name = "R", value_parser = route_names())]
    pub route: Option<Route>,
    /// How the targets are addressed
    #[arg(long, value_name = "D", value_parser = destinations(), default_value = "all-but-self")]
    pub destination: Destination,
    /// What the targets do when the interrupt arrives
    #[arg(long, value_name = "S", value_parser = states(), default_value = "halt")]
    pub target_state: TargetState,
    /// Rounds; of several, the median and the worst are shown, by their round trips
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Rounds that are thrown away first
    #[arg(long, value_name = "W", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub warmup: u32,
    /// Who records events besides the guest
    #[arg(long, value_name = "S[,S..]", value_delimiter = ',', value_parser = sources(), default_value = "stats,vmm,kernel")]
    pub source: Vec<ExitSource>,
    /// The worker
    #[arg(long, value_name = "NAME", value_parser = workers(), default_value = "stamp")]
    pub worker: Worker,
    /// How long the spin worker is busy, in TSC cycles
    #[arg(long, value_name = "CYCLES", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(..=10_000_000_000))]
    pub spin_cycles: u64,
    /// Where vCPU threads run: as measure's
    #[arg(long, value_name = "auto|none|LIST", value_parser = parse_pin, default_value = "auto")]
    pub pin: Pin,
    /// Time between the targets' readiness and the send, in µs
    #[arg(long, value_name = "US", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub settle: u32,
    /// Give a call up after this many ms: as measure's
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub deadline: Option<u32>,
    /// Limit of the virtual machine's halt polling, in ns [default: the host's]
    #[arg(long, value_name = "NS")]
    pub halt_poll: Option<u32>,
    /// Write the trace for the Perfetto UI (ui.perfetto.dev, chrome://tracing); - is standard output
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// Write the trace as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The KVM device
    #[arg(long, value_name = "FILE", default_value = "/dev/kvm")]
    pub device: PathBuf,
    /// Run this guest image instead of the one that kipi was built with
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
}

/// How `kipi check` reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// TAP version 14.
    Tap,
    /// JUnit's XML.
    Junit,
}

/// Options of `kipi check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Name the tests instead of running them
    #[arg(long)]
    pub list: bool,
    /// Run the tests whose name contains TEXT; may be given again, for more of them
    #[arg(long, value_name = "TEXT", conflicts_with = "soak")]
    pub filter: Vec<String>,
    /// Leave out the tests whose name contains TEXT; may be given again
    #[arg(long, value_name = "TEXT", conflicts_with = "soak")]
    pub skip: Vec<String>,
    /// How to report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Make calls under random disturbances for so long instead, a test for each minute
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub soak: Option<u32>,
    /// Seed of everything random [default: another one each time, which is printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Let the guest do this wrong in the tests of the contract, to see that they find it
    #[arg(long, value_name = "FAULT", value_parser = faults(), default_value = "nothing")]
    pub inject: Fault,
    /// Where vCPU threads run: as measure's
    #[arg(long, value_name = "auto|none|LIST", value_parser = parse_pin, default_value = "auto")]
    pub pin: Pin,
    /// The KVM device
    #[arg(long, value_name = "FILE", default_value = "/dev/kvm")]
    pub device: PathBuf,
    /// Run this guest image instead of the one that kipi was built with
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
}

fn faults() -> impl TypedValueParser<Value = Fault> {
    named(Fault::ALL, Fault::name, |_| false)
}

/// Options of `kipi doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The number of vCPUs to judge by [default: as measure's]
    #[arg(long, value_name = "N", value_parser = vcpus())]
    pub vcpus: Option<u16>,
    /// The KVM device
    #[arg(long, value_name = "FILE", default_value = "/dev/kvm")]
    pub device: PathBuf,
}

fn vcpus() -> impl TypedValueParser<Value = u16> {
    clap::value_parser!(u16).range(1..=i64::try_from(abi::MAX_VCPUS).unwrap_or(i64::MAX))
}

/// A parser for the names of `all`; `hidden` ones work, and are not offered.
fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    hidden: fn(T) -> bool,
) -> impl TypedValueParser<Value = T> {
    let values = all.iter().map(|&value| PossibleValue::new(name(value)).hide(hidden(value)));
    PossibleValuesParser::new(values)
        .try_map(move |text| all.iter().copied().find(|&value| name(value) == text).ok_or("unknown name"))
}

fn route_names() -> impl TypedValueParser<Value = Route> {
    named(Route::ALL, Route::name, |_| false)
}

fn sources() -> impl TypedValueParser<Value = ExitSource> {
    named(ExitSource::ALL, ExitSource::name, |_| false)
}

fn destinations() -> impl TypedValueParser<Value = Destination> {
    named(Destination::ALL, Destination::name, |_| false)
}

fn states() -> impl TypedValueParser<Value = TargetState> {
    named(TargetState::ALL, TargetState::name, |_| false)
}

fn observes() -> impl TypedValueParser<Value = Observe> {
    named(Observe::ALL, Observe::name, |_| false)
}

/// The workers that break a rule are there to show what happens then.
fn workers() -> impl TypedValueParser<Value = Worker> {
    named(Worker::ALL, Worker::name, |worker| !matches!(worker, Worker::Stamp | Worker::Spin))
}

fn parse_pin(text: &str) -> Result<Pin, String> {
    match text {
        "auto" => Ok(Pin::Auto),
        "none" => Ok(Pin::None),
        list => host::parse_cpu_list(list)
            .filter(|cpus| !cpus.is_empty())
            .map(Pin::List)
            .ok_or_else(|| "it is neither auto, none nor a list of CPUs such as 0,2-3".to_owned()),
    }
}

/// The default number of vCPUs.
pub fn default_vcpus(cpus: &[usize]) -> usize {
    cpus.len().clamp(2, 4)
}

impl Measure {
    /// The measurement that the options ask for, on `cpus`.
    ///
    /// # Errors
    /// [`config::Error`].
    pub fn to_config(&self, cpus: Vec<usize>) -> Result<Config, config::Error> {
        let vcpus = if self.vcpus.is_empty() {
            vec![default_vcpus(&cpus)]
        } else {
            without_repeats(&self.vcpus.iter().map(|&count| count.into()).collect::<Vec<usize>>())
        };
        Ok(Config {
            device: self.device.clone(),
            guest: self.guest.clone(),
            vcpus,
            routes: without_repeats(&self.route),
            destinations: without_repeats(&self.destination),
            target_states: without_repeats(&self.target_state),
            observe: without_repeats(&self.observe),
            trace: without_repeats(&self.trace).into_iter().map(|source| (source, None)).collect(),
            sweep: self.html.is_some(),
            rounds: self.rounds as usize,
            warmup: self.warmup as usize,
            worker: self.worker,
            argument: if self.worker == Worker::Spin { self.spin_cycles } else { 0 },
            pin: config::resolve_pin(self.pin.clone(), &cpus)?,
            cpus,
            deadline: self.deadline.map(|ms| Duration::from_millis(ms.into())),
            settle: Duration::from_micros(self.settle.into()),
            halt_poll_ns: self.halt_poll,
        })
    }
}

impl Trace {
    /// The configuration of the machine that the options ask for, on `cpus`, with one cell's choices.
    ///
    /// # Errors
    /// [`config::Error`].
    pub fn to_config(&self, cpus: Vec<usize>, offers: HostOffers) -> Result<Config, config::Error> {
        Ok(Config {
            device: self.device.clone(),
            guest: self.guest.clone(),
            vcpus: vec![self.vcpus.map_or_else(|| default_vcpus(&cpus), usize::from)],
            routes: vec![self.route.unwrap_or_else(|| routes::usual(offers))],
            destinations: vec![self.destination],
            target_states: vec![self.target_state],
            observe: vec![Observe::Guest],
            trace: Vec::new(),
            sweep: false,
            rounds: self.rounds as usize,
            warmup: self.warmup as usize,
            worker: self.worker,
            argument: if self.worker == Worker::Spin { self.spin_cycles } else { 0 },
            pin: config::resolve_pin(self.pin.clone(), &cpus)?,
            cpus,
            deadline: self.deadline.map(|ms| Duration::from_millis(ms.into())),
            settle: Duration::from_micros(self.settle.into()),
            halt_poll_ns: self.halt_poll,
        })
    }
}

/// A cell is measured once, however often it was asked for.
fn without_repeats<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut unique = Vec::new();
    for &value in values {
        if !unique.contains(&value) {
            unique.push(value);
        }
    }
    unique
}

/// A usage error as one line.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let body: Vec<&str> =
        lines.take_while(|line| !line.starts_with("For more information") && !line.starts_with("Usage:")).collect();
    let body = body.join(" ");
    format!("{} (see 'kipi --help')", body.strip_prefix("error: ").unwrap_or(&body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["kipi"].iter().chain(arguments))
    }

    fn config(arguments: &[&str]) -> Config {
        parse(arguments).unwrap().measure.to_config(vec![0, 1]).unwrap()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_said_is_the_default_measurement() {
        let config = config(&[]);
        assert_eq!(config.vcpus, [2]);
        assert_eq!(config.routes, [Route::XApic, Route::X2Apic, Route::Memory]);
        assert_eq!(config.target_states, [TargetState::Spin, TargetState::User, TargetState::Halt]);
        assert_eq!(config.observe, Observe::ALL);
        assert_eq!((config.worker, config.argument), (Worker::Stamp, 0));
    }

    #[test]
    fn lists_are_split_and_repeats_dropped() {
        let config = config(&["--vcpus", "2,8,2", "--route", "memory,x2apic", "--pin", "1,0"]);
        assert_eq!(config.vcpus, [2, 8]);
        assert_eq!(config.routes, [Route::Memory, Route::X2Apic]);
        assert_eq!(config.pin, [1, 0]);
    }

    #[test]
    fn bad_values_are_one_line_with_the_way_out() {
        for (arguments, needles) in [
            (vec!["--vcpus", "0"], vec!["'0'", "--vcpus", "1..=1024"]),
            (vec!["--vcpus", "5000"], vec!["'5000'", "--vcpus", "1..=1024"]),
            (vec!["--vcpus", "x"], vec!["'x'", "--vcpus"]),
            (vec!["--route", "pigeon"], vec!["'pigeon'", "--route", "xapic", "x2apic", "memory"]),
            (vec!["--destination", "some"], vec!["'some'", "--destination", "all-but-self"]),
            (vec!["--target-state", "idle"], vec!["'idle'", "--target-state", "halt"]),
            (vec!["--worker", "nobody"], vec!["'nobody'", "--worker", "stamp"]),
            (vec!["--pin", "zero"], vec!["'zero'", "--pin", "auto"]),
            (vec!["measure", "--rounds", "0"], vec!["'0'", "--rounds"]),
            (vec!["dance"], vec!["'dance'"]),
        ] {
            let line = one_line(&parse(&arguments).unwrap_err());
            assert!(!line.contains('\n'), "{line}");
            for needle in needles.iter().chain(&["--help"]) {
                assert!(line.contains(needle), "{arguments:?}: {line}");
            }
        }
    }
}
