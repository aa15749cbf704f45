//! The options that several commands have in common.

use super::outputs::{open_all, open_all_beside};
use super::status::Failure;
use super::values;
use crate::config::{self, Call, Config, Observe, Pin};
use crate::report::output::Output;
use clap::Args;
use guest_stub::abi::{Wait, Worker};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `--settle` where nothing is said.
pub(super) const SETTLE_US: u32 = 10;

/// How calls are made, and by whom.
#[derive(Debug, Clone, Args)]
pub(super) struct Calls {
    /// What runs on every vCPU: stamp is empty, spin is busy for --spin-cycles
    #[arg(long, value_name = "NAME", value_parser = values::workers(), default_value = "stamp")]
    pub(super) worker: Worker,
    /// How long the spin worker is busy, in TSC cycles
    #[arg(long, value_name = "CYCLES", default_value_t = 10_000, value_parser = values::count(0..=10_000_000_000_u64))]
    pub(super) spin_cycles: u64,
    /// Where vCPU threads run: each on the next CPU (auto), anywhere (none), or each on the next of a list such as 0,2-3
    #[arg(long, value_name = "auto|none|LIST", value_parser = values::pin, default_value = "auto")]
    pub(super) pin: Pin,
    /// Time between the targets' readiness, of halted ones their HLT, and the send, in µs; where preparing a send takes longer, that
    #[arg(long, value_name = "US", default_value_t = SETTLE_US, value_parser = values::count(0..=1_000_000_u32))]
    pub(super) settle: u32,
    /// How long an exit keeps a target out of the guest in state out, in µs: longer than --settle
    #[arg(long, value_name = "US", default_value_t = 200, value_parser = values::count(1..=100_000_u32))]
    pub(super) out_us: u32,
    /// Give a call up after this many ms [default: 4000, and 200 more for each vCPU that shares a CPU]
    #[arg(long, value_name = "MS", value_parser = values::count(1..=600_000_u32))]
    pub(super) deadline: Option<u32>,
    /// Keep CPUs out of idle states that take longer than this to leave, in µs, while kipi runs (/dev/cpu_dma_latency)
    #[arg(long, value_name = "US", value_parser = values::count(0..=1_000_000_000_u32))]
    pub(super) latency: Option<u32>,
    /// Limit of the virtual machine's halt polling, in ns [default: the host's]
    #[arg(long, value_name = "NS", value_parser = values::count(0..=u32::MAX))]
    pub(super) halt_poll: Option<u32>,
}

/// What virtual machines are made of.
#[derive(Debug, Clone, Args)]
pub(super) struct Machine {
    /// The KVM device
    #[arg(long, value_name = "FILE", default_value = "/dev/kvm")]
    pub(super) device: PathBuf,
    /// Run this guest image instead of the one that kipi was built with
    #[arg(long, value_name = "FILE")]
    pub(super) guest: Option<PathBuf>,
}

/// What a measurement is written to, beside the table.
#[derive(Debug, Clone, Args)]
pub(super) struct Outputs {
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the raw samples as CSV; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,
    /// Write a page with table, distributions and timelines that needs no network; - is standard output. kipi measure then measures
    /// delivery from every vCPU, too
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Write the figures as Prometheus text, for the node exporter's textfile collector; - is standard output
    #[arg(long, value_name = "FILE.prom", value_parser = values::prom_file)]
    pub(super) prometheus: Option<PathBuf>,
    /// Write the figures in Bencher Metric Format (bencher run --adapter json); - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) bmf: Option<PathBuf>,
}

impl Outputs {
    /// Opens them, in the order of the fields.
    ///
    /// # Errors
    /// As [`open_all`].
    pub(super) fn open(&self) -> Result<[Option<Output>; 5], Failure> {
        open_all(self.named())
    }

    /// The same for a command that reads `input`, which none of them may replace.
    ///
    /// # Errors
    /// As [`open_all_beside`].
    pub(super) fn open_beside(&self, input: &Path) -> Result<[Option<Output>; 5], Failure> {
        open_all_beside(&[&[input.to_owned()]], self.named())
    }

    fn named(&self) -> [(&'static str, &Option<PathBuf>); 5] {
        let Self { json, csv, html, prometheus, bmf } = self;
        [("--json", json), ("--csv", csv), ("--html", html), ("--prometheus", prometheus), ("--bmf", bmf)]
    }
}

/// What keeps a guest that has taken kipi over from the host.
#[derive(Debug, Clone, Args)]
pub(super) struct Sandbox {
    /// Run without the sandbox that keeps a guest that has taken kipi over from the host. Each result says so, but for samples (CSV) and
    /// Bencher Metric Format, which have no place for it
    #[arg(long)]
    pub(super) no_sandbox: bool,
    /// Let the thread of that vCPU, in the order in which they start, try a system call that its sandbox forbids
    #[arg(long, value_name = "N", hide = true, conflicts_with = "no_sandbox")]
    pub(super) inject_forbidden_call: Option<u32>,
}

impl Calls {
    /// A configuration with these choices on `cpus`, but no cells yet.
    ///
    /// # Errors
    /// [`config::Error`].
    pub(super) fn to_config(&self, machine: &Machine, cpus: Vec<usize>) -> Result<Config, config::Error> {
        Ok(Config {
            device: machine.device.clone(),
            guest: machine.guest.clone(),
            vcpus: Vec::new(),
            calls: vec![Call::Broadcast],
            routes: Vec::new(),
            destinations: Vec::new(),
            target_states: Vec::new(),
            idle_before: vec![None],
            waits: vec![Wait::Spin],
            observe: vec![Observe::Guest],
            trace: Vec::new(),
            sweep: false,
            rounds: 0,
            warmup: 0,
            boots: None,
            blocks: None,
            repetitions: 0,
            references: None,
            beside: Vec::new(),
            undivided: Vec::new(),
            exit_costs: false,
            worker: self.worker,
            argument: if self.worker == Worker::Spin { self.spin_cycles } else { 0 },
            pin: config::resolve_pin(self.pin.clone(), &cpus)?,
            cpus,
            deadline: self.deadline.map(|ms| Duration::from_millis(ms.into())),
            settle: Duration::from_micros(self.settle.into()),
            out: Duration::from_micros(self.out_us.into()),
            halt_poll_ns: self.halt_poll,
            latency_us: self.latency,
            is_one_of_many: false,
            injected_delay: None,
            time: None,
            limit_time: false,
        })
    }
}

/// The number of vCPUs where none is given.
pub(super) fn default_vcpus(cpus: &[usize]) -> usize {
    cpus.len().clamp(2, 4)
}

/// The number of vCPUs of a command that takes one.
pub(super) fn vcpus(asked: Option<&values::Vcpus>, cpus: &[usize]) -> usize {
    asked.map_or_else(|| default_vcpus(cpus), |asked| *asked.numbers(cpus.len()).start())
}
