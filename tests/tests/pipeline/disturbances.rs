//! Blocks that something disturbed: measured again, left out, or marked.

use crate::invented::{alike, assert_constant, assert_valid, config, disturbed, run};
use guest_stub::abi::{Destination, TargetState};
use kipi::config::routes::Route;
use kipi::config::{CellId, Config};
use kipi::events::samples::Block;
use kipi::guest::blocks::BlockSpec;
use kipi::results::disturbance::Kind;
use kipi::results::metric::MetricName;
use kipi::results::quiet::Verdict;
use kipi::results::source::Source;
use kipi_tests::test;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn quiet_blocks_of_few_boots_are_too_few() {
    // Two blocks a boot; those of all boots but the first are disturbed, whenever they are measured.
    let config = Config { target_states: vec![TargetState::Halt], boots: Some(5), rounds: 100, ..config() };
    let boot = Cell::new(0);
    let outcome = run(&config, &|number, spec| {
        boot.set(boot.get() + u32::from(number == 0));
        Ok(if boot.get() > 4 { disturbed(spec) } else { alike(spec) })
    });
    let cell = &outcome.document.cells[0];
    let quiet = cell.blocks.iter().filter(|block| block.disturbances.is_empty()).count();
    assert!(quiet >= 5 && cell.never_quiet, "{quiet} of four boots, and an interval needs five");
    assert!(cell.metrics[&MetricName::RoundTrip].ci95.p50.is_some(), "of all of its blocks");
}

#[test]
fn a_disturbed_reference_is_marked() {
    let memory = CellId::broadcast(Route::Memory, Destination::AllButSelf, TargetState::Spin, 2);
    let config = Config { boots: Some(5), references: Some(vec![memory]), ..config() };
    let outcome = run(&config, &|_, spec| Ok(if spec.cell == memory { disturbed(spec) } else { alike(spec) }));
    let [reference, exits] = &outcome.document.references[..] else { panic!("{:?}", outcome.document.references) };
    assert!(reference.blocks.iter().all(|block| block.disturbances.len() == 1));
    assert!(exits.blocks.iter().all(|block| block.disturbances.is_empty()), "nobody watches them");
    assert_valid(&outcome.document);
}

#[test]
fn disturbed_blocks_are_measured_again_and_left_out() {
    let blocks = Cell::new(0);
    let config = Config { target_states: vec![TargetState::Halt], ..config() };
    // After the first call: the second block, and what is measured in its place.
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        Ok(if [3, 7].contains(&blocks.get()) { disturbed(spec) } else { alike(spec) })
    });
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let document = &outcome.document;
    assert_valid(document);
    let cell = &document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 40, 900.0);
    assert_eq!((cell.rounds, cell.blocks.len(), cell.never_quiet), (40, 7, false));
    let is_disturbed: Vec<bool> = cell.blocks.iter().map(|block| !block.disturbances.is_empty()).collect();
    assert_eq!(is_disturbed, [false, true, false, false, false, true, false]);
    let quiet = document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, quiet.blocks, quiet.disturbed), (Verdict::DisturbedBlocksLeftOut, 7, 2));
    assert_eq!((&quiet.unknown, quiet.causes[0].blocks), (&[Kind::Steal].into(), 2));
    assert_eq!(outcome.boots, 3, "each repetition has a fresh machine");
    // Both participants of 8 rounds, in both blocks.
    assert_eq!(outcome.csv.lines().filter(|line| line.ends_with(",true,spin,")).count(), 2 * 8 * 2);
    assert_eq!(outcome.csv.lines().filter(|line| line.ends_with(",false,spin,")).count(), 2 * 8 * 5);
}

#[test]
fn a_cell_that_is_never_quiet_has_all_its_blocks_marked() {
    let config = Config { target_states: vec![TargetState::Halt], ..config() };
    let outcome = run(&config, &|_, spec| Ok(disturbed(spec)));
    let cell = &outcome.document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 80, 9_000.0);
    assert_eq!((cell.blocks.len(), cell.never_quiet), (10, true), "as many again as there are blocks");
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, &quiet.never_quiet), (Verdict::NeverQuiet, &vec![cell.id]));
}

/// A machine that others use all the time: its blocks take 30 ms, and their rounds are 10 µs apart.
fn busy(spec: &BlockSpec) -> Block {
    std::thread::sleep(Duration::from_millis(30));
    disturbed(spec)
}

#[test]
fn a_run_that_others_disturb_takes_no_longer_than_it_may() {
    let config =
        Config { rounds: 1_000, boots: Some(25), limit_time: true, target_states: vec![TargetState::Halt], ..config() };
    let start = std::time::Instant::now();
    let outcome = run(&config, &|_, spec| Ok(busy(spec)));
    // The blocks, and as many that are measured again, each for a second, and as long as one block takes.
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    let cell = &outcome.document.cells[0];
    let numbers: BTreeSet<u32> = cell.blocks.iter().map(|block| block.number).collect();
    let again = cell.blocks.len() - numbers.len();
    assert!(numbers.len() < 40 && (1..40).contains(&again) && cell.never_quiet, "{numbers:?}, {again} again");
    assert!(cell.rounds_asked == 1_000 && !outcome.document.partial);
    let warning = format!("after {} of 50 blocks of each cell", numbers.len());
    assert!(outcome.document.warnings[0].contains(&warning), "{:?}", outcome.document.warnings);
    assert_valid(&outcome.document);
}

#[test]
fn blocks_with_events_are_replaced_in_their_pair() {
    let trace = vec![(Source::Vmm, None)];
    let config = Config { target_states: vec![TargetState::Halt], trace, boots: Some(5), ..config() };
    let blocks = Cell::new(0);
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        let is_disturbed = spec.recording.has_events() && blocks.get() < 6;
        Ok(if is_disturbed { disturbed(spec) } else { alike(spec) })
    });
    let cell = &outcome.document.cells[0];
    let effect = &cell.observer_effect[0];
    assert_eq!((effect.ratio, effect.on_ns), (Some(1.0), Some(900.0)), "{effect:?}");
    assert!(effect.ci95.is_some(), "each block has its pair");
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, effect.never_quiet), (Verdict::DisturbedBlocksLeftOut, false));
    assert!(quiet.disturbed > 0 && effect.disturbances.iter().any(|of_block| !of_block.is_empty()), "{quiet:?}");
}

#[test]
fn disturbed_blocks_with_events_are_known_to_the_verdict() {
    let trace = vec![(Source::Vmm, None)];
    let config = Config { target_states: vec![TargetState::Halt], trace, ..config() };
    let outcome = run(&config, &|_, spec| Ok(if spec.recording.has_events() { disturbed(spec) } else { alike(spec) }));
    assert_valid(&outcome.document);
    let cell = &outcome.document.cells[0];
    assert!(!cell.never_quiet && cell.observer_effect[0].never_quiet && cell.uses_disturbed_blocks());
    assert!(cell.observer_effect[0].disturbances.iter().all(|of_block| !of_block.is_empty()));
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, &quiet.never_quiet), (Verdict::NeverQuiet, &vec![cell.id]));
}

#[test]
fn a_disturbed_initiator_is_known_to_the_verdict() {
    let config = Config { target_states: vec![TargetState::Halt], sweep: true, ..config() };
    let outcome = run(&config, &|_, spec| Ok(if spec.initiator == 1 { disturbed(spec) } else { alike(spec) }));
    assert_valid(&outcome.document);
    let cell = &outcome.document.cells[0];
    let is_disturbed = |initiator| {
        let mut from = cell.by_initiator.iter().filter(|from| from.initiator == initiator);
        from.next().map(|from| !from.disturbances.is_empty())
    };
    assert_eq!((cell.never_quiet, is_disturbed(0), is_disturbed(1)), (false, Some(false), Some(true)));
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, &quiet.never_quiet), (Verdict::NeverQuiet, &vec![cell.id]));
}
