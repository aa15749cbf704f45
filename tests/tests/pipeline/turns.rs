//! Which blocks are run on which machine, and in which order.

use crate::invented::{Invented, KHZ, Log, WELL, alike, assert_constant, assert_valid, config, given_up, run};
use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::Route;
use kipi::config::{self, CellId, Config, HostOffers, MachineSpec, Observe};
use kipi::events::recording::Recording;
use kipi::events::samples::ExitCount;
use kipi::experiment::{self, Observer};
use kipi::guest::blocks::BlockSpec;
use kipi::guest::session::Error;
use kipi::results::metric::MetricName;
use kipi::results::source::Source;
use kipi_tests::test;
use std::cell::Cell;
use std::time::Duration;

#[test]
fn blocks_of_the_cells_alternate() {
    let config = Config { rounds: 7, ..config() };
    let outcome = run(&config, WELL);
    let first = &outcome.log[0].1;
    assert_eq!((first.rounds, first.warmup), (1, 0), "one call after the boot, which is not measured");
    let states: Vec<TargetState> = outcome.log[1..].iter().map(|(_, spec)| spec.cell.target_state).collect();
    let sizes = config::blocks(config.rounds, config.warmup, 1);
    assert_eq!(states, [TargetState::Spin, TargetState::Halt].repeat(sizes.len()));
    for (number, (vcpus, spec)) in outcome.log[1..].iter().enumerate() {
        assert_eq!((*vcpus, spec.rounds, spec.warmup), (2, sizes[number / 2], 3));
        assert_eq!((spec.worker, spec.argument, spec.cell.observe), (Worker::Spin, 100, Observe::Guest));
    }
    let done: Vec<(usize, usize)> = outcome.progress.iter().map(|&(done, total, _)| (done, total)).collect();
    assert_eq!(done, (0..states.len()).map(|done| (done, states.len())).collect::<Vec<_>>());
    assert_eq!(outcome.progress[1].2.target_state, TargetState::Halt);
}

#[test]
fn blocks_come_from_machines_booted_in_turn() {
    // The stamps of each machine differ from those of the one before.
    let boot = Cell::new(0_u64);
    let drifts = |number, spec: &BlockSpec| {
        boot.set(boot.get() + u64::from(number == 0));
        let mut block = alike(spec);
        block.rounds.iter_mut().for_each(|round| round.t2 += boot.get());
        Ok(block)
    };
    let outcome = run(&Config { boots: Some(4), ..config() }, &drifts);
    assert_eq!((outcome.boots, outcome.document.config.boots), (4, 4));
    let sizes = config::blocks(40, 3, 4);
    assert_eq!(sizes.len(), 5);
    let states: Vec<TargetState> = outcome.log[1..].iter().map(|(_, spec)| spec.cell.target_state).collect();
    assert_eq!(
        states,
        [TargetState::Spin, TargetState::Halt].repeat(sizes.len()),
        "the cells share each boot's machine"
    );
    for cell in &outcome.document.cells {
        let round_trip = &cell.metrics[&MetricName::RoundTrip];
        assert_eq!((round_trip.n, round_trip.min, round_trip.max), (40, 901.0, 904.0), "of all machines");
    }
    assert_valid(&outcome.document);
}

#[test]
fn where_nothing_is_said_machines_that_boot_at_once_are_booted_25_times() {
    let boots = |rounds| {
        let outcome = run(&Config { boots: None, rounds, ..config() }, WELL);
        (outcome.boots as u64, outcome.document.config.boots)
    };
    assert_eq!([500, 20, 3].map(boots), [(25, 25), (5, 5), (3, 3)]);
}

#[test]
fn the_document_has_as_many_boots_as_there_were() {
    let more_than_rounds = run(&Config { boots: Some(30), rounds: 20, ..config() }, WELL);
    assert_eq!((more_than_rounds.boots, more_than_rounds.document.config.boots), (20, 20));
    // The first call, and two blocks each of two boots.
    let fails = Cell::new(0);
    let early = run(&Config { boots: Some(5), rounds: 5, ..config() }, &|_, spec| {
        fails.set(fails.get() + 1);
        if fails.get() > 5 { Err(Error::Interrupted) } else { Ok(alike(spec)) }
    });
    assert_eq!((early.boots, early.document.config.boots), (3, 2), "the third has run no block");
}

#[test]
fn where_nothing_is_said_machines_that_boot_slowly_are_booted_less_often() {
    let (config, log) = (Config { boots: None, rounds: 500, ..config() }, Log::default());
    let (cells, refused) = config::plan(&config, HostOffers::EVERYTHING);
    let mut boots = 0;
    let boot = |MachineSpec { vcpus, .. }| {
        boots += 1;
        std::thread::sleep(Duration::from_millis(300));
        Ok(Invented { vcpus, khz: KHZ, blocks: 0, log: &log, behaviour: WELL })
    };
    let mut observer =
        Observer { progress: &mut |_, _, _| {}, samples: None, started: None, details: None, repeats: None };
    let (document, _) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    assert_eq!((boots, document.config.boots), (5, 5), "of 0.3 s, in a second; but as many as an interval needs");
    assert_eq!(document.cells[0].rounds, 500);
    assert!(document.cells[0].metrics[&MetricName::RoundTrip].ci95.p50.is_some());
}

#[test]
fn references_are_measured_in_every_turn_and_are_no_cells() {
    let memory = CellId::broadcast(Route::Memory, Destination::AllButSelf, TargetState::Spin, 2);
    let silent = CellId::broadcast(Route::XApic, Destination::AllButSelf, TargetState::Spin, 2);
    let config = Config { boots: Some(5), references: Some(vec![silent, memory]), ..config() };
    let behaviour =
        |_, spec: &BlockSpec| if spec.cell.route == Route::XApic { Err(given_up(1)) } else { Ok(alike(spec)) };
    let outcome = run(&config, &behaviour);
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let document = &outcome.document;
    assert_eq!(document.cells.len(), 2);
    let [first, second, exit] = &document.references[..] else { panic!("{:?}", document.references) };
    assert_eq!((first.cell, first.blocks.len()), (Some(silent), 0), "once given up, it is left out");
    assert_eq!(outcome.log.iter().filter(|(_, spec)| spec.cell == silent).count(), 1);
    assert_eq!(second.cell, Some(memory));
    let turns: Vec<(u32, u64, f64)> = second.blocks.iter().map(|block| (block.number, block.n, block.p50_ns)).collect();
    assert_eq!(turns, [0, 1, 2, 3, 4].map(|number| (number, 3, 900.0)));
    assert_eq!(second.blocks.iter().map(|block| block.boot).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!((exit.cell, exit.blocks.len(), exit.blocks[0].n, exit.blocks[0].p50_ns), (None, 5, 2, 200.0));
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 2 * 40, "they have no samples");
    assert_valid(document);
}

#[test]
fn each_count_of_vcpus_has_its_machine_and_its_instruments() {
    let both = vec![Observe::Guest, Observe::Exits];
    let config =
        Config { vcpus: vec![4, 2], rounds: 1, observe: both, cpus: vec![0, 1, 2, 3], pin: vec![], ..config() };
    let outcome = run(&config, WELL);
    let measured: Vec<(usize, Observe)> =
        outcome.log[2..].iter().map(|(vcpus, spec)| (*vcpus, spec.cell.observe)).collect();
    let [guest, exits] = [Observe::Guest, Observe::Exits];
    let of = |vcpus| [(vcpus, guest), (vcpus, exits)].repeat(2);
    assert_eq!(measured, [of(4), of(2)].concat());
    let instruments = &outcome.document.instruments;
    assert_eq!(instruments.iter().map(|it| it.vcpus).collect::<Vec<_>>(), [2, 4]);
    for it in instruments {
        assert_eq!((it.stamp_ns.n, it.stamp_ns.min, it.stamp_ns.p50, it.stamp_ns.max), (3, 5.0, 6.0, 7.0));
        assert_eq!((it.exit_leg_ns.n, it.exit_leg_ns.max, it.exit_round_trip_ns.max), (1, 100.0, 300.0));
        assert_eq!(it.clock.method, "made up");
        assert!(it.boot_ns.is_some_and(|ns| ns >= 3e6), "the boot and its first call: {:?}", it.boot_ns);
    }
    // Of the first machine alone: of the second, it would tell about the first as well.
    let first: Vec<Option<f64>> = instruments.iter().map(|it| it.first_broadcast_ns).collect();
    assert_eq!(first, [None, Some(8e6)]);
    let made_up = ["2 vCPUs are made up", "4 vCPUs are made up"];
    assert_eq!(outcome.document.warnings, made_up);
    assert_valid(&outcome.document);
}

#[test]
fn a_source_of_events_gets_blocks_of_its_own_and_a_ratio() {
    // With events, every round trip takes 9 more, and two events are lost in each block.
    let recorded = |_, spec: &BlockSpec| {
        let mut block = alike(spec);
        block.recording = spec.recording;
        if spec.recording.has_events() {
            block.lost = 2;
            block.rounds.iter_mut().for_each(|round| round.t2 += 9);
        }
        if spec.recording.kernel {
            let exits = ExitCount { initiator: spec.rounds as u64, targets: 0 };
            block.exits.insert((Source::Kernel, "msr".to_owned()), exits);
        }
        Ok(block)
    };
    let refused = Some("made up".to_owned());
    let trace = vec![(Source::Kernel, None), (Source::Vmm, refused), (Source::Stats, None)];
    let only_spin = vec![TargetState::Spin];
    let outcome = run(&Config { trace, target_states: only_spin, ..config() }, &recorded);
    let kinds: Vec<Recording> = outcome.log[1..].iter().map(|(_, spec)| spec.recording).collect();
    let [off, kernel, stats] = [Recording::NOTHING, Recording::by(Source::Kernel), Recording::by(Source::Stats)];
    assert_eq!(kinds[..6], [off, kernel, stats, kernel, stats, off], "each comes first in its turn");
    assert_eq!(outcome.progress.last().map(|&(done, total, _)| (done, total)), Some((kinds.len() - 1, kinds.len())));
    let cell = &outcome.document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 40, 900.0);
    let effects: Vec<(&str, Option<f64>, u64)> =
        cell.observer_effect.iter().map(|it| (it.source.name(), it.ratio, it.lost)).collect();
    let blocks = config::blocks(40, 3, 1).len() as u64;
    assert_eq!(effects, [("kernel", Some(1.01), 2 * blocks), ("vmm", None, 0), ("stats", Some(1.0), 0)]);
    let breakdown = cell.breakdown.as_ref().expect("rounds have one");
    assert_eq!(
        (breakdown.sources.as_slice(), breakdown.round_trip_ns),
        ([Source::Guest, Source::Kernel].as_slice(), 909.0)
    );
    assert_eq!(breakdown.accelerated, None, "events were lost");
    let exits: Vec<(&str, f64)> = cell.exits.iter().map(|it| (it.reason.as_str(), it.initiator)).collect();
    assert_eq!(exits, [("msr", 1.0)], "of the rounds that the kernel has seen");
    let warns = |text: &str| outcome.document.warnings.iter().any(|warning| warning.contains(text));
    assert!(warns("source vmm has recorded nothing: made up") && warns("source kernel has lost"));
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 40, "the raw samples are those of the metrics");
    assert_valid(&outcome.document);
}

#[test]
fn a_sweep_calls_from_every_vcpu_after_all_else() {
    let called = |_, spec: &BlockSpec| {
        let mut block = alike(spec);
        block.integrity.late = u64::from(spec.initiator == 1);
        for round in &mut block.rounds {
            round.initiator = Some(spec.initiator);
            let t0 = round.t0;
            for each in &mut round.participants {
                each.a = (each.vcpu != spec.initiator).then_some(t0 + 100 * (each.vcpu as u64 + 2));
            }
        }
        Ok(block)
    };
    let outcome = run(&Config { sweep: true, observe: vec![Observe::Guest, Observe::Exits], ..config() }, &called);
    let swept: Vec<(TargetState, usize, usize)> = outcome
        .log
        .iter()
        .rev()
        .take(4)
        .rev()
        .map(|(_, spec)| (spec.cell.target_state, spec.initiator, spec.rounds))
        .collect();
    let [spin, halt] = [TargetState::Spin, TargetState::Halt];
    assert_eq!(swept, [(spin, 0, 20), (halt, 0, 20), (spin, 1, 20), (halt, 1, 20)], "the cells in turn");
    for cell in &outcome.document.cells {
        let rows: Vec<(usize, u64, usize, f64)> = cell
            .by_initiator
            .iter()
            .flat_map(|row| row.targets.iter().map(|target| (row.initiator, row.rounds, target.vcpu, target.p50_ns)))
            .collect();
        let expected: &[_] =
            if cell.id.observe == Observe::Guest { &[(0, 20, 1, 300.0), (1, 20, 0, 200.0)] } else { &[] };
        assert_eq!(rows, expected);
        assert_eq!(cell.rounds, 40, "they are none of the cell's rounds");
        assert_eq!(
            cell.integrity.late,
            u64::from(cell.id.observe == Observe::Guest),
            "what went wrong counts all the same"
        );
    }
    assert_valid(&outcome.document);
}
