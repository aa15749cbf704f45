//! `kipi measure --ab` and `--ab-exec`: two settings, or two builds, boot by boot in turns.
//!
//! Neighbouring boots are a pair, and which setting comes first alternates (A B, B A): what the host does meanwhile, it does to both.

mod keys;
mod other;

use super::interrupts::{self, INTERRUPTED};
use super::judgement::nothing_counts;
use super::measure::Measure;
use super::outputs::{any_is_stdout, command_line, open_all, print, terminal_width, together, write_text};
use super::processes::{self, Ended};
use super::progress::Progress;
use super::status::{Failure, Status, complain};
use super::{confined, machines, values};
use crate::comparison::{Run, paired};
use crate::config::{CellId, Config, MIN_BOOTS, Refused};
use crate::experiment::{self, Observer};
use crate::host;
use crate::report;
use crate::report::comparison::Format;
use crate::report::output::Output;
use crate::results::comparison::{Comparison, Difference};
use crate::results::count::count;
use crate::results::measurement::Measurement;
use crate::sandbox;
use clap::Args;
use keys::Contrast;
use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Fewest pairs where their number is not given.
const FEWEST: usize = 20;

/// When it is looked at whether all is decided, where the number of pairs is not given: as early as a quiet host allows, and once more.
/// The looks share the probability of an error.
const LOOKS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(30)];

/// Rounds of each cell in a boot, where nothing is said.
const ROUNDS: usize = 50;

/// Options of `kipi measure` that compare.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_field_names, reason = "the options' names")]
pub(super) struct Ab {
    /// Compare two settings, boot by boot in turns (A B B A): halt-poll=0,200000, pin=0-1,none, guest=OLD,NEW, latency=0,100 or
    /// settle=10,50. --boots pairs of boots, or as many as --seconds take, of --rounds each [default: 20, and as many as take 10 s, or
    /// 30 s if anything is undecided then; 50]
    #[arg(long, value_name = "KEY=A,B", conflicts_with_all = NOT_WITH, group = SIDES)]
    ab: Option<Contrast>,
    /// Compare this kipi with another build, boot by boot in turns; the other is the base
    #[arg(long, value_name = "KIPI", conflicts_with_all = NOT_WITH, conflicts_with = "ab", group = SIDES)]
    ab_exec: Option<PathBuf>,
    /// With --ab or --ab-exec, the change that matters. One of less than half of it is never called a change, and what is certain to be less is the
    /// same
    #[arg(long, value_name = "PERCENT", value_parser = values::percentage, default_value = "2%", requires = SIDES)]
    threshold: f64,
}

/// The group of options that name the sides.
const SIDES: &str = "sides";

/// Options of a run that stands alone.
const NOT_WITH: [&str; 9] = ["csv", "html", "prometheus", "bmf", "calibrate", "trace", "exits", "details", "under"];

impl Ab {
    /// Whether anything is to be compared.
    pub(super) fn is_asked(&self) -> bool {
        self.ab.is_some() || self.ab_exec.is_some()
    }
}

/// Runs it.
///
/// # Errors
/// Whatever keeps it from measuring, or its result from being written.
pub(super) fn run(options: &Measure) -> Result<Status, Failure> {
    let [json] = open_all([("--json", &options.outputs.json)])?;
    let rounds = options.rounds.map_or(ROUNDS, |rounds| rounds as usize);
    let (started, host) = (host::unix_time(), host::describe());
    let Compared { mut comparison, is_never_quiet, without_rounds } = match (&options.ab.ab, &options.ab.ab_exec) {
        (Some(contrast), _) => settings(options, contrast, rounds, json.as_ref())?,
        (None, Some(other)) => builds(options, other, rounds)?,
        (None, None) => unreachable!("asked for"),
    };
    comparison.started = started;
    comparison.date = started.and_then(host::date);
    comparison.command = command_line();
    comparison.host = Some(host);
    let render = |format| Ok(report::comparison::render(&comparison, format, terminal_width())?);
    let printed = if any_is_stdout([&json]) { Ok(()) } else { render(Format::Text).and_then(|text| print(&text)) };
    together([printed, write_text(json, || render(Format::Json))]).map_err(Failure::failed)?;
    let status =
        if comparison.interrupted { Status::Interrupted } else { Status::of_comparison(comparison.verdict, false) };
    if let Some(without_rounds) = without_rounds.filter(|_| !comparison.interrupted) {
        complain(&without_rounds);
        return Ok(Status::Failed);
    }
    if options.strict && is_never_quiet && status == Status::Good {
        complain("in most boots of a side, some cells were never quiet (--strict): see what is noted");
        return Ok(Status::Failed);
    }
    Ok(status)
}

/// What the boots of both sides come to.
struct Compared {
    comparison: Comparison,
    /// A cell was never quiet in most boots of a side.
    is_never_quiet: bool,
    /// A cell has no round in any boot of a side: why there is nothing to compare.
    without_rounds: Option<String>,
}

/// How many pairs of boots are measured.
#[derive(Debug, Clone, Copy)]
enum Extent {
    /// As many as were asked for.
    Pairs(usize),
    /// As many as this takes.
    Time(Duration),
    /// As many as decide everything at one of the [`LOOKS`], if so many do.
    UntilDecided,
}

impl Extent {
    fn of(options: &Measure) -> Self {
        match (options.boots, options.seconds) {
            (Some(boots), _) => Self::Pairs(boots as usize),
            (None, Some(time)) => Self::Time(time),
            (None, None) => Self::UntilDecided,
        }
    }

    /// How many pairs there will be, as far as can be told after this time and so many.
    fn expected(self, spent: Duration, pairs: usize) -> usize {
        match self {
            Self::Pairs(asked) => asked,
            Self::Time(_) if pairs == 0 => MIN_BOOTS + 1,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of boots")]
            Self::Time(time) => (pairs as f64 * time.as_secs_f64() / spent.as_secs_f64()).ceil() as usize,
            Self::UntilDecided => FEWEST,
        }
    }
}

/// The boots of both sides so far.
struct Pairs {
    setting: Difference,
    /// What the runs of each side are called.
    names: [String; 2],
    sides: [Vec<Run>; 2],
}

impl Pairs {
    fn new(factor: &str, item: Option<&str>, values: [String; 2]) -> Self {
        let names = values.clone().map(|value| item.map_or_else(|| value.clone(), |item| format!("{item}={value}")));
        let [base, new] = values.map(|value| vec![value]);
        let setting = Difference { factor: factor.to_owned(), item: item.map(str::to_owned), base, new, allowed: true };
        Self { setting, names, sides: [Vec::new(), Vec::new()] }
    }

    /// Measures so many pairs with `boot`, which gets the side, and gives nothing once the user wants to stop.
    fn measure(
        mut self,
        extent: Extent,
        bar: &Progress,
        threshold: f64,
        mut boot: impl FnMut(usize) -> Result<Option<Measurement>, Failure>,
    ) -> Result<Compared, Failure> {
        let start = Instant::now();
        let looks = if matches!(extent, Extent::UntilDecided) { LOOKS.len() } else { 1 };
        let mut looked = 0;
        for pair in 0_usize.. {
            // Either side has been first as often as the other.
            let is_even = pair.is_multiple_of(2);
            let is_last = match extent {
                Extent::Pairs(asked) => pair >= asked,
                Extent::Time(time) => pair > MIN_BOOTS && is_even && start.elapsed() >= time,
                Extent::UntilDecided if pair >= FEWEST && is_even && start.elapsed() >= LOOKS[looked] => {
                    looked += 1;
                    looked == looks || self.compare(threshold, looks).undecided == 0
                }
                Extent::UntilDecided => false,
            };
            if is_last {
                break;
            }
            let boots = |pairs: usize| 2 * pairs as u64;
            bar.count(boots(pair), boots(extent.expected(start.elapsed(), pair).max(pair + 1)));
            let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
            let mut measured = [None, None];
            for side in order {
                measured[side] = boot(side)?;
            }
            let [Some(base), Some(new)] = measured else { break };
            for ((side, name), measurement) in self.sides.iter_mut().zip(&self.names).zip([base, new]) {
                side.push(Run { file: name.clone(), measurement });
            }
        }
        bar.end();
        let mut comparison = self.compare(threshold, looks);
        comparison.interrupted = INTERRUPTED.load(Ordering::Relaxed);
        if comparison.interrupted {
            let pairs = self.sides[1].len();
            comparison.warnings = vec![match pairs {
                0 => "interrupted before a pair of boots was complete: nothing is compared".to_owned(),
                _ => format!("interrupted after {} of boots, before all of them were there", count(pairs, "pair")),
            }];
        }
        let [base, new] = &self.sides;
        let without_rounds = paired::without_rounds(base, new)
            .map(|(name, cell)| format!("{name}, in none of its boots a round counts: {}", nothing_counts(cell)));
        Ok(Compared { is_never_quiet: paired::is_never_quiet(base, new), comparison, without_rounds })
    }

    /// As one of so many looks.
    fn compare(&self, threshold: f64, looks: usize) -> Comparison {
        let [base, new] = &self.sides;
        let mut comparison = paired::compare(base, new, self.setting.clone(), threshold, looks);
        for side in [&mut comparison.base, &mut comparison.new] {
            side.files.dedup();
        }
        comparison
    }
}

/// Boots with two settings.
fn settings(options: &Measure, contrast: &Contrast, rounds: usize, json: Option<&Output>) -> Result<Compared, Failure> {
    let cpus = machines::allowed_cpus();
    let sides = contrast.apply(options).map_err(|error| Failure::bad_input(anyhow::anyhow!(error)))?;
    let [a, b] = sides.map(|options| Setting::new(&options, cpus.clone(), rounds));
    let (a, b) = (a?, b?);
    let device = a.config.device.clone();
    let kvm = machines::Kvm::at(&device);
    let offers = kvm.offers(&a.config)?;
    let (cells, refused) = machines::cells(&a.config, offers)?;
    for setting in [&a, &b] {
        machines::refuse_delay(&setting.config, &cells)?;
    }
    machines::raise_open_file_limit();
    confined::enter(&options.sandbox, [json]);
    interrupts::handle()?;
    let settings = [a, b];
    let bar = options.shown.progress("boots");
    Pairs::new("ab", Some(contrast.key), contrast.values.clone()).measure(
        Extent::of(options),
        &bar,
        options.ab.threshold,
        |side| settings[side].boot(&kvm, &cells, &refused),
    )
}

/// Boots of two builds, each a process of its own: one that has run for longer has warm caches.
fn builds(options: &Measure, other: &PathBuf, rounds: usize) -> Result<Compared, Failure> {
    // This process runs no guest, and each boot's has a sandbox of its own.
    interrupts::handle()?;
    let own = processes::own()?;
    let mut arguments: Vec<OsString> = other::boot_arguments(std::env::args_os().skip(1), rounds);
    if options.observe.is_empty() {
        arguments.extend(["--observe", "guest"].map(OsString::from));
    }
    let programs = [other, &own];
    let names = programs.map(|program| program.display().to_string());
    let bar = options.shown.progress("boots");
    Pairs::new("kipi", None, names).measure(Extent::of(options), &bar, options.ab.threshold, |side| {
        Ok(match processes::run(programs[side], &arguments, None)? {
            Ended::Measured(measurement) => Some(*measurement),
            Ended::Interrupted | Ended::OutOfTime => None,
        })
    })
}

/// One of two settings, as each of its boots needs it.
struct Setting {
    config: Config,
    image: Cow<'static, [u8]>,
}

impl Setting {
    fn new(options: &Measure, cpus: Vec<usize>, rounds: usize) -> Result<Self, Failure> {
        let config = Config {
            rounds,
            boots: Some(1),
            time: None,
            limit_time: false,
            is_one_of_many: true,
            ..options.to_config(cpus).map_err(Failure::bad_input)?
        };
        let image = machines::image(config.guest.as_deref())?;
        Ok(Self { config, image })
    }

    /// Measures the cells on machines that are booted for it; `None`: the user wants to stop.
    fn boot(
        &self,
        kvm: &machines::Kvm<'_>,
        cells: &[CellId],
        refused: &[Refused],
    ) -> Result<Option<Measurement>, Failure> {
        let _latency = machines::limit_latency(&self.config)?;
        let mut observer =
            Observer { progress: &mut |_, _, _| (), samples: None, started: None, details: None, repeats: None };
        let boot = |machine| machines::boot(kvm, &self.config, &self.image, machine, None);
        match experiment::run(&self.config, cells, refused, boot, &mut observer) {
            (measurement, None) => Ok(Some(Measurement { sandbox: sandbox::state(), ..measurement })),
            (_, Some(_)) if INTERRUPTED.load(Ordering::Relaxed) => Ok(None),
            (_, Some(experiment::Error::Machine(error))) => Err(error.into()),
            (_, Some(error @ experiment::Error::Samples(_))) => Err(Failure::failed(error)),
        }
    }
}
