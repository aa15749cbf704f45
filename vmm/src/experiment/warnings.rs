//! What a reader must know before trusting the numbers of a measurement.

use super::collected::Collected;
use super::machine::Machine;
use super::machines::Machines;
use crate::config::{CellId, Config, Observe, routes};
use crate::results::count::count;
use crate::results::ran_on::RanOn;
use crate::statistics::digest::{self, Precision};
use guest_stub::abi::TargetState;
use std::collections::BTreeSet;

/// All warnings, each a line.
pub(super) fn all<M: Machine, B>(config: &Config, machines: &Machines<M, B>, cells: &[Collected]) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(moved(&machines.ran_on()));
    warnings.extend(shared_cpus(config, machines.most_vcpus()));
    warnings.extend(host_shares_a_cpu(config, cells));
    warnings.extend(refused_sources(config));
    warnings.extend(nobody_halts(config).map(str::to_owned));
    warnings.extend(delay(config));
    warnings.extend(cells.iter().find_map(|cell| buckets(cell.precision())));
    for cell in cells {
        warnings.extend(given_up(cell));
        warnings.extend(lost_events(cell));
        // Of a native cell that others are divided by, its count is enough.
        if !cell.is_beside {
            let counted = cell.blocks.iter().map(|block| block.rounds).sum();
            warnings.extend(not_in_state(&cell.id, counted, cell.not_in_state()));
        }
    }
    // Each boot of a machine says the same.
    for warning in machines.warnings() {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings
}

/// Which threads, of vCPUs or of native calls, ran where they were not to: of some hundred, the first ones.
fn moved(ran_on: &[RanOn]) -> Option<String> {
    const MOST: usize = 4;
    let moved: Vec<&RanOn> = ran_on.iter().filter(|thread| thread.was_moved()).collect();
    let mut told: Vec<String> = moved.iter().take(MOST).map(ToString::to_string).collect();
    if let Some(others @ 1..) = moved.len().checked_sub(MOST) {
        told.push(format!("and {others} more (ran_on of --json)"));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// The CPUs that vCPUs run on.
fn cpus(config: &Config) -> usize {
    let distinct = config.pin.iter().collect::<BTreeSet<_>>().len();
    if config.pin.is_empty() { config.cpus.len() } else { distinct }
}

fn shared_cpus(config: &Config, most_vcpus: Option<usize>) -> Option<String> {
    let cpus = cpus(config);
    let most = most_vcpus.filter(|&vcpus| vcpus > cpus)?;
    let cpus = count(cpus, "CPU");
    let is_native = config.routes.iter().all(|&route| routes::of(route).is_native());
    let participants = if is_native { "threads" } else { "vCPUs" };
    Some(format!(
        "{most} {participants} share {cpus}: a call waits for the host's scheduler, and the numbers tell about that"
    ))
}

fn delay(config: &Config) -> Option<String> {
    let delay = config.injected_delay?;
    let percent = f64::from(delay.millionths) / 1e4;
    let whose = delay.route.map_or_else(|| "on virtual machines".to_owned(), |route| format!("over {}", route.name()));
    Some(format!("calls {whose} were lengthened by {percent} % of their round trip on purpose (--inject)"))
}

/// Where quantiles are not exact.
fn buckets(precision: Precision) -> Option<String> {
    let percent = digest::ERROR * 100.0;
    (precision == Precision::Buckets).then(|| {
        format!(
            "of more than {} rounds a cell, values are counted in buckets: quantiles are within {percent:.1} % (--csv has every value)",
            digest::MOST_EXACT
        )
    })
}

fn host_shares_a_cpu(config: &Config, cells: &[Collected]) -> Option<String> {
    let host_calls = cells.iter().map(|cell| cell.id).filter(|id| routes::of(id.route).is_host());
    let most = host_calls.map(|id| id.vcpus).max()?;
    let cpus = config.cpus.len();
    (most.min(self::cpus(config)) >= cpus).then(|| {
        format!(
            "the host's calls share their CPU with a vCPU, {} on {}: the numbers tell about the \
             host's scheduler (fewer vCPUs leave the host a CPU)",
            count(most, "vCPU"),
            count(cpus, "CPU")
        )
    })
}

fn refused_sources(config: &Config) -> impl Iterator<Item = String> + '_ {
    config.trace.iter().filter_map(|(source, refused)| {
        Some(format!("source {} has recorded nothing: {}", source.name(), refused.as_ref()?))
    })
}

fn nobody_halts(config: &Config) -> Option<&'static str> {
    let is_asked = config.idle_before.iter().any(Option::is_some);
    (is_asked && !config.target_states.contains(&TargetState::Halt))
        .then_some("times in HLT were asked for, and no cell has targets in state halt")
}

/// Who was silent in the first of a cell's calls that were given up.
fn given_up(cell: &Collected) -> Option<String> {
    let first = cell.silences.first()?;
    Some(match cell.silences.len() {
        1 => format!("{}: a call was given up: {first}", cell.id),
        calls if cell.is_given_up() => {
            format!("{}: {calls} calls were given up, and no more made; the first: {first}", cell.id)
        }
        calls => format!("{}: {calls} calls were given up; the first: {first}", cell.id),
    })
}

fn lost_events(cell: &Collected) -> impl Iterator<Item = String> + '_ {
    cell.traced.iter().filter_map(|traced| {
        let lost = traced.counted.lost;
        let (source, route, state) = (traced.source.name(), cell.id.route.name(), cell.id.target_state.name());
        (lost > 0).then(|| {
            format!("source {source} has lost {} of {route} {state}: its calls may lack some", count(lost, "event"))
        })
    })
}

/// Some rounds of targets that are preempted or out are always too late, or too early: their number, which the table has, is enough
/// unless there are many of them.
fn not_in_state(id: &CellId, counted: u64, elsewhere: u64) -> Option<String> {
    const FEW: u64 = 4;
    if elsewhere == 0 || id.target_state.is_away() && elsewhere * FEW <= counted + elsewhere {
        return None;
    }
    let CellId { call, route, destination, target_state, vcpus, observe, .. } = *id;
    let (route, destination, state) = (route.name(), destination.name(), target_state.name());
    let vantage = if observe == Observe::Guest { String::new() } else { format!(", seen by {}", observe.name()) };
    let (rounds, verb) = (count(elsewhere, "round"), if elsewhere == 1 { "does" } else { "do" });
    Some(format!(
        "{rounds} of {}{route} {destination} {state}, {}{vantage}, {verb} not count: a target was not in state {state}",
        call.prefix(),
        count(vcpus, routes::of(id.route).participant())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::routes::Route;
    use guest_stub::abi::Destination;

    #[test]
    fn threads_that_were_moved_are_named_with_where_they_ran() {
        let of = |vcpu: usize, cpu: usize| RanOn {
            vcpu,
            pin: Some(vcpu),
            cpus: [vcpu, cpu].into(),
            affinity_changed: Some(cpu != vcpu),
        };
        assert_eq!(moved(&[of(0, 0), of(1, 1)]), None);
        let one = "thread 1 ran on CPUs 0-1, pinned to CPU 1, with its affinity changed";
        assert_eq!(moved(&[of(0, 0), of(1, 0)]).as_deref(), Some(one));
        let six: Vec<RanOn> = (0..6).map(|vcpu| of(vcpu, 9)).collect();
        assert!(moved(&six).is_some_and(|told| told.ends_with("; and 2 more (ran_on of --json)")));
    }

    #[test]
    fn targets_that_are_kept_from_the_guest_are_warned_of_where_many_rounds_do_not_count() {
        let cell = |state| CellId::broadcast(Route::X2Apic, Destination::AllButSelf, state, 2);
        let out = cell(TargetState::Out);
        assert_eq!([0, 1, 25].map(|elsewhere| not_in_state(&out, 100 - elsewhere, elsewhere)), [None, None, None]);
        let exits = CellId { observe: Observe::Exits, ..out };
        let reason = "do not count: a target was not in state out";
        assert_eq!(
            [out, exits].map(|id| not_in_state(&id, 74, 26)),
            [
                Some(format!("26 rounds of x2apic all-but-self out, 2 vCPUs, {reason}")),
                Some(format!("26 rounds of x2apic all-but-self out, 2 vCPUs, seen by exits, {reason}")),
            ]
        );
        let halted = not_in_state(&cell(TargetState::Halt), 99, 1).expect("a warning");
        assert!(halted.ends_with("does not count: a target was not in state halt"), "{halted}");
    }
}
