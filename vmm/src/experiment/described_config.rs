//! What was asked for, as the document says it.

use super::collected::Collected;
use crate::config::{self, Config};
use crate::results::measurement::Skipped;
use crate::results::measurement::config::{Deadline, MeasurementConfig};
use crate::results::trace::TraceConfig;
use guest_stub::abi::Destination;
use guest_stub::abi::cell::CellId;
use std::time::Duration;

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

/// The configuration is taken apart field by field: whoever adds one is asked by the compiler where the document has it.
pub(super) fn describe(config: &Config, boots: usize) -> MeasurementConfig {
    let Config {
        device,
        guest,
        vcpus,
        calls,
        routes,
        // With each call's usual one filled in.
        destinations: _,
        target_states,
        idle_before,
        waits,
        observe,
        trace,
        sweep,
        rounds,
        warmup,
        // `boots` is how many there were.
        boots: _,
        // Each cell has its own.
        blocks: _,
        repetitions,
        references,
        beside,
        undivided,
        exit_costs,
        worker,
        argument,
        pin,
        latency_us,
        time,
        limit_time,
        // The host has them.
        cpus: _,
        deadline,
        settle,
        out,
        halt_poll_ns,
        // Its documents are compared, and not shown.
        is_one_of_many: _,
        injected_delay,
    } = config;
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect();
    MeasurementConfig {
        vcpus: vcpus.clone(),
        calls: names(&mut calls.iter().map(|call| call.name())),
        routes: names(&mut routes.iter().map(|route| route.name())),
        destinations: names(&mut destinations(config).iter().map(|destination| destination.name())),
        target_states: names(&mut target_states.iter().map(|state| state.name())),
        idle_before_us: idle_before.iter().copied().flatten().collect(),
        waits: names(&mut waits.iter().map(|wait| wait.name())),
        observe: names(&mut observe.iter().map(|observe| observe.name())),
        trace: names(&mut trace.iter().map(|(source, _)| source.name())),
        rounds: *rounds as u64,
        seconds: time.map(|time| time.as_secs_f64() * (repetitions + 1) as f64),
        warmup: *warmup as u64,
        boots: boots as u64,
        repetitions: *repetitions as u64,
        worker: worker.name().to_owned(),
        argument: *argument,
        pin: pin.clone(),
        settle_us: Some(microseconds(*settle)),
        deadline_ms: deadline.map(milliseconds),
        deadlines: deadlines(config),
        device: Some(device.display().to_string()),
        guest: guest.as_ref().map(|guest| guest.display().to_string()),
        references: Some(references.is_some()),
        native: Some(!beside.is_empty() || !undivided.is_empty()),
        exit_costs: Some(*exit_costs),
        from_every_vcpu: Some(*sweep),
        limit_time: Some(*limit_time),
        latency_us: *latency_us,
        halt_poll_ns: *halt_poll_ns,
        injected_delay: injected_delay.map(|delay| f64::from(delay.millionths) / 1e6),
        injected_route: injected_delay.and_then(|delay| delay.route),
        out_us: Some(microseconds(*out)),
    }
}

/// The same of a trace of one cell's calls. That every option of `kipi trace` is in it is tested with the options.
pub(super) fn describe_trace(cell: CellId, config: &Config) -> TraceConfig {
    TraceConfig {
        id: cell,
        rounds: config.rounds as u64,
        warmup: config.warmup as u64,
        waits: config.waits.iter().map(|wait| wait.name().to_owned()).collect(),
        trace: config.trace.iter().map(|(source, _)| *source).collect(),
        worker: config.worker.name().to_owned(),
        argument: Some(config.argument),
        pin: config.pin.clone(),
        settle_us: Some(microseconds(config.settle)),
        deadline_ms: config.deadline.map(milliseconds),
        deadlines: deadlines(config),
        device: Some(config.device.display().to_string()),
        guest: config.guest.as_ref().map(|guest| guest.display().to_string()),
        latency_us: config.latency_us,
        halt_poll_ns: config.halt_poll_ns,
        out_us: Some(microseconds(config.out)),
    }
}

/// The deadline that holds for each vCPU count.
fn deadlines(config: &Config) -> Vec<Deadline> {
    config.vcpus.iter().map(|&vcpus| Deadline { vcpus, ms: milliseconds(config.deadline(vcpus)) }).collect()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::routes::Route;
    use crate::config::sample;
    use crate::results::source::Source;
    use guest_stub::abi::{TargetState, Wait};

    #[test]
    fn the_deadline_that_held_is_told_for_each_vcpu_count() {
        let own = Config { vcpus: vec![2, 300], deadline: None, ..sample() };
        let told = describe(&own, 1);
        assert_eq!(told.deadline_ms, None, "it was not set");
        let [few, many] = told.deadlines.as_slice() else { panic!("{:?}", told.deadlines) };
        assert_eq!((few.vcpus, many.vcpus), (2, 300));
        assert!(few.ms >= 4_000 && few.ms < many.ms, "{few:?} {many:?}");

        let told = describe(&Config { deadline: Some(Duration::from_millis(70)), ..own }, 1);
        assert_eq!(told.deadline_ms, Some(70));
        assert_eq!(told.deadlines, [2, 300].map(|vcpus| Deadline { vcpus, ms: 70 }));
    }

    #[test]
    fn a_trace_tells_what_was_set_and_what_held() {
        let config = Config {
            settle: Duration::from_micros(25),
            waits: vec![Wait::Park],
            trace: vec![(Source::Kernel, Some("no permission".to_owned()))],
            halt_poll_ns: Some(7),
            ..sample()
        };
        let cell = CellId::broadcast(Route::X2Apic, Destination::AllButSelf, TargetState::Halt, 2);
        let told = describe_trace(cell, &config);
        assert_eq!((told.settle_us, told.halt_poll_ns, told.latency_us), (Some(25), Some(7), None));
        assert_eq!((told.waits, told.trace), (vec!["park".to_owned()], vec![Source::Kernel]));
        assert_eq!((told.deadline_ms, told.deadlines), (None, deadlines(&config)));
    }

    #[test]
    fn defaults_are_said() {
        let told = describe(&Config { out: Duration::from_micros(200), ..sample() }, 1);
        assert_eq!((told.waits, told.out_us), (vec!["spin".to_owned()], Some(200)));
    }
}
