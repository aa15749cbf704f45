//! Calls that go wrong, and machines that fail: what was measured is kept.

use crate::invented::{WELL, alike, assert_valid, cell_of, config, disturbed, given_up, run, run_where_some_fail};
use guest_stub::abi::{Destination, TargetState};
use kipi::config::routes::Route;
use kipi::config::{self, CellId, Config, MachineSpec};
use kipi::experiment::{self, machine};
use kipi::guest::blocks::BlockSpec;
use kipi::guest::session::Error;
use kipi::native;
use kipi::results::integrity::Integrity;
use kipi_tests::test;
use std::cell::Cell;

#[test]
fn an_error_in_the_middle_leaves_what_was_measured() {
    // The fourth block of the run is the second of the spinning cell.
    let fails = |number, spec: &BlockSpec| {
        if number == 3 { Err(Error::BadReport("made up".to_owned())) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails);
    assert!(matches!(outcome.error, Some(experiment::Error::Machine(machine::Error::Virtual(Error::BadReport(_))))));
    let document = &outcome.document;
    assert!(document.partial && document.error.as_deref().is_some_and(|error| error.contains("made up")));
    let rounds: Vec<(u64, u64)> = document.cells.iter().map(|cell| (cell.rounds, cell.rounds_asked)).collect();
    let block = config::blocks(40, 3, 1)[0];
    assert_eq!(rounds, [(block as u64, 40); 2], "one block each");
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 2 * block, "two cells, two participants");
    assert_valid(document);
}

#[test]
fn an_error_in_the_first_block_leaves_the_other_cells_out() {
    let fails = |number, spec: &BlockSpec| if number == 2 { Err(Error::Interrupted) } else { Ok(alike(spec)) };
    let outcome = run(&config(), &fails);
    assert!(matches!(outcome.error, Some(experiment::Error::Machine(machine::Error::Virtual(Error::Interrupted)))));
    assert_eq!(outcome.document.cells.len(), 1, "the halted targets have no block");
    assert_eq!((outcome.document.partial, outcome.document.error.as_deref()), (true, Some("interrupted")));
    assert_valid(&outcome.document);
}

#[test]
fn a_machine_that_does_not_come_up_leaves_an_empty_document() {
    let outcome = run(&config(), &|_, _| Err(Error::BadReport("made up".to_owned())));
    assert!(outcome.error.is_some() && outcome.document.partial);
    assert!(outcome.document.cells.is_empty() && outcome.document.instruments.is_empty());
    assert_valid(&outcome.document);
}

/// A guest's cell, and the native one that it is divided by.
fn divided(beside: bool) -> Config {
    let target_states = vec![TargetState::User];
    let routes = vec![Route::X2Apic, Route::NativeRseq];
    let divisor = CellId::broadcast(Route::NativeRseq, Destination::AllButSelf, TargetState::User, 2);
    Config { target_states, routes, beside: if beside { vec![divisor] } else { Vec::new() }, ..config() }
}

#[test]
fn a_native_cell_that_nobody_asked_for_ends_no_run() {
    let error = |error: fn() -> native::Error| {
        move |spec: MachineSpec| spec.local_apics.map_or_else(|| Err(error().into()), |_| Ok(()))
    };
    let alone = error(|| native::Error::Alone);
    let outcome = run_where_some_fail(&divided(true), WELL, &alone);
    assert!(outcome.error.is_none() && !outcome.document.partial, "{:?}", outcome.error);
    let [guest] = outcome.document.cells.as_slice() else { panic!("the guest's alone") };
    assert_eq!((guest.id.route, guest.rounds), (Route::X2Apic, 40));
    let [undivided] = outcome.document.undivided.as_slice() else { panic!("it says why") };
    assert_eq!(undivided.reason, "native-rseq failed: a thread alone interrupts nobody");
    assert_valid(&outcome.document);
    let asked = run_where_some_fail(&divided(false), WELL, &alone);
    let is_alone = |error| matches!(error, experiment::Error::Machine(machine::Error::Native(native::Error::Alone)));
    assert!(asked.error.is_some_and(is_alone), "somebody has asked for it");
    let stopped = run_where_some_fail(&divided(true), WELL, &error(|| native::Error::Interrupted));
    assert!(stopped.error.is_some() && stopped.document.partial, "the user wants to stop");
}

#[test]
fn what_disturbs_a_native_cell_that_nobody_asked_for_does_not_disturb_the_run() {
    let natively = |spec: &BlockSpec| spec.cell.route == Route::NativeRseq;
    let loud = |_, spec: &BlockSpec| Ok(if natively(spec) { disturbed(spec) } else { alike(spec) });
    let quiet = |beside| run(&divided(beside), &loud).document.quiet.expect("somebody has looked");
    assert_eq!((quiet(true).disturbed, quiet(true).never_quiet), (0, vec![]));
    assert!(quiet(false).disturbed > 0 && quiet(false).never_quiet.len() == 1, "somebody has asked for it");
}

#[test]
fn what_went_wrong_is_summed_over_the_blocks() {
    let wrong = |number: usize, spec: &BlockSpec| {
        let mut block = alike(spec);
        // Rounds that do not count are none of the rounds that do.
        block.rounds.pop();
        block.not_in_state = 1;
        block.integrity = Integrity { lost: 1, duplicate: 2, late: 3, timed_out: number as u64 };
        Ok(block)
    };
    let only_spin = vec![TargetState::Spin];
    let outcome = run(&Config { target_states: only_spin, ..config() }, &wrong);
    assert!(outcome.error.is_none(), "what a call did wrong does not end the run");
    let cell = &outcome.document.cells[0];
    // The first call after the boot is number 0, and counts nowhere.
    let n = config::blocks(40, 3, 1).len() as u64;
    let expected = Integrity { lost: n, duplicate: 2 * n, late: 3 * n, timed_out: (1..=n).sum() };
    assert_eq!((cell.integrity, cell.rounds, cell.not_in_state), (expected, 40 - n, n));
    let (warnings, text) = (&outcome.document.warnings, format!("{n} rounds of x2apic all-but-self spin, 2 vCPUs"));
    assert!(warnings.iter().any(|it| it.contains(&text)), "{warnings:?}");
    assert_valid(&outcome.document);
}

#[test]
fn a_call_that_is_given_up_is_counted_and_the_next_block_has_a_fresh_machine() {
    let halted = Cell::new(0);
    let fails_once = |_, spec: &BlockSpec| {
        let is_halted = spec.cell.target_state == TargetState::Halt;
        halted.set(halted.get() + usize::from(is_halted));
        if is_halted && halted.get() == 2 { Err(given_up(2)) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails_once);
    assert!(outcome.error.is_none() && !outcome.document.partial, "{:?}", outcome.error);
    assert_eq!(outcome.boots, 2);
    let spin = cell_of(&outcome.document, TargetState::Spin);
    assert_eq!((spin.rounds, spin.integrity), (40, Integrity::default()), "bad luck of another cell");
    let halt = cell_of(&outcome.document, TargetState::Halt);
    let cut = 2;
    let left_out = (config::blocks(40, 3, 1)[1] - cut) as u64;
    assert_eq!((halt.rounds, halt.integrity.timed_out), (40 - left_out, 1), "the rounds before it are kept");
    assert_eq!(outcome.csv.lines().count() as u64, 1 + 2 * (40 + 40 - left_out));
    let [first, ..] = &outcome.document.warnings[..] else { panic!("no warning") };
    assert!(
        first.starts_with("x2apic, all-but-self, halt, 2 vCPUs, guest: a call was given up: broadcasting: round 2"),
        "{first}"
    );
    assert!(first.contains("never arrived: vCPU 1"), "{first}");
    assert_valid(&outcome.document);
}

#[test]
fn a_cell_whose_calls_time_out_again_and_again_is_given_up() {
    let fails = |_, spec: &BlockSpec| {
        if spec.cell.target_state == TargetState::Halt { Err(given_up(0)) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails);
    assert!(outcome.error.is_none() && !outcome.document.partial, "{:?}", outcome.error);
    let halted = outcome.log.iter().filter(|(_, spec)| spec.cell.target_state == TargetState::Halt).count();
    assert_eq!((halted, outcome.boots), (3, 4), "each on a fresh machine");
    let halt = cell_of(&outcome.document, TargetState::Halt);
    assert_eq!((halt.rounds, halt.integrity.timed_out, halt.metrics.len()), (0, 3, 0));
    assert_eq!(cell_of(&outcome.document, TargetState::Spin).rounds, 40);
    let [first, ..] = &outcome.document.warnings[..] else { panic!("no warning") };
    assert!(first.contains("3 calls were given up, and no more made; the first: broadcasting: round 0"), "{first}");
    let (done, total, _) = outcome.progress.last().expect("blocks were run");
    assert_eq!(done + 1, *total, "the blocks that are left out count as done");
    assert_valid(&outcome.document);
}

#[test]
fn a_first_call_that_is_given_up_leaves_the_machine_to_the_next_cell() {
    let calls = Cell::new(0);
    let fails = |_, spec: &BlockSpec| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 { Err(given_up(0)) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails);
    assert!(outcome.error.is_none() && !outcome.document.partial, "{:?}", outcome.error);
    assert_eq!(outcome.boots, 2);
    assert_eq!(outcome.document.instruments.len(), 1);
    let spin = cell_of(&outcome.document, TargetState::Spin);
    assert_eq!((spin.rounds, spin.integrity.timed_out), (40, 1), "what went wrong counts all the same");
    assert_eq!(outcome.log[1].1.cell.target_state, TargetState::Halt, "the next cell's first call");
    let none = run(&config(), &|_, _| Err(given_up(0))).document;
    assert_eq!(none.cells.iter().map(|cell| cell.integrity.timed_out).sum::<u64>(), 6);
    assert!(!none.partial && none.instruments.len() == 1);
    assert_valid(&none);
}
