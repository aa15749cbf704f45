//! `kipi`: parse, run, exit status.

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kipi::check::{self, Suite};
use kipi::commands::{self, Cli, Command, Format};
use kipi::config::{self, CellId, Config, MachineSpec};
use kipi::events::kernel::tracefs;
use kipi::events::kernel::{Detail, Tracer};
use kipi::events::recording::Recording;
use kipi::events::samples::ExitSource;
use kipi::events::stays::Keep;
use kipi::experiment::machine::MachineSource;
use kipi::experiment::trace::Plan;
use kipi::experiment::{self, Observer};
use kipi::guest::session::{self, Limits, Session};
use kipi::host;
use kipi::report::check::Sink;
use kipi::report::check::junit::Junit;
use kipi::report::check::tap::Tap;
use kipi::report::check::text::Text;
use kipi::report::csv::CsvWriter;
use kipi::report::output::Output;
use kipi::report::{self, doctor, json, output, text};
use kipi::results::check::Head;
use kipi::results::integrity::Integrity;
use kipi::results::measurement::Measurement;
use kipi::results::trace::{Source, Trace};
use kipi::vm::image;
use kipi::vm::{ApicIds, Hypervisor, VmConfig};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Exit statuses (the README's table).
mod status {
    pub(crate) const GOOD: u8 = 0;
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const BAD_INPUT: u8 = 2;
    pub(crate) const HOST_CANNOT: u8 = 4;
    pub(crate) const INTERRUPTED: u8 = 130;
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let start = Instant::now();
    let before = cpu_time();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let outcome = match &cli.command {
        None => measure(&cli.measure, start, before),
        Some(Command::Measure(options)) => measure(options, start, before),
        Some(Command::Trace(options)) => trace(options),
        Some(Command::Check(options)) => check(options),
        Some(Command::Doctor(options)) => examine(options),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            complain(&failure.error);
            ExitCode::from(failure.status)
        }
    }
}

/// An error with its exit status.
struct Failure {
    status: u8,
    error: anyhow::Error,
}

impl Failure {
    fn new(status: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { status, error: error.into() }
    }
}

/// One line on standard error, if there is one. Errors say their cause in their own line.
fn complain(error: &anyhow::Error) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr(), "kipi: {error}");
}

/// Help and version are asked for; everything else is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        complain(&anyhow::anyhow!("{}", commands::one_line(error)));
        return ExitCode::from(status::BAD_INPUT);
    }
    let _ = error.print();
    ExitCode::from(status::GOOD)
}

/// CPU time of this process: what exec and the loader took, when read first thing.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn allowed_cpus() -> Vec<usize> {
    host::Machine::read().allowed_cpus.filter(|cpus| !cpus.is_empty()).unwrap_or_else(|| vec![0])
}

fn measure(options: &commands::Measure, start: Instant, before: Duration) -> Result<u8, Failure> {
    let mut config = options.to_config(allowed_cpus()).map_err(|error| Failure::new(status::BAD_INPUT, error))?;
    let outputs = [("--json", &options.json), ("--csv", &options.csv), ("--html", &options.html)];
    let [json, csv, html] = open_all(outputs).map_err(|error| Failure::new(status::BAD_INPUT, error))?;
    let image = image(config.guest.as_deref())?;
    let hypervisor = open(&config.device)?;
    let (cells, refused) = config::plan(&config, hypervisor.offers());
    if cells.is_empty() {
        return Err(nothing_to_measure(&refused));
    }
    raise_open_file_limit();
    handle_interrupts()?;
    let tracer = open_tracer(&mut config.trace, Detail::Stages);

    let to_stdout = [&json, &csv, &html].iter().any(|output| output.as_ref().is_some_and(Output::is_stdout));
    let mut csv = csv.map(CsvWriter::new).transpose().map_err(|error| Failure::new(status::FAILED, error))?;
    let bar = progress_bar();
    let mut progress = |done: usize, total: usize, cell: &CellId| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_message(format!("{} {} {}", cell.route.name(), cell.destination.name(), cell.target_state.name()));
    };
    let started = || before + start.elapsed();
    let mut details = Vec::new();
    let mut observer = Observer {
        progress: &mut progress,
        csv: csv.as_mut(),
        started: Some(&started),
        details: html.is_some().then_some(&mut details),
    };
    let (measurement, error) = experiment::run(
        &config,
        &cells,
        &refused,
        |machine| boot(&hypervisor, &config, &image, machine, tracer.clone()),
        &mut observer,
    );
    bar.finish_and_clear();
    let code = status_of(&measurement, error.as_ref());
    let began = code != status::BAD_INPUT && code != status::HOST_CANNOT;
    // A run that never began leaves alone what an earlier one has written.
    let written = if began { write_results(&measurement, json, csv, to_stdout) } else { Ok(()) };
    let html = html.filter(|_| began);
    let written = written.and(write_text(html, || Ok(report::html::render(&measurement, &details))));
    if let Some(error) = error.map(anyhow::Error::from).filter(|error| !nobody_reads(error)) {
        complain(&error);
    } else if code != status::GOOD {
        complain(&anyhow::anyhow!("calls went wrong: see the integrity column"));
    }
    written.map_err(|error| Failure::new(if code == status::GOOD { status::FAILED } else { code }, error))?;
    Ok(code)
}

/// `kipi trace`.
fn trace(options: &commands::Trace) -> Result<u8, Failure> {
    let bad_input = |error: anyhow::Error| Failure::new(status::BAD_INPUT, error);
    let failed = |error: anyhow::Error| Failure::new(status::FAILED, error);
    let outputs = [("--json", &options.json), ("--perfetto", &options.perfetto)];
    let [json, perfetto] = open_all(outputs).map_err(bad_input)?;
    let image = image(options.guest.as_deref())?;
    let hypervisor = open(&options.device)?;
    let config = options.to_config(allowed_cpus(), hypervisor.offers()).map_err(|error| bad_input(error.into()))?;
    let (cells, refused) = config::plan(&config, hypervisor.offers());
    let Some(&cell) = cells.first() else { return Err(nothing_to_measure(&refused)) };
    raise_open_file_limit();
    handle_interrupts()?;
    let asked = |source| options.source.contains(&source);
    let mut sources: Vec<_> = options.source.iter().map(|&source| (source, None)).collect();
    let tracer = open_tracer(&mut sources, Detail::Full);
    let recording = Recording {
        stats: asked(ExitSource::Stats),
        stays: if asked(ExitSource::Vmm) { Keep::Everything } else { Keep::Nothing },
        kernel: tracer.is_some(),
    };
    let Config { rounds, warmup, worker, argument, .. } = config;
    let plan = Plan { cell, rounds, warmup, worker, argument, recording };
    let outcome = boot(&hypervisor, &config, &image, MachineSpec::of(&cell), tracer)
        .and_then(|mut source| experiment::trace::run(&plan, &mut source));
    let mut trace = outcome.map_err(|error| Failure::new(status_of_machine(&error), error))?;
    trace.config.pin.clone_from(&config.pin);
    trace.sources.extend(sources.into_iter().filter_map(|(source, refusal)| {
        Some(Source { source: source.name().to_owned(), unavailable: Some(refusal?), lost: 0 })
    }));
    let written = write_trace(&trace, json, perfetto);
    written.or_else(|error| if nobody_reads(&error) { Ok(()) } else { Err(failed(error)) })?;
    if trace.calls.is_empty() {
        return Err(failed(anyhow::anyhow!("no call can be shown: {}", trace.warnings.join("; "))));
    }
    Ok(if trace.integrity == Integrity::default() { status::GOOD } else { status::FAILED })
}

/// Writes everything that was asked for of a trace; the first error is returned when all has been tried.
fn write_trace(trace: &Trace, json: Option<Output>, perfetto: Option<Output>) -> anyhow::Result<()> {
    let to_stdout = [&json, &perfetto].iter().any(|output| output.as_ref().is_some_and(Output::is_stdout));
    let json = write_text(json, || Ok(report::trace::render_json(trace)?));
    let perfetto = write_text(perfetto, || Ok(report::trace::perfetto::render(trace)?));
    let text = if to_stdout { Ok(()) } else { print(&report::trace::text::render(trace, terminal_width())) };
    json.and(perfetto).and(text)
}

/// Opens the kernel's events, if they are among `sources`. What the kernel does not give is noted there, to be said in the
/// result.
fn open_tracer(sources: &mut [(ExitSource, Option<String>)], detail: Detail) -> Option<Arc<Tracer>> {
    let (_, refusal) = sources.iter_mut().find(|(source, _)| *source == ExitSource::Kernel)?;
    match Tracer::open(detail) {
        Ok(tracer) => Some(Arc::new(tracer)),
        Err(error) => {
            *refusal = Some(error.to_string());
            None
        }
    }
}

/// Writes a whole document to an output, if there is one.
fn write_text(output: Option<Output>, text: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let Some(mut output) = output else { return Ok(()) };
    output.write_all(text()?.as_bytes())?;
    Ok(output.commit()?)
}

/// The guest image at `path`, or the one that kipi was built with.
fn image(path: Option<&Path>) -> Result<Cow<'static, [u8]>, Failure> {
    path.map_or(Ok(Cow::Borrowed(image::EMBEDDED)), |path| {
        image::read(path).map(Cow::Owned).map_err(|error| Failure::new(status::BAD_INPUT, error))
    })
}

fn open(device: &Path) -> Result<Hypervisor, Failure> {
    Hypervisor::open(device).map_err(|error| Failure::new(status_of_vm(&error), error))
}

/// A second Ctrl-C ends the process the hard way, should the first one not get through.
fn handle_interrupts() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            tracefs::remove_at_exit();
            std::process::exit(i32::from(status::INTERRUPTED));
        }
    })
    .map_err(|error| Failure::new(status::FAILED, anyhow::anyhow!("cannot install the handler of Ctrl-C: {error}")))
}

fn boot<'a>(
    hypervisor: &Hypervisor,
    config: &'a Config,
    image: &'a [u8],
    MachineSpec { vcpus, local_apics }: MachineSpec,
    tracer: Option<Arc<Tracer>>,
) -> Result<MachineSource<'a>, session::Error> {
    let vm = VmConfig {
        vcpus,
        ids: ApicIds::Consecutive,
        irqchip: local_apics,
        pin: &config.pin,
        cpus: config.shared_cpus(),
        image,
        halt_poll_ns: config.halt_poll_ns,
    };
    let limits = Limits { deadline: config.deadline(vcpus), settle: config.settle };
    let session = Session::boot(hypervisor, &vm, limits, &INTERRUPTED)?;
    Ok(MachineSource::new(session, tracer, &config.pin, config.cpus.len()))
}

/// Opens what results go to, before anything is measured: no two options may name the same place.
fn open_all<const N: usize>(named: [(&'static str, &Option<PathBuf>); N]) -> anyhow::Result<[Option<Output>; N]> {
    for (index, (option, path)) in named.iter().enumerate() {
        let same = named[..index].iter().find(|(_, other)| path.is_some() && path == other);
        if let (Some((other, _)), Some(path)) = (same, path) {
            anyhow::bail!("{other} and {option} both name {} (give them different files)", path.display());
        }
    }
    let mut outputs = [const { None }; N];
    let mut stdout = None;
    for (output, (option, path)) in outputs.iter_mut().zip(named) {
        let Some(path) = path else { continue };
        let opened = Output::open(option, path)?;
        if opened.is_stdout()
            && let Some(other) = stdout.replace(option)
        {
            anyhow::bail!("{other} and {option} both go to standard output (send one of them to a file)");
        }
        *output = Some(opened);
    }
    Ok(outputs)
}

fn nothing_to_measure(refused: &[config::Refused]) -> Failure {
    let host = refused.iter().any(|refused| refused.host);
    let mut reasons: Vec<String> = Vec::new();
    for config::Refused { cell, reason, .. } in refused {
        if !reasons.iter().any(|known| known.ends_with(reason)) {
            let (route, destination, state) = (cell.route.name(), cell.destination.name(), cell.target_state.name());
            reasons.push(format!("{route} {destination} {state}, {} vCPUs: {reason}", cell.vcpus));
        }
    }
    let error = anyhow::anyhow!("nothing can be measured: {} (see 'kipi doctor')", reasons.join("; "));
    Failure::new(if host { status::HOST_CANNOT } else { status::BAD_INPUT }, error)
}

/// Each vCPU needs two descriptors; the usual soft limit is 1024, the hard one is larger.
fn raise_open_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it cannot be raised, the vCPU that finds none left says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Drawn on a terminal only, and not more often than blocks end: a ticking thread would disturb what it reports.
fn progress_bar() -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{elapsed} [{bar:30}] {pos}/{len} blocks, {eta} left: {msg}");
    ProgressBar::with_draw_target(None, target).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Writes everything that was asked for; the first error is returned when all has been tried.
fn write_results(
    measurement: &Measurement,
    json: Option<Output>,
    csv: Option<CsvWriter<Output>>,
    to_stdout: bool,
) -> anyhow::Result<()> {
    let csv = csv.map_or(Ok(()), |csv| Ok(csv.finish()?.commit()?));
    let json = json.map_or(Ok(()), |mut output| {
        json::write(measurement, &mut output)?;
        Ok(output.commit()?)
    });
    // Without a cell there is nothing to show that the error's line does not say.
    let silent = to_stdout || measurement.cells.is_empty();
    let table = if silent { Ok(()) } else { print(&text::render(measurement, terminal_width())) };
    csv.and(json).and(table).or_else(|error| if nobody_reads(&error) { Ok(()) } else { Err(error) })
}

/// The reader of a pipe went away, as `head` does: no reason to complain.
fn nobody_reads(error: &anyhow::Error) -> bool {
    let io_error = match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
        (Some(experiment::Error::Csv(error)), ..) | (_, Some(json::JsonError::Write(error)), _) => Some(error),
        (.., error) => error,
    };
    io_error.is_some_and(output::is_broken_pipe)
        || error.downcast_ref().is_some_and(output::OutputError::is_broken_pipe)
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
}

/// Prints to standard output; that nobody reads it any more is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if !output::is_broken_pipe(&error) => {
            Err(anyhow::anyhow!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

fn status_of_vm(error: &kipi::vm::Error) -> u8 {
    if error.is_host_limit() { status::HOST_CANNOT } else { status::BAD_INPUT }
}

fn status_of_machine(error: &session::Error) -> u8 {
    match error {
        session::Error::Interrupted => status::INTERRUPTED,
        session::Error::Vm(error) => status_of_vm(error),
        _ => status::FAILED,
    }
}

fn status_of(measurement: &Measurement, error: Option<&experiment::Error>) -> u8 {
    match error {
        Some(experiment::Error::Machine(error)) => status_of_machine(error),
        Some(experiment::Error::Csv(error)) if output::is_broken_pipe(error) => status::GOOD,
        None if measurement.cells.iter().all(|cell| cell.integrity == Integrity::default()) => status::GOOD,
        _ => status::FAILED,
    }
}

fn check(options: &commands::Check) -> Result<u8, Failure> {
    let tests = options.soak.map_or_else(|| check::matching(&options.filter, &options.skip), check::soak);
    if tests.is_empty() {
        let filters = options.filter.iter().map(|text| format!(" --filter '{text}'"));
        let chosen: String = filters.chain(options.skip.iter().map(|text| format!(" --skip '{text}'"))).collect();
        let error = anyhow::anyhow!("no test is chosen by{chosen} (see 'kipi check --list' for their names)");
        return Err(Failure::new(status::BAD_INPUT, error));
    }
    let failed = |error| Failure::new(status::FAILED, error);
    if options.list {
        let names: String = tests.iter().map(|test| test.name() + "\n").collect();
        return print(&names).map(|()| status::GOOD).map_err(failed);
    }
    let cpus = allowed_cpus();
    let pin =
        config::resolve_pin(options.pin.clone(), &cpus).map_err(|error| Failure::new(status::BAD_INPUT, error))?;
    let image = image(options.guest.as_deref())?;
    let hypervisor = open(&options.device)?;
    raise_open_file_limit();
    handle_interrupts()?;
    let suite = Suite {
        hypervisor: &hypervisor,
        image: &image,
        pin: &pin,
        cpus: cpus.len(),
        seed: options.seed.unwrap_or_else(random_seed),
        fault: options.inject,
        interrupted: &INTERRUPTED,
    };
    let stdout = io::stdout().lock();
    let mut sink: Box<dyn Sink> = match options.format {
        Format::Text => Box::new(Text::new(stdout)),
        Format::Tap => Box::new(Tap::new(stdout)),
        Format::Junit => Box::new(Junit::new(stdout)),
    };
    let outcome = sink.start(&head(&suite, tests.len())).and_then(|()| {
        let summary = suite.run(&tests, |finished| sink.finished(finished))?;
        sink.end(&summary).map(|()| summary)
    });
    match outcome {
        Ok(summary) if summary.interrupted => Ok(status::INTERRUPTED),
        Ok(summary) if summary.failed > 0 => Ok(status::FAILED),
        Ok(summary) if summary.passed == 0 => Ok(status::HOST_CANNOT),
        Ok(_) => Ok(status::GOOD),
        Err(error) if output::is_broken_pipe(&error) => Ok(status::GOOD),
        Err(error) => Err(failed(anyhow::anyhow!("cannot write to standard output: {error}"))),
    }
}

fn head(suite: &Suite<'_>, planned: usize) -> Head {
    let facts = host::Facts::read(&host::Sources::system());
    Head {
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: facts.kernel,
        kvm: facts.kvm_modules.join(", "),
        cpu: facts.cpu.unwrap_or_else(|| "unknown processor".to_owned()),
        cpus: suite.cpus,
        seed: suite.seed,
        planned,
    }
}

/// Another one each time: the standard library seeds its hash maps from the system's random numbers.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

fn examine(options: &commands::Doctor) -> Result<u8, Failure> {
    let cpus = allowed_cpus();
    let vcpus = options.vcpus.map_or_else(|| commands::default_vcpus(&cpus), usize::from);
    let probe = |route| {
        let hypervisor = Hypervisor::open(&options.device).map_err(|error| error.to_string())?;
        experiment::machine::probe(&hypervisor, route, &INTERRUPTED).map_err(|error| error.to_string())
    };
    let found = kipi::doctor::examine(&options.device, vcpus, &host::Sources::system(), probe);
    let text = if options.json {
        doctor::render_json(&found).map_err(|error| Failure::new(status::FAILED, error))?
    } else {
        doctor::render_text(&found)
    };
    print(&text).map_err(|error| Failure::new(status::FAILED, error))?;
    Ok(found.exit_status)
}
