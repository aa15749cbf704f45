//! What was asked for, as the document says it.

use super::collected::Collected;
use crate::config::{self, Config};
use crate::results::measurement::Skipped;
use crate::results::measurement::config::MeasurementConfig;
use guest_stub::abi::{Destination, TargetState, Wait};

pub(super) fn skipped(refused: &config::Refused) -> Skipped {
    Skipped { id: refused.cell, reason: refused.refusal.reason().to_owned() }
}

/// How many of `boots` machines the cells' blocks, of which there were to be so many each, were spread over: fewer where there are
/// fewer blocks, or the run ended early.
pub(super) fn boots_of(blocks: usize, boots: usize, cells: &[Collected]) -> usize {
    let last = cells.iter().filter_map(Collected::last_turn).max();
    last.map_or(0, |last| config::boot_of(last, blocks, boots) + 1)
}

/// The destinations that were tried, each once.
fn destinations(config: &Config) -> Vec<Destination> {
    let of_calls = config.calls.iter().flat_map(|&call| config.destinations_of(call)).copied();
    config::without_repeats(&of_calls.collect::<Vec<_>>())
}

pub(super) fn describe(config: &Config, boots: usize) -> MeasurementConfig {
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect();
    MeasurementConfig {
        vcpus: config.vcpus.clone(),
        calls: names(&mut config.calls.iter().map(|call| call.name())),
        routes: names(&mut config.routes.iter().map(|route| route.name())),
        destinations: names(&mut destinations(config).iter().map(|destination| destination.name())),
        target_states: names(&mut config.target_states.iter().map(|state| state.name())),
        idle_before_us: config.idle_before.iter().copied().flatten().collect(),
        waits: if config.waits.iter().all(Wait::is_spin) {
            Vec::new()
        } else {
            names(&mut config.waits.iter().map(|wait| wait.name()))
        },
        observe: names(&mut config.observe.iter().map(|observe| observe.name())),
        trace: names(&mut config.trace.iter().map(|(source, _)| source.name())),
        rounds: config.rounds as u64,
        seconds: config.time.map(|time| time.as_secs_f64() * (config.repetitions + 1) as f64),
        warmup: config.warmup as u64,
        boots: boots as u64,
        repetitions: config.repetitions as u64,
        worker: config.worker.name().to_owned(),
        argument: config.argument,
        pin: config.pin.clone(),
        settle_us: Some(u64::try_from(config.settle.as_micros()).unwrap_or(u64::MAX)),
        deadline_ms: config.deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
        device: Some(config.device.display().to_string()),
        guest: config.guest.as_ref().map(|guest| guest.display().to_string()),
        references: Some(config.references.is_some()),
        native: Some(!config.beside.is_empty() || !config.undivided.is_empty()),
        exit_costs: Some(config.exit_costs),
        from_every_vcpu: Some(config.sweep),
        limit_time: Some(config.limit_time),
        latency_us: config.latency_us,
        halt_poll_ns: config.halt_poll_ns,
        injected_delay: config.injected_delay.map(|delay| f64::from(delay.millionths) / 1e6),
        injected_route: config.injected_delay.and_then(|delay| delay.route),
        out_us: config
            .target_states
            .contains(&TargetState::Out)
            .then(|| u64::try_from(config.out.as_micros()).unwrap_or(u64::MAX)),
    }
}
