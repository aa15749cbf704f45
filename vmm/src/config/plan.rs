//! The cells of a measurement, those that cannot be, and how each is divided.

use super::refusal::Refusal;
use super::routes::{Route, XAPIC_VCPUS};
use super::{
    Call, CellId, Config, HostOffers, Interface, LocalApics, calls, destinations, natively, routes, target_states,
    waits,
};
use guest_stub::abi::{Destination, TargetState};
use kipi_standalone::schedule;

pub use kipi_standalone::schedule::{MIN_BOOTS, boot_of, boots};

/// What tells the machines of a measurement apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineSpec {
    /// How many vCPUs, or threads in their place.
    pub vcpus: usize,
    /// Where the vCPUs' local APICs are; `None`: there is no virtual machine.
    pub local_apics: Option<LocalApics>,
    /// The hypervisor's interface that the guest finds.
    pub interface: Interface,
}

impl MachineSpec {
    /// The machine that a cell is measured on.
    pub fn of(cell: &CellId) -> Self {
        routes::of(cell.route).machine(cell.vcpus)
    }
}

/// How many vCPUs of a cell are called, each time, and do not call.
pub fn targets(cell: &CellId) -> usize {
    match cell.call {
        Call::Broadcast if routes::of(cell.route).is_host() => cell.vcpus,
        Call::Broadcast => cell.vcpus.saturating_sub(1),
        Call::Ping if cell.destination == Destination::AllButSelf => cell.vcpus.saturating_sub(1),
        Call::Ping => 1,
    }
}

/// How many calls of a cell make a round, each with stamps of its own: one, but of a mesh, a ping of each vCPU at once.
pub fn at_once(cell: &CellId) -> usize {
    match cell.call {
        Call::Broadcast => 1,
        Call::Ping => cell.destination.senders(0, cell.vcpus).len(),
    }
}

/// A combination that cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The combination, in its first vantage, whatever time in HLT is asked for.
    pub cell: CellId,
    /// Why not.
    pub refusal: Refusal,
}

/// All combinations of a configuration: those that can be measured, and those that cannot, with the reason.
pub fn plan(config: &Config, offers: HostOffers) -> (Vec<CellId>, Vec<Refused>) {
    let (mut cells, mut refused) = (Vec::new(), Vec::new());
    let mut refuse_once = |cell: CellId, refusal| {
        let refusal = Refused { cell: CellId { idle_before_us: None, ..cell }, refusal };
        if !refused.contains(&refusal) {
            refused.push(refusal);
        }
    };
    let refuse = |cell: &CellId| refuse_under(config, cell, offers);
    for cell in combinations(config) {
        if let Some(refusal) = refuse(&cell) {
            refuse_once(cell, refusal);
            continue;
        }
        let vantages = config.observe.iter().map(|&observe| CellId { observe, ..cell });
        let (can, cannot): (Vec<_>, Vec<_>) = vantages.partition(|cell| refuse(cell).is_none());
        // Of a cell that has one of them, the other one is not missed.
        if can.is_empty() {
            cannot
                .into_iter()
                .filter_map(|cell| Some((cell, refuse(&cell)?)))
                .for_each(|(cell, refusal)| refuse_once(cell, refusal));
        }
        cells.extend(can);
    }
    (cells, refused)
}

/// What is measured in every turn beside `cells`, where they do not hold it: one cell of each target state, over the first
/// route that has them, and the memory route. Only machines are used that the cells are measured on.
pub fn references(cells: &[CellId], offers: HostOffers) -> Vec<CellId> {
    const STATES: [TargetState; 3] = [TargetState::Spin, TargetState::User, TargetState::Halt];
    let Some(first) = cells.first() else { return Vec::new() };
    let cell = |route, state| CellId::broadcast(route, Destination::AllButSelf, state, first.vcpus);
    let can = |cell: &CellId| refuse(cell, offers).is_none();
    let has_all = |route: Route| STATES.iter().all(|&state| can(&cell(route, state)));
    let asked = cells.iter().map(|cell| cell.route).find(|&route| has_all(route)).unwrap_or(Route::X2Apic);
    let states = STATES.map(|state| cell(asked, state));
    let is_booted = |wanted: &CellId| cells.iter().any(|cell| MachineSpec::of(cell) == MachineSpec::of(wanted));
    let wanted = states.into_iter().chain([cell(Route::Memory, TargetState::Spin)]);
    wanted.filter(|wanted| can(wanted) && is_booted(wanted) && !cells.contains(wanted)).collect()
}

/// All combinations of a configuration, in the guest's vantage, in the order of output.
fn combinations(config: &Config) -> Vec<CellId> {
    let with_destination =
        |&call: &Call| config.destinations_of(call).iter().map(move |&destination| (call, destination));
    let addressed: Vec<(Call, Destination)> = config.calls.iter().flat_map(with_destination).collect();
    let mut cells = Vec::new();
    for &vcpus in &config.vcpus {
        for &route in &config.routes {
            for &(call, destination) in &addressed {
                for &target_state in &config.target_states {
                    // Only a halted target is idle.
                    let idle_before = match target_state {
                        TargetState::Halt => config.idle_before.as_slice(),
                        TargetState::Spin
                        | TargetState::User
                        | TargetState::Masked
                        | TargetState::Preempted
                        | TargetState::Out => &[None],
                    };
                    let cell = CellId { call, ..CellId::broadcast(route, destination, target_state, vcpus) };
                    for &wait in &config.waits {
                        cells.extend(idle_before.iter().map(|&idle_before_us| CellId { idle_before_us, wait, ..cell }));
                    }
                }
            }
        }
    }
    cells
}

/// Why a cell cannot be measured on a host; `None`: it can. What no host could do is said before what this one cannot.
pub fn refuse(cell: &CellId, offers: HostOffers) -> Option<Refusal> {
    let route = routes::of(cell.route);
    let by_call = (calls::of(cell.call).refuses)(cell);
    let state = (target_states::of(cell.target_state).refuses)(route, cell.vcpus);
    let destination = (destinations::of(cell.destination).refuses)(route, cell.vcpus, offers);
    let need = route.lacks(offers).map(Refusal::Host);
    let ids = route.id_limit(offers).filter(|_| cell.vcpus > XAPIC_VCPUS).map(Refusal::Ids);
    let refusals =
        || [natively::refuse(cell), waits::refuse(cell), by_call, state, destination, need, ids].into_iter().flatten();
    refusals().find(|refusal| !refusal.is_the_hosts()).or_else(|| refusals().next())
}

/// As [`refuse`], under a configuration.
pub(super) fn refuse_under(config: &Config, cell: &CellId, offers: HostOffers) -> Option<Refusal> {
    refuse(cell, offers)
        .or_else(|| natively::refuse_here(config, cell))
        .or_else(|| target_states::refuse_here(config, cell))
}

/// The initiators that a machine of `vcpus` is measured from: all of a small one, and evenly chosen ones of a large one.
pub fn initiators(vcpus: usize) -> Vec<usize> {
    const MOST: usize = 16;
    let count = vcpus.min(MOST);
    (0..count).map(|number| if count < 2 { 0 } else { number * (vcpus - 1) / (count - 1) }).collect()
}

/// As [`schedule::blocks`].
pub fn blocks(rounds: usize, warmup: usize, boots: usize) -> Vec<usize> {
    schedule::blocks(rounds, warmup, boots).collect()
}

#[cfg(test)]
pub(super) mod tests;
