//! Known stamps have known metrics.

use crate::invented::{Invented, KHZ, Log, WELL, alike, assert_constant, assert_valid, config, run};
use guest_stub::abi::TargetState;
use kipi::config::{self, Config, HostOffers, MachineSpec};
use kipi::events::samples::ExitCount;
use kipi::events::wakeups::Wakeups;
use kipi::experiment::{self, Observer};
use kipi::guest::blocks::BlockSpec;
use kipi::results::halts::Regime;
use kipi::results::integrity::Integrity;
use kipi::results::metric::MetricName;
use kipi::results::source::Source;
use kipi_tests::test;

#[test]
fn known_stamps_have_known_metrics() {
    let outcome = run(&config(), WELL);
    assert!(outcome.error.is_none());
    assert_valid(&outcome.document);
    assert_eq!(outcome.document.cells.len(), 2);
    for cell in &outcome.document.cells {
        for (name, value) in [
            (MetricName::SendCost, 50.0),
            (MetricName::Delivery, 400.0),
            (MetricName::StartSkew, 30.0),
            (MetricName::RoundTrip, 900.0),
            (MetricName::VmmStartSkew, 90.0),
            (MetricName::SkewGap, 60.0),
        ] {
            assert_constant(cell, name, 40, value);
        }
        // From 530 to 600, of workers of 110 on average.
        assert_constant(cell, MetricName::Overlap, 40, 70.0 / 110.0);
        let exits = &cell.metrics[&MetricName::ObservedExit];
        assert_eq!((exits.n, exits.min, exits.max), (80, 200.0, 260.0));
        for absent in [MetricName::ArrivalSkew, MetricName::SkewSlope] {
            assert!(!cell.metrics.contains_key(&absent), "one target has no {absent:?}");
        }
        assert_eq!((cell.rounds, cell.rounds_asked, cell.not_in_state), (40, 40, 0));
        assert_eq!(cell.integrity, Integrity::default());
        assert_eq!((cell.clock.tsc_khz, cell.clock.error_ns), (KHZ, Some(35.0)));
    }
    let states: Vec<&str> = outcome.document.cells.iter().map(|cell| cell.id.target_state.name()).collect();
    assert_eq!(states, ["spin", "halt"]);
}

#[test]
fn the_clocks_frequency_turns_cycles_into_time() {
    let (config, log) = (config(), Log::default());
    let (cells, refused) = config::plan(&config, HostOffers::EVERYTHING);
    let boot = |MachineSpec { vcpus, .. }| Ok(Invented { vcpus, khz: 4 * KHZ, blocks: 0, log: &log, behaviour: WELL });
    let mut observer =
        Observer { progress: &mut |_, _, _| {}, samples: None, started: None, details: None, repeats: None };
    let (document, _) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    let cell = &document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 40, 225.0);
    assert_constant(cell, MetricName::Overlap, 40, 70.0 / 110.0);
    assert_eq!(cell.clock.error_ns, Some(8.75));
    assert!((document.instruments[0].stamp_ns.p50 - 1.5).abs() < 1e-9);
    assert_eq!(document.instruments[0].first_broadcast_ns, None);
}

#[test]
fn exits_are_told_by_call_and_target() {
    let exits = |_, spec: &BlockSpec| {
        let mut block = alike(spec);
        let calls = (spec.rounds + spec.warmup) as u64;
        block.exit_calls = calls;
        let count = |initiator, targets| ExitCount { initiator, targets };
        block.exits.insert((Source::Stats, "halt_exits".to_owned()), count(0, calls * 6));
        block.exits.insert((Source::Vmm, "observe".to_owned()), count(calls, calls * 3));
        block.exits.insert((Source::Vmm, "mmio".to_owned()), count(0, 0));
        Ok(block)
    };
    let outcome = run(&Config { vcpus: vec![4], ..config() }, &exits);
    let found: Vec<(&str, &str, f64, f64)> = outcome.document.cells[0]
        .exits
        .iter()
        .map(|it| (it.source.name(), it.reason.as_str(), it.initiator, it.per_target))
        .collect();
    assert_eq!(found, [("stats", "halt_exits", 0.0, 2.0), ("vmm", "observe", 1.0, 1.0)]);
}

#[test]
fn blocks_are_told_by_how_kvm_woke_their_targets_and_a_cell_has_both_medians() {
    // KVM polls in every other block, and calls take longer where it does not.
    let machine = |number: usize, spec: &BlockSpec| {
        let mut block = alike(spec);
        let (polled, blocked) = if number.is_multiple_of(2) { (10, 0) } else { (0, 10) };
        block.rounds.iter_mut().for_each(|round| round.t2 += 10 * blocked);
        block.wakeups = Some(Wakeups { polled, blocked, attempted: polled, ..Wakeups::default() });
        Ok(block)
    };
    let asked = Config { target_states: vec![TargetState::Halt], idle_before: vec![Some(50)], ..config() };
    let outcome = run(&asked, &machine);
    assert_valid(&outcome.document);
    assert_eq!(outcome.document.config.idle_before_us, [50]);
    let cell = &outcome.document.cells[0];
    assert_eq!(cell.id.idle_before_us, Some(50));
    let told: Vec<(usize, Regime)> =
        cell.blocks.iter().map(|block| block.halt.expect("counters").regime).enumerate().collect();
    assert!(told.iter().all(|&(number, regime)| (regime == Regime::Blocked) == number.is_multiple_of(2)), "{told:?}");
    let halt = cell.halt.as_ref().expect("counters");
    assert_eq!((halt.source, halt.regimes.len()), (Source::Stats, 2));
    let medians: Vec<(Regime, f64)> = halt.regimes.iter().map(|of| (of.regime, of.round_trip_p50_ns)).collect();
    assert_eq!(medians, [(Regime::Polled, 900.0), (Regime::Blocked, 1_000.0)]);
    let nobody = run(&Config { target_states: vec![TargetState::Spin], ..asked }, WELL).document;
    assert!(nobody.warnings.iter().any(|warning| warning.contains("no cell has targets in state halt")));
}
