//! What a measurement is to be, checked once; nothing behind this knows about the command line.

use routes::{Route, Rules as _};
pub mod routes;

use crate::events::samples::ExitSource;
pub use guest_stub::abi::cell::{CellId, Observe};
use guest_stub::abi::{self, Destination, TargetState, Worker};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// vCPUs that the xAPIC's eight-bit ids can tell apart: 255 is its broadcast address (SDM Vol. 3A 12.6.2.1).
pub const XAPIC_VCPUS: usize = 255;

/// Where vCPU threads run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Each on the next of the CPUs that this process may use.
    Auto,
    /// Wherever the scheduler puts them.
    None,
    /// Each on the next of these.
    List(Vec<usize>),
}

/// What cannot be measured as asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A CPU that is not there, or not allowed.
    #[error("--pin names CPU {cpu}, which this process may not use (it may use {})", list(allowed))]
    NoSuchCpu {
        /// The CPU.
        cpu: usize,
        /// Those that could be named.
        allowed: Vec<usize>,
    },
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The KVM device.
    pub device: PathBuf,
    /// The guest image; `None`: the one that kipi was built with.
    pub guest: Option<PathBuf>,
    /// vCPU counts.
    pub vcpus: Vec<usize>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Destinations.
    pub destinations: Vec<Destination>,
    /// Target states.
    pub target_states: Vec<TargetState>,
    /// Vantages.
    pub observe: Vec<Observe>,
    /// Sources of events that are tried on each cell of the guest's vantage; and why one cannot be used here.
    pub trace: Vec<(ExitSource, Option<String>)>,
    /// Each cell of the guest's vantage is measured from several initiators, too.
    pub sweep: bool,
    /// Measured rounds of each cell.
    pub rounds: usize,
    /// Rounds before each block that do not count.
    pub warmup: usize,
    /// The worker.
    pub worker: Worker,
    /// Its argument: TSC cycles to be busy for, of [`Worker::Spin`].
    pub argument: u64,
    /// CPUs for the vCPU threads, in turn; empty: not pinned.
    pub pin: Vec<usize>,
    /// CPUs that this process may use.
    pub cpus: Vec<usize>,
    /// After which time a call is given up; `None`: by the number of vCPUs a CPU.
    pub deadline: Option<Duration>,
    /// Time between the targets' readiness and the send.
    pub settle: Duration,
    /// The virtual machines' halt-polling limit, ns; `None`: the host's.
    pub halt_poll_ns: Option<u32>,
}

/// The CPUs that `pin` means, where `allowed` may be used.
///
/// # Errors
/// [`Error::NoSuchCpu`].
pub fn resolve_pin(pin: Pin, allowed: &[usize]) -> Result<Vec<usize>, Error> {
    match pin {
        Pin::Auto => Ok(allowed.to_vec()),
        Pin::None => Ok(Vec::new()),
        Pin::List(cpus) => match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(Error::NoSuchCpu { cpu, allowed: allowed.to_vec() }),
            None => Ok(cpus),
        },
    }
}

impl Config {
    /// How many CPUs the vCPUs of a machine share.
    pub fn shared_cpus(&self) -> usize {
        let cpus = if self.pin.is_empty() { &self.cpus } else { &self.pin };
        cpus.iter().collect::<BTreeSet<_>>().len()
    }

    /// How long a call on `vcpus` vCPUs may take. Where several share a CPU, each of them needs its turn to arrive.
    pub fn deadline(&self, vcpus: usize) -> Duration {
        const BASE: Duration = Duration::from_secs(4);
        const FOR_EACH_SHARER: Duration = Duration::from_millis(200);
        let sharers = vcpus.div_ceil(self.shared_cpus().max(1));
        let sharers = u32::try_from(sharers).unwrap_or(u32::MAX);
        self.deadline.unwrap_or(BASE + FOR_EACH_SHARER * sharers)
    }
}

/// Where the local APICs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LocalApics {
    /// In KVM.
    #[default]
    Kernel,
    /// In this VMM ([`kipi_apic`]).
    User,
}

impl LocalApics {
    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// What tells the machines of a measurement apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineSpec {
    /// How many vCPUs.
    pub vcpus: usize,
    /// Where their local APICs are.
    pub irqchip: LocalApics,
}

/// How many vCPUs of a cell are called and do not call.
pub fn targets(cell: &CellId) -> usize {
    if cell.route.is_host() { cell.vcpus } else { cell.vcpus.saturating_sub(1) }
}

impl MachineSpec {
    /// The machine that a cell is measured on.
    pub fn of(cell: &CellId) -> Self {
        Self { vcpus: cell.vcpus, irqchip: cell.route.irqchip() }
    }
}

/// Why a combination cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The combination, in its first vantage.
    pub cell: CellId,
    /// Why not.
    pub reason: &'static str,
    /// Another host could.
    pub host: bool,
}

/// All combinations of a configuration: those that can be measured, and those that cannot, with the reason.
pub fn plan(config: &Config, offers_x2apic: bool) -> (Vec<CellId>, Vec<Refused>) {
    let (mut cells, mut refused) = (Vec::new(), Vec::new());
    for &vcpus in &config.vcpus {
        for &route in &config.routes {
            for &destination in &config.destinations {
                for &target_state in &config.target_states {
                    let cell = |observe| CellId { route, destination, target_state, vcpus, observe };
                    match refuse(&cell(Observe::Guest), offers_x2apic) {
                        Some((reason, host)) => refused.push(Refused { cell: cell(Observe::Guest), reason, host }),
                        None => cells.extend(config.observe.iter().map(|&observe| cell(observe))),
                    }
                }
            }
        }
    }
    (cells, refused)
}

pub(crate) fn refuse(cell: &CellId, offers_x2apic: bool) -> Option<(&'static str, bool)> {
    match (cell.route, cell.destination, cell.target_state) {
        (Route::Memory, _, TargetState::Halt) => Some(("a halted processor polls nothing", false)),
        (Route::Memory, _, TargetState::User) => Some(("the memory route's targets poll at CPL0", false)),
        (Route::Memory, _, TargetState::Masked) => Some(("the memory route interrupts nobody", false)),
        (route, _, TargetState::Masked) if route.is_maskable() => {
            Some(("an interrupt waits until the target sets IF: use nmi", false))
        }
        (Route::Nmi, Destination::All, _) => {
            Some(("the shorthand that includes the sender is for fixed interrupts only", false))
        }
        (Route::Nmi | Route::Msi | Route::Host | Route::VmmHost, ..) if cell.vcpus > XAPIC_VCPUS && !offers_x2apic => {
            Some(("more than 255 vCPUs need x2APIC mode, which this KVM's CPUID does not offer", true))
        }
        (route, Destination::All, _) if route.is_host() => {
            Some(("the host is no vCPU: all-but-self is everybody", false))
        }
        (Route::Memory, Destination::All, _) => Some(("a sender does not poll its own line", false)),
        (route, ..) if route.is_xapic() && cell.vcpus > XAPIC_VCPUS => {
            Some(("xAPIC ids are eight bits wide and end at 254: use x2apic", false))
        }
        (route, ..) if route.is_x2apic() && !offers_x2apic => {
            Some(("this KVM's CPUID offers guests no x2APIC mode", true))
        }
        _ => None,
    }
}

/// The initiators that a machine of `vcpus` is measured from: all of a small one, and evenly chosen ones of a large one.
pub fn initiators(vcpus: usize) -> Vec<usize> {
    const MOST: usize = 16;
    let count = vcpus.min(MOST);
    (0..count).map(|number| if count < 2 { 0 } else { number * (vcpus - 1) / (count - 1) }).collect()
}

/// How many rounds each block of a cell has: twenty blocks; fewer where they would be smaller than ten rounds, but five,
/// without which no interval can be told; and none larger than the sample rings.
pub fn blocks(rounds: usize, warmup: usize) -> Vec<usize> {
    const MOST: usize = 20;
    const FEWEST: usize = 5;
    const SMALLEST: usize = 10;
    let largest = abi::RING_SAMPLES.saturating_sub(warmup).max(1);
    let count = (rounds / SMALLEST).clamp(FEWEST, MOST).min(rounds).max(rounds.div_ceil(largest));
    (0..count).map(|block| rounds * (block + 1) / count - rounds * block / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            device: PathBuf::from("/dev/kvm"),
            guest: None,
            vcpus: vec![2],
            routes: Route::ALL.to_vec(),
            destinations: Destination::ALL.to_vec(),
            target_states: TargetState::ALL.to_vec(),
            observe: Observe::ALL.to_vec(),
            trace: Vec::new(),
            sweep: false,
            rounds: 100,
            warmup: 5,
            worker: Worker::Stamp,
            argument: 0,
            pin: vec![0, 1],
            cpus: vec![0, 1],
            deadline: None,
            settle: Duration::ZERO,
            halt_poll_ns: None,
        }
    }

    #[test]
    fn every_combination_is_either_measured_or_refused() {
        let (cells, refused) = plan(&config(), true);
        assert_eq!(cells.len() / 2 + refused.len(), 108, "each cell in two vantages");
        let of = |route| refused.iter().filter(|refused| refused.cell.route == route).count();
        assert_eq!(of(Route::Memory), 10, "memory has spin with all-but-self and unicast");
        for route in [Route::XApic, Route::X2Apic, Route::Msi, Route::VmmXApic, Route::VmmX2Apic] {
            assert_eq!(of(route), 3, "an interrupt does not reach a masked target");
        }
        assert_eq!((of(Route::Host), of(Route::VmmHost)), (6, 6), "nor does the host's, which calls everybody or each");
        assert_eq!(of(Route::Nmi), 4, "the shorthand that includes the sender sends no NMI");
        assert!(refused.iter().all(|refused| !refused.host));
    }

    #[test]
    fn a_missing_x2apic_is_the_hosts_fault_and_a_large_xapic_is_not() {
        let (_, refused) = plan(&Config { vcpus: vec![256], ..config() }, false);
        let of = |route| refused.iter().find(|refused| refused.cell.route == route).unwrap();
        assert!(of(Route::X2Apic).host);
        assert!(!of(Route::XApic).host && of(Route::XApic).reason.contains("254"));
        let (cells, _) = plan(&Config { vcpus: vec![255], ..config() }, true);
        assert!(cells.iter().any(|cell| cell.route == Route::XApic));
    }

    #[test]
    fn blocks_add_up_and_fit_into_the_rings() {
        for (rounds, warmup) in [(1, 0), (7, 5), (20, 3), (100, 3), (10_001, 100), (1_000_000, 1000), (5, 5000)] {
            let blocks = blocks(rounds, warmup);
            assert_eq!(blocks.iter().sum::<usize>(), rounds);
            assert!(blocks.iter().all(|&block| block >= 1), "{rounds}");
            assert!(blocks.iter().all(|&block| block + warmup.min(abi::RING_SAMPLES - 1) <= abi::RING_SAMPLES));
        }
        assert_eq!(blocks(500, 3).len(), 20);
    }

    #[test]
    fn a_large_machines_initiators_are_chosen_evenly() {
        assert_eq!((initiators(1), initiators(3)), (vec![0], vec![0, 1, 2]));
        let chosen = initiators(1024);
        assert_eq!((chosen.len(), chosen.first(), chosen.last()), (16, Some(&0), Some(&1023)));
        assert!(chosen.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn all_are_targets_of_the_host() {
        let cell = |route| CellId {
            route,
            destination: Destination::AllButSelf,
            target_state: TargetState::Halt,
            vcpus: 3,
            observe: Observe::Guest,
        };
        assert_eq!([Route::X2Apic, Route::Host, Route::VmmHost].map(|route| targets(&cell(route))), [2, 3, 3]);
    }

    #[test]
    fn pins_are_checked_against_what_is_allowed() {
        assert_eq!(resolve_pin(Pin::Auto, &[2, 3]), Ok(vec![2, 3]));
        assert_eq!(resolve_pin(Pin::None, &[2, 3]), Ok(vec![]));
        assert_eq!(resolve_pin(Pin::List(vec![3, 3, 2]), &[2, 3]), Ok(vec![3, 3, 2]));
        let error = resolve_pin(Pin::List(vec![2, 99]), &[2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "--pin names CPU 99, which this process may not use (it may use 2,3)");
    }

    #[test]
    fn sharing_a_cpu_lengthens_the_deadline() {
        assert!(config().deadline(300) > config().deadline(2));
        let fixed = Config { deadline: Some(Duration::from_millis(5)), ..config() };
        assert_eq!(fixed.deadline(300), Duration::from_millis(5));
    }
}
