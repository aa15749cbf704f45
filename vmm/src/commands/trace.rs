//! `kipi trace`.

use super::interrupts::{self, INTERRUPTED};
use super::options;
use super::outputs::{any_is_stdout, command_line, open_all, print, terminal_width, together, write, write_text};
use super::progress::Shown;
use super::status::{Failure, Status};
use super::{confined, machines, values};
use crate::config::routes::{self, Route};
use crate::config::{self, Call, CellId, Config, HostOffers, MachineSpec, calls};
use crate::events::kernel::Detail;
use crate::events::recording::Recording;
use crate::events::stays::Keep;
use crate::experiment::trace::Plan;
use crate::report::json;
use crate::report::output::Output;
use crate::results::integrity::Integrity;
use crate::results::source::Source;
use crate::sandbox;
use crate::{experiment, report, results};
use clap::Args;
use guest_stub::abi::{Destination, TargetState, Wait};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Options of `kipi trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// The number of vCPUs; all is as many as CPUs that kipi may use [default: the CPUs that kipi may use, at least 2, at most 4]
    #[arg(long, value_name = "N", value_parser = values::vcpus())]
    vcpus: Option<values::Vcpus>,
    /// What a round is
    #[arg(long, value_name = "C", value_parser = values::calls(), default_value = "broadcast")]
    call: Call,
    /// How the interrupt travels [default: x2apic, or xapic where guests have no x2APIC mode]
    #[arg(long, value_name = "R", value_parser = values::routes())]
    route: Option<Route>,
    /// How the targets are addressed [default: all-but-self; of a ping, unicast]
    #[arg(long, value_name = "D", value_parser = values::destinations())]
    destination: Option<Destination>,
    /// What the targets do when the interrupt arrives [default: halt; spin where they cannot be halted]
    #[arg(long, value_name = "S", value_parser = values::target_states())]
    target_state: Option<TargetState>,
    /// How participants wait for each other
    #[arg(long, value_name = "W", value_parser = values::waits(), default_value = "spin")]
    wait: Wait,
    /// Rounds; of several, the median and the worst are shown, by their round trips
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = values::count(1..=10_000_u32))]
    rounds: u32,
    /// Rounds that are thrown away first
    #[arg(long, value_name = "W", default_value_t = 3, value_parser = values::count(0..=500_u32))]
    warmup: u32,
    /// Who records events besides the guest
    #[arg(long, value_name = "S[,S..]", value_delimiter = ',', value_parser = values::sources().or_all(), default_value = "stats,vmm,kernel")]
    source: Vec<values::Choice<Source>>,
    #[command(flatten)]
    calls: options::Calls,
    #[command(flatten)]
    sandbox: options::Sandbox,
    /// Write the trace for the Perfetto UI (ui.perfetto.dev, chrome://tracing); - is standard output
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
    /// Write the trace as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    // Tracing shows no progress: nothing is left to say less of, and scripts need not know.
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    machine: options::Machine,
}

impl Trace {
    /// The configuration of the machine that the options ask for, on `cpus`, with one cell's choices.
    fn to_config(&self, cpus: Vec<usize>, offers: HostOffers) -> Result<Config, config::Error> {
        let vcpus = options::vcpus(self.vcpus.as_ref(), &cpus);
        let route = self.route.unwrap_or_else(|| routes::usual(offers));
        let destination = self.destination.unwrap_or(calls::of(self.call).usual_destination);
        let cell = |state| CellId { call: self.call, ..CellId::broadcast(route, destination, state, vcpus) };
        Ok(Config {
            vcpus: vec![vcpus],
            routes: vec![route],
            calls: vec![self.call],
            destinations: vec![destination],
            waits: vec![self.wait],
            trace: values::chosen(&self.source).into_iter().map(|source| (source, None)).collect(),
            target_states: vec![self.target_state.unwrap_or_else(|| usual_state(cell, offers))],
            rounds: self.rounds as usize,
            warmup: self.warmup as usize,
            ..self.calls.to_config(&self.machine, cpus)?
        })
    }
}

/// The state that targets are in where none is asked for: halted, or where such a call has spinning targets only, spinning.
fn usual_state(cell: impl Fn(TargetState) -> CellId, offers: HostOffers) -> TargetState {
    let can_be = |state| config::refuse(&cell(state), offers).is_none();
    if !can_be(TargetState::Halt) && can_be(TargetState::Spin) { TargetState::Spin } else { TargetState::Halt }
}

/// Runs it.
///
/// # Errors
/// Whatever keeps it from tracing, or the trace from being written.
pub fn run(options: &Trace) -> Result<Status, Failure> {
    if let Some(route) = options.route.filter(|&route| routes::of(route).is_native()) {
        let name = route.name();
        return Err(Failure::bad_input(anyhow::anyhow!(
            "--route {name}: without a virtual machine there is nothing to trace (kipi measure --route {name} measures it)"
        )));
    }
    let [json, perfetto] = open_all([("--json", &options.json), ("--perfetto", &options.perfetto)])?;
    let image = machines::image(options.machine.guest.as_deref())?;
    let kvm = machines::Kvm::at(&options.machine.device);
    let offers = kvm.open()?.offers_to(options.route.as_slice());
    let mut config = options.to_config(machines::allowed_cpus(), offers).map_err(Failure::bad_input)?;
    let cell = machines::cells(&config, offers)?.0[0];
    let _latency = machines::limit_latency(&config)?;
    machines::raise_open_file_limit();
    interrupts::hold();
    let tracer = machines::open_tracer(&mut config.trace, Detail::Full);
    confined::enter(&options.sandbox, [json.as_ref(), perfetto.as_ref()]);
    interrupts::handle()?;
    let asked = |asked| config.trace.iter().any(|&(source, _)| source == asked);
    let recording = Recording {
        stats: asked(Source::Stats),
        stays: if asked(Source::Vmm) { Keep::Everything } else { Keep::Nothing },
        kernel: tracer.is_some(),
    };
    let plan = Plan { cell, config: &config, recording };
    let mut source = machines::boot(&kvm, &config, &image, MachineSpec::of(&cell), tracer)?;
    let mut trace = experiment::trace::run(&plan, &mut source)?;
    trace.command = command_line();
    trace.sandbox = sandbox::state();
    // The look takes a trace instance, of which a process has one at a time.
    drop(source);
    trace.host.apic_acceleration = machines::apic_acceleration(&kvm, [cell]);
    trace.sources.extend(config.trace.iter().filter_map(|(source, refusal)| {
        Some(results::trace::Recorder { source: *source, unavailable: Some(refusal.clone()?), lost: 0 })
    }));
    write_results(&trace, json, perfetto).map_err(Failure::failed)?;
    if trace.calls.is_empty() {
        return Err(Failure::failed(anyhow::anyhow!("no call can be shown: {}", trace.warnings.join("; "))));
    }
    // Relaxed: a flag, and nothing is published with it.
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Ok(Status::Interrupted);
    }
    Ok(if trace.integrity == Integrity::default() { Status::Good } else { Status::Failed })
}

/// Writes everything that was asked for.
fn write_results(trace: &results::trace::Trace, json: Option<Output>, perfetto: Option<Output>) -> anyhow::Result<()> {
    let to_stdout = any_is_stdout([&json, &perfetto]);
    let json = write(json, |output| json::write_trace(trace, output));
    let perfetto = write_text(perfetto, || Ok(report::trace::perfetto::render(trace)?));
    let text = if to_stdout { Ok(()) } else { print(&report::trace::text::render(trace, terminal_width())) };
    together([json, perfetto, text])
}
