//! What a measurement is to be, checked once; nothing behind this knows about the command line.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod acts;
pub mod calls;
pub mod destinations;
pub mod divisors;
mod host_offers;
mod natively;
mod pin;
mod plan;
mod refusal;
pub mod routes;
pub mod sources;
pub mod target_states;
pub mod waits;

pub use crate::results::machine::{Interface, LocalApics};
pub use guest_stub::abi::cell::{Call, CellId, Observe};
pub use host_offers::{HostOffers, Need};
pub use pin::{Error, Pin, cpu_of, resolve_pin};
pub use plan::{
    MIN_BOOTS, MachineSpec, Refused, at_once, blocks, boot_of, boots, initiators, plan, references, refuse, targets,
};
pub use refusal::{Change, Refusal};
pub use routes::XAPIC_VCPUS;

pub(crate) use pin::list as cpu_list;
#[cfg(test)]
pub(crate) use plan::tests::config as sample;

use crate::results::source::Source;
use guest_stub::abi::{Destination, TargetState, Wait, Worker};
use routes::Route;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How long a target in state `out` is out of the guest, unless something else is asked for.
///
/// Where guest code at CPL0 is emulated, an initiator takes some 100 µs from its targets' exits to its send.
pub const OUT: Duration = Duration::from_micros(200);

/// What is to be measured.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Config {
    /// The KVM device.
    pub device: PathBuf,
    /// The guest image; `None`: the one that kipi was built with.
    pub guest: Option<PathBuf>,
    /// vCPU counts.
    pub vcpus: Vec<usize>,
    pub calls: Vec<Call>,
    pub routes: Vec<Route>,
    /// None: each call's usual one.
    pub destinations: Vec<Destination>,
    pub target_states: Vec<TargetState>,
    /// How long halted targets are to have been in HLT before a send, µs; `None`: as short as may be.
    pub idle_before: Vec<Option<u32>>,
    /// How participants wait for each other.
    pub waits: Vec<Wait>,
    /// Vantages.
    pub observe: Vec<Observe>,
    /// Sources of events that are tried on each cell of the guest's vantage; and why one cannot be used here.
    pub trace: Vec<(Source, Option<String>)>,
    /// Each cell of the guest's vantage is measured from several initiators, too.
    pub sweep: bool,
    /// Measured rounds of each cell.
    pub rounds: usize,
    /// Rounds before each block that do not count.
    pub warmup: usize,
    /// How many machines, booted one after the other, a cell's blocks are spread over; `None`: as many as boot in a small
    /// part of the time.
    pub boots: Option<usize>,
    /// How many blocks each cell has; `None`: as many as suit the rounds and the boots.
    pub blocks: Option<usize>,
    /// How often the whole measurement is repeated, to measure the drift from run to run.
    pub repetitions: usize,
    /// Cells of which a few rounds, and beside them a few exits, are measured in every turn; `None`: not even exits.
    pub references: Option<Vec<CellId>>,
    /// The cells that nobody asked for: native ones, for others to be divided by.
    pub beside: Vec<CellId>,
    /// Cells that are divided by no native one, though that was asked for, with the reason.
    pub undivided: Vec<Refused>,
    /// Whether what single exits cost is measured in every turn, too.
    pub exit_costs: bool,
    pub worker: Worker,
    /// Its argument: TSC cycles to be busy for, of [`Worker::Spin`].
    pub argument: u64,
    /// CPUs for the vCPU threads, in turn; empty: not pinned.
    pub pin: Vec<usize>,
    /// The longest time that CPUs may take to leave an idle state, µs; `None`: not limited.
    pub latency_us: Option<u32>,
    /// For how long the run measures, disturbed blocks that are measured again included; there are as many rounds as fit then, and
    /// `rounds` is not asked for.
    pub time: Option<Duration>,
    /// Whether a run that others disturb ends when it has taken twice as long as on a quiet machine, with fewer rounds.
    pub limit_time: bool,
    /// CPUs that this process may use.
    pub cpus: Vec<usize>,
    /// After which time a call is given up; `None`: by the number of vCPUs a CPU.
    pub deadline: Option<Duration>,
    /// Time between the targets' readiness and the send.
    pub settle: Duration,
    /// How long targets in state `out` are out of the guest, each time.
    pub out: Duration,
    /// The virtual machines' halt-polling limit, ns; `None`: the host's.
    pub halt_poll_ns: Option<u32>,
    /// It is one of many short runs in turns: what each would find out anew of its instruments and clocks is looked at less, and
    /// disturbed blocks are not measured again.
    pub is_one_of_many: bool,
    /// A slowdown that is planted to see whether it is found.
    pub injected_delay: Option<InjectedDelay>,
}

/// By how much of its own round trip each call on virtual machines is lengthened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedDelay {
    /// Of the round trip.
    pub millionths: u32,
    /// The route of which all cells are lengthened; `None`: all routes.
    pub route: Option<Route>,
}

impl InjectedDelay {
    /// Whether it lengthens a cell's calls.
    pub fn is_of(self, cell: &CellId) -> bool {
        self.route.is_none_or(|route| route == cell.route)
    }
}

impl Config {
    /// How many CPUs the vCPUs of a machine share.
    pub fn shared_cpus(&self) -> usize {
        let cpus = if self.pin.is_empty() { &self.cpus } else { &self.pin };
        cpus.iter().collect::<BTreeSet<_>>().len()
    }

    /// How many of so many rounds each block of a cell has, on so many boots.
    pub fn sizes(&self, rounds: usize, boots: usize) -> Vec<usize> {
        match self.blocks {
            None => blocks(rounds, self.warmup, boots),
            Some(count) => kipi_standalone::schedule::parts(rounds, count).collect(),
        }
    }

    /// The destinations that a call is to be tried with.
    pub fn destinations_of(&self, call: Call) -> &[Destination] {
        match self.destinations.as_slice() {
            [] => std::slice::from_ref(&calls::of(call).usual_destination),
            asked => asked,
        }
    }

    /// How long a call on `vcpus` vCPUs may take. Where several share a CPU, each of them needs its turn to arrive.
    pub fn deadline(&self, vcpus: usize) -> Duration {
        self.deadline.unwrap_or_else(|| default_deadline(vcpus, self.shared_cpus()))
    }
}

/// Each of these values once: a cell is measured once, however often it was asked for.
pub(crate) fn without_repeats<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut unique = Vec::new();
    for &value in values {
        if !unique.contains(&value) {
            unique.push(value);
        }
    }
    unique
}

/// How long anything that waits for every one of `vcpus` may take on `cpus`, unless something else is asked for.
pub fn default_deadline(vcpus: usize, cpus: usize) -> Duration {
    const BASE: Duration = Duration::from_secs(4);
    const FOR_EACH_SHARER: Duration = Duration::from_millis(200);
    let sharers = vcpus.div_ceil(cpus.max(1));
    BASE + FOR_EACH_SHARER * u32::try_from(sharers).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::plan::tests::config;
    use super::*;

    #[test]
    fn sharing_a_cpu_lengthens_the_deadline() {
        assert!(config().deadline(300) > config().deadline(2));
        let fixed = Config { deadline: Some(Duration::from_millis(5)), ..config() };
        assert_eq!(fixed.deadline(300), Duration::from_millis(5));
    }
}
