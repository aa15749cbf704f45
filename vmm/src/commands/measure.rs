//! `kipi measure`.

use super::ab::{self, Ab};
use super::judgement::{began, judge, status_of, wrong};
use super::options::{self, default_vcpus};
use super::outputs::{any_is_stdout, command_line, nobody_reads, together, write_reports, write_results};
use super::progress::Shown;
use super::status::{Failure, Status, complain};
use super::values::{self, Choice, chosen};
use super::{confined, hints, interrupts, machines, under};
use crate::config::routes::Route;
use crate::config::{self, Call, CellId, Config, InjectedDelay, Observe, without_repeats};
use crate::events::kernel::Detail;
use crate::events::samples::Block;
use crate::experiment::{self, Observer, RawSink, Repeats};
use crate::report::csv::CsvWriter;
use crate::results::source::Source;
use crate::sandbox;
use clap::{ArgAction, Args};
use guest_stub::abi::{Destination, TargetState, Wait};
use std::time::{Duration, Instant};

/// Rounds of each cell where nothing is said.
const ROUNDS: usize = 500;

/// Repeating blocks for less than this goes without saying.
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// Options of `kipi measure`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Measure {
    /// vCPU counts: numbers, ranges such as 2-8, and all: as many as CPUs that kipi may use. Each count is measured once, in the order in
    /// which they are named first [default: the CPUs that kipi may use, at least 2, at most 4]
    #[arg(long, value_name = "N[-M][,N..]", value_delimiter = ',', value_parser = values::vcpus_of_list())]
    vcpus: Vec<values::Vcpus>,
    /// What a round is
    #[arg(long, value_name = "C[,C..]", value_delimiter = ',', value_parser = values::calls().or_all(), default_value = "broadcast")]
    call: Vec<Choice<Call>>,
    /// How the interrupt travels
    #[arg(long, value_name = "R[,R..]", value_delimiter = ',', value_parser = values::routes().or_all(), default_value = "xapic,x2apic,memory")]
    route: Vec<Choice<Route>>,
    /// How the targets are addressed [default: all-but-self; of a ping, unicast]
    #[arg(long, value_name = "D[,D..]", value_delimiter = ',', value_parser = values::destinations().or_all())]
    destination: Vec<Choice<Destination>>,
    /// What the targets do when the interrupt arrives
    #[arg(long, value_name = "S[,S..]", value_delimiter = ',', value_parser = values::target_states().or_all(), default_value = "spin,user,halt")]
    target_state: Vec<Choice<TargetState>>,
    /// How long halted targets have been in HLT before the send, in µs: a cell for each [default: --settle, and longer where
    /// the work between two rounds takes longer]. Other states have one cell. Not together with --settle
    #[arg(long, value_name = "US[,US..]", value_delimiter = ',', value_parser = values::count(0..=1_000_000_u32), conflicts_with = "settle")]
    idle_before: Vec<u32>,
    /// How participants wait for each other. Where more vCPUs than CPUs wait by polling, they take turns on the CPUs of those that
    /// still have to come
    #[arg(long, value_name = "W[,W..]", value_delimiter = ',', value_parser = values::waits().or_all(), default_value = "spin")]
    wait: Vec<Choice<Wait>>,
    /// Where time stamps are taken: in the guest only, or at an exit of each worker too [default: guest,exits; with --ab, guest]
    #[arg(long, value_name = "O[,O..]", value_delimiter = ',', value_parser = values::observes().or_all())]
    pub(super) observe: Vec<Choice<Observe>>,
    /// Record events by these sources too: where the time goes, and what recording costs. Each source doubles the work
    #[arg(long, value_name = "S[,S..]", value_delimiter = ',', value_parser = values::sources().or_all())]
    trace: Vec<Choice<Source>>,
    /// Measured rounds of each cell, in some 50 blocks that alternate with the other cells' blocks [default: 500, fewer where
    /// others use the machine so much that they would take twice as long as on a quiet one]
    #[arg(long, value_name = "K", value_parser = values::count(1..=10_000_000_u32))]
    pub(super) rounds: Option<u32>,
    /// Measure for about so many seconds in all: as many rounds as fit, which the result says. With --ab, as many pairs of boots
    #[arg(long, value_name = "S", value_parser = values::seconds, conflicts_with_all = ["rounds", "under"])]
    pub(super) seconds: Option<Duration>,
    /// The same for each cell, on average
    #[arg(long, value_name = "S", value_parser = values::seconds, conflicts_with_all = ["rounds", "seconds", "under", "ab", "ab_exec"])]
    seconds_per_cell: Option<Duration>,
    /// Spread each cell's blocks over this many machines, booted one after the other; fewer than 5 give no intervals
    /// [default: 25, fewer for fewer than 500 rounds, and at least 5 where booting them would take more than a second, and more than
    /// a quarter of the time]
    #[arg(long, value_name = "N", value_parser = values::count(1..=10_000_u32))]
    pub(super) boots: Option<u32>,
    /// Measure the drift from run to run, too: repeat the measurement so often, and widen the intervals by what a single run
    /// does not show [default: 10; few repetitions estimate the drift roughly, which makes intervals wider]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10", value_parser = values::count(2..=1000_u32))]
    calibrate: Option<u32>,
    /// Measure a few rounds of each target state, of the memory route, and a few exits in every turn, too, to know how the host
    /// drifts (auto), or only what was asked for (none)
    #[arg(long, value_name = "auto|none", value_parser = values::auto(), action = ArgAction::Set, default_value = "auto")]
    references: bool,
    /// Measure the same calls on the host's own processors, too, where they can be, and say how many times as long a virtual
    /// machine's take (auto), or only what was asked for (none)
    #[arg(long, value_name = "auto|none", value_parser = values::auto(), action = ArgAction::Set, default_value = "auto")]
    native: bool,
    /// Measure what single exits cost, too, in every turn: CPUID, MSRs, ports, memory-mapped registers, ICR, EOI, HLT
    #[arg(long, conflicts_with = "under_only")]
    exits: bool,
    /// Rounds before each block that are thrown away
    #[arg(long, value_name = "W", default_value_t = 3, value_parser = values::count(0..=1000_u32))]
    warmup: u32,
    #[command(flatten)]
    pub(super) calls: options::Calls,
    #[command(flatten)]
    pub(super) sandbox: options::Sandbox,
    /// Print everything: stages, exits, both vantages, what the instruments cost
    #[arg(long)]
    details: bool,
    /// End with status 1 if a cell was never quiet: too few of its blocks were undisturbed, although they were measured again, or it is
    /// not known whether they were; with --ab, which measures none again, if it was not in most boots of a side
    #[arg(long)]
    pub(super) strict: bool,
    #[command(flatten)]
    pub(super) outputs: options::Outputs,
    /// Lengthen each call of the cells that have a virtual machine, or of those of a route, by this share of its own round trip, to
    /// see whether a comparison finds it
    #[arg(long, value_name = "delay=P%[:ROUTE]", value_parser = values::injected_delay, hide = true)]
    pub(super) inject: Option<InjectedDelay>,
    /// Measure under another VMM, too, which boots kipi's standalone image, boot by boot in turns: one of qemu, qemu-pc, qemu-microvm,
    /// qemu-tcg, firecracker, cloud-hypervisor, or a command line with places for what kipi fills in: {kernel}, {append}, {serial} (a
    /// file; else standard output is read), {vcpus}. A name of your own goes before it: q35='qemu-system-x86_64 … {kernel}'
    #[arg(long, value_name = "VMM|[NAME=]COMMAND", value_parser = under::parse, conflicts_with = "calibrate")]
    under: Vec<under::Vmm>,
    /// Measure under these VMMs only, not under kipi's own; where that cannot run, they are the only ones in any case
    #[arg(long, requires = "under")]
    under_only: bool,
    #[command(flatten)]
    pub(super) ab: Ab,
    #[command(flatten)]
    pub(super) shown: Shown,
    #[command(flatten)]
    pub(super) machine: options::Machine,
}

/// When the process began.
#[derive(Debug, Clone, Copy)]
pub struct ProcessStart {
    main: Instant,
    before_main: Duration,
}

impl ProcessStart {
    /// To be called first thing: the CPU time until then is what exec and the loader took.
    pub fn now() -> Self {
        let main = Instant::now();
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self { main, before_main: Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)) }
    }

    fn elapsed(&self) -> Duration {
        self.before_main + self.main.elapsed()
    }
}

impl Measure {
    /// The measurement that the options ask for, on `cpus`.
    pub(super) fn to_config(&self, cpus: Vec<usize>) -> Result<Config, config::Error> {
        let vcpus = if self.vcpus.is_empty() {
            vec![default_vcpus(&cpus)]
        } else {
            without_repeats(&self.vcpus.iter().flat_map(|vcpus| vcpus.numbers(cpus.len())).collect::<Vec<_>>())
        };
        let observe = match (chosen(&self.observe), self.ab.is_asked()) {
            (asked, false) if asked.is_empty() => Observe::ALL.to_vec(),
            (asked, true) if asked.is_empty() => vec![Observe::Guest],
            (asked, _) => asked,
        };
        let mut idle_before: Vec<Option<u32>> = without_repeats(&self.idle_before).into_iter().map(Some).collect();
        if idle_before.is_empty() {
            idle_before.push(None);
        }
        Ok(Config {
            vcpus,
            calls: chosen(&self.call),
            idle_before,
            waits: chosen(&self.wait),
            routes: chosen(&self.route),
            destinations: chosen(&self.destination),
            target_states: chosen(&self.target_state),
            observe,
            trace: chosen(&self.trace).into_iter().map(|source| (source, None)).collect(),
            sweep: self.outputs.html.is_some(),
            exit_costs: self.exits,
            rounds: self.rounds.map_or(ROUNDS, |rounds| rounds as usize),
            time: self.seconds,
            limit_time: self.rounds.is_none() && self.seconds.or(self.seconds_per_cell).is_none(),
            warmup: self.warmup as usize,
            boots: self.boots.map(|boots| boots as usize),
            injected_delay: self.inject,
            repetitions: self.calibrate.map_or(0, |repetitions| repetitions as usize),
            ..self.calls.to_config(&self.machine, cpus)?
        })
    }
}

/// Runs it.
///
/// # Errors
/// Whatever keeps it from measuring, or its results from being written.
pub fn run(options: &Measure, start: ProcessStart) -> Result<Status, Failure> {
    if options.ab.is_asked() {
        return ab::run(options);
    }
    let mut config = options.to_config(machines::allowed_cpus()).map_err(Failure::bad_input)?;
    let mut others = under::Others::of(&options.under, &mut config).map_err(Failure::bad_input)?;
    let [json, csv, html, prometheus, bmf] = options.outputs.open()?;
    let image = machines::image(config.guest.as_deref())?;
    let device = config.device.clone();
    let kvm = machines::Kvm::at(&device);
    let planned = match &mut others {
        None => under::Plan::all(&kvm, &config)?,
        Some(others) => others.plan(&kvm, &config, &image, options.under_only)?,
    };
    let under::Plan { mut cells, refused, offers, elsewhere, .. } = planned;
    if let Some(refused) = config::acts::refuse(&cells).filter(|_| config.exit_costs) {
        return Err(Failure::bad_input(anyhow::anyhow!("--exits: {}", hints::refusals(&[refused]))));
    }
    machines::refuse_delay(&config, &cells)?;
    let number = u32::try_from(cells.len()).unwrap_or(u32::MAX);
    config.time = config.time.or_else(|| options.seconds_per_cell.map(|each| each.saturating_mul(number)));
    config.references = options.references.then(|| config::references(&cells, offers));
    if options.native {
        let (beside, undivided) = config::divisors::plan(&config, &[cells.as_slice(), &elsewhere].concat(), offers);
        cells.extend(&beside);
        (config.beside, config.undivided) = (beside, undivided);
    }
    let _latency = machines::limit_latency(&config)?;
    machines::raise_open_file_limit();
    interrupts::hold();
    let tracer = machines::open_tracer(&mut config.trace, Detail::Stages);
    confined::enter(&options.sandbox, [json.as_ref(), csv.as_ref(), html.as_ref(), prometheus.as_ref(), bmf.as_ref()]);
    interrupts::handle()?;

    let to_stdout = any_is_stdout([&json, &csv, &html, &prometheus, &bmf]);
    let mut csv = csv.map(CsvWriter::new).transpose().map_err(Failure::failed)?;
    let bar = options.shown.progress("blocks");
    let mut progress = |done: usize, total: usize, cell: &CellId| {
        bar.count(done as u64, total as u64);
        bar.say(format!("{} {} {}", cell.route.name(), cell.destination.name(), cell.target_state.name()));
    };
    let started = || start.elapsed();
    let mut samples =
        csv.as_mut().map(|csv| |cell: &CellId, block: &Block, tsc_khz: u64| csv.block(cell, block, tsc_khz));
    let mut details = Vec::new();
    // With the progress bar, on a terminal only: for others, standard error is for what kipi cannot do.
    let mut announce = |repeats: &Repeats| {
        if repeats.expected.min(repeats.limit) >= WORTH_SAYING {
            bar.leave(&format!("kipi: {}", told(repeats)));
        }
    };
    let mut observer = Observer {
        progress: &mut progress,
        samples: samples.as_mut().map(|samples| samples as RawSink<'_>),
        started: Some(&started),
        details: html.is_some().then_some(&mut details),
        repeats: Some(&mut announce),
    };
    let message = |message: String| bar.say(message);
    let boot = |machine| {
        if let Some(others) = &mut others {
            others.before(machine, &message);
        }
        machines::boot(&kvm, &config, &image, machine, tracer.clone())
    };
    let (mut measurement, error) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    measurement.command = command_line();
    let of_others = others.map_or(Status::Good, |mut others| {
        if error.is_none() {
            others.finish(&message);
        }
        others.add_to(&mut measurement, observer.samples.take())
    });
    // The look takes a trace instance, of which a process has one at a time.
    drop(tracer);
    if error.is_none() {
        measurement.host.apic_acceleration =
            machines::apic_acceleration(&kvm, measurement.cells.iter().map(|cell| cell.id));
    }
    bar.end();
    measurement.sandbox = sandbox::state();
    if let Some(violation) = sandbox::violation() {
        measurement.error = Some(violation);
    }

    let status = status_of(&measurement, error.as_ref(), options.strict).or(of_others);
    let is_loud = status != Status::Good && of_others == Status::Good;
    let (status, impossible) = judge(status, &measurement);
    let began = impossible.is_some() || began(status, &measurement);
    // Samples that could not be written once are told once.
    let samples_failed = matches!(error, Some(experiment::Error::Samples(_)));
    let csv = csv.filter(|_| !samples_failed);
    // A run that never began leaves alone what an earlier one has written.
    let written = if began { write_results(&measurement, json, csv, to_stdout, options.details) } else { Ok(()) };
    let reports = [html, prometheus, bmf].map(|output| output.filter(|_| began));
    let written = together([written, write_reports(&measurement, &details, reports)]);
    if let Some(error) = error.map(anyhow::Error::from).filter(|error| !nobody_reads(error)) {
        complain(&hints::line(error.as_ref()));
        // A full disk, too, is told once, and not of each document.
        if samples_failed {
            return Ok(status);
        }
    } else if let Some(wrong) = impossible.or_else(|| wrong(&measurement, is_loud)) {
        complain(&wrong);
    }
    written.map_err(|error| Failure::new(status.or(Status::Failed), error))?;
    Ok(status)
}

/// What takes longer than a user expects, and why.
fn told(repeats: &Repeats) -> String {
    let Repeats { disturbed, blocks, expected, limit } = repeats;
    let seconds = |time: &Duration| format!("{:.0} s", time.as_secs_f64());
    let time = if expected < limit {
        format!("which takes some {}, at most {}", seconds(expected), seconds(limit))
    } else {
        format!("for at most {}", seconds(limit))
    };
    format!("{disturbed} of {blocks} blocks were disturbed, and are measured again, {time}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::tests::parse;
    use guest_stub::abi::{Wait, Worker};

    fn config(arguments: &[&str]) -> Config {
        parse(arguments).unwrap().measure.to_config(vec![0, 1]).unwrap()
    }

    #[test]
    fn nothing_said_is_the_default_measurement() {
        let config = config(&[]);
        assert_eq!(config.vcpus, [2]);
        assert_eq!(config.routes, [Route::XApic, Route::X2Apic, Route::Memory]);
        assert_eq!(config.target_states, [TargetState::Spin, TargetState::User, TargetState::Halt]);
        assert_eq!(config.observe, Observe::ALL);
        assert_eq!(config.idle_before, [None]);
        assert_eq!(config.waits, [Wait::Spin]);
        assert_eq!((config.rounds, config.limit_time), (500, true));
        assert_eq!((config.worker, config.argument), (Worker::Stamp, 0));
    }

    #[test]
    fn lists_are_split_and_repeats_dropped() {
        let config =
            config(&["--vcpus", "2,8,2", "--route", "memory,x2apic", "--pin", "1,0", "--idle-before", "50,0,50"]);
        assert_eq!(config.vcpus, [2, 8]);
        assert_eq!(config.routes, [Route::Memory, Route::X2Apic]);
        assert_eq!(config.pin, [1, 0]);
        assert_eq!(config.idle_before, [Some(50), Some(0)]);
    }

    #[test]
    fn a_time_takes_the_place_of_rounds() {
        let config = config(&["--seconds", "1.5"]);
        assert_eq!((config.time, config.limit_time), (Some(Duration::from_millis(1_500)), false));
        for both in [["--seconds", "5", "--rounds", "5"], ["--seconds-per-cell", "5", "--seconds", "5"]] {
            assert!(parse(&both).is_err(), "{both:?}");
        }
    }

    #[test]
    fn ranges_and_everything_are_lists() {
        let config = config(&[
            "--vcpus",
            "4,2-5,all,1_0",
            "--route",
            "X2APIC,all",
            "--target-state",
            "ALL",
            "--destination",
            "every",
        ]);
        assert_eq!(config.vcpus, [4, 2, 3, 5, 10], "all is two CPUs here");
        assert_eq!(config.routes[0], Route::X2Apic);
        assert_eq!((config.routes.len(), config.target_states.as_slice()), (Route::ALL.len(), TargetState::ALL));
        assert_eq!(config.destinations, Destination::ALL);
        let only = |arguments: &[&str]| parse(arguments).unwrap().measure.to_config(vec![3]).unwrap();
        assert_eq!(only(&["--destination", "all"]).destinations, [Destination::All], "it is the name of one");
        assert_eq!(only(&["--vcpus", "all"]).vcpus, [1]);
    }

    #[test]
    fn numbers_may_be_written_short() {
        let config = config(&["--rounds", "1.5k", "--warmup", "1e1", "--boots", "1_0", "--halt-poll", "200k"]);
        assert_eq!(
            (config.rounds, config.warmup, config.boots, config.halt_poll_ns),
            (1_500, 10, Some(10), Some(200_000))
        );
    }

    #[test]
    fn rounds_that_were_asked_for_are_made_however_long_they_take() {
        let config = config(&["--rounds", "500"]);
        assert_eq!((config.rounds, config.limit_time), (500, false));
    }

    #[test]
    fn repeats_are_told_with_the_time_that_they_take() {
        let [expected, limit] = [3, 5].map(Duration::from_secs);
        let repeats = Repeats { disturbed: 312, blocks: 700, expected, limit };
        let what = "312 of 700 blocks were disturbed, and are measured again";
        assert_eq!(told(&repeats), format!("{what}, which takes some 3 s, at most 5 s"));
        assert_eq!(told(&Repeats { expected: limit, ..repeats }), format!("{what}, for at most 5 s"));
    }
}
