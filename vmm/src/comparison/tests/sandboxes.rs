//! The sandboxes that runs had.

use super::*;
use crate::comparison::{paired, side};
use crate::report::comparison::{Format, render, render_prometheus};
use crate::results::sandbox::{Sandbox, State};

fn of(state: State) -> Sandbox {
    let missing = if state == State::Partly { vec!["Landlock: the kernel has none".to_owned()] } else { Vec::new() };
    Sandbox { state, missing, ..Sandbox::off() }
}

/// Sides whose runs had these.
fn sides(base: &[Option<State>], new: &[Option<State>]) -> [Vec<Run>; 2] {
    let of_side = |states: &[Option<State>], seed| {
        let mut runs = runs(states.len(), seed);
        for (run, state) in runs.iter_mut().zip(states) {
            run.measurement.sandbox = state.map(of);
        }
        runs
    };
    [of_side(base, 1), of_side(new, 2)]
}

fn told(base: &[Run], new: &[Run]) -> Vec<(String, bool)> {
    compared(base, new).differences.iter().map(|it| (it.to_string(), it.allowed)).collect()
}

const ON: Option<State> = Some(State::On);
const OFF: Option<State> = Some(State::Off);
const PARTLY: Option<State> = Some(State::Partly);

#[test]
fn each_side_says_what_its_runs_had() {
    let [base, new] = sides(&[ON, OFF, ON, PARTLY], &[None, OFF, None]);
    let entries = |runs: &[Run]| -> Vec<(State, usize, u64)> {
        side(runs).sandboxes.iter().map(|it| (it.state, it.missing.len(), it.runs)).collect()
    };
    assert_eq!(entries(&base), [(State::On, 0, 2), (State::Partly, 1, 1), (State::Off, 0, 1)]);
    assert_eq!(entries(&new), [(State::Off, 0, 1)], "a document of before says nothing");
    let warning = |runs: &[Run]| side(runs).sandbox_warning("run");
    let of_base = "sandbox: in part, without Landlock: the kernel has none in 1 of 4 runs; NO SANDBOX (--no-sandbox) in 1 of 4 runs";
    assert_eq!(warning(&base).as_deref(), Some(of_base));
    assert_eq!(warning(&new[1..2]).as_deref(), Some("NO SANDBOX (--no-sandbox)"));
    assert_eq!(warning(&base[..1]), None);
    assert_eq!(warning(&new[..1]), None);
}

#[test]
fn sides_that_differ_in_it_are_told_and_compared() {
    let [base, new] = sides(&[ON; 5], &[OFF; 5]);
    assert_eq!(told(&base, &new), [("sandbox: on → off".to_owned(), true)]);
    assert_ne!(compared(&base, &new).verdict, Overall::NotComparable);
    let [base, new] = sides(&[ON, PARTLY], &[ON, ON]);
    let partly = "sandbox: on | partly, without Landlock: the kernel has none → on";
    assert_eq!(told(&base, &new), [(partly.to_owned(), true)]);
    let [base, new] = sides(&[ON, OFF], &[ON, OFF, OFF]);
    let shares = "sandbox: off (1 of 2) | on (1 of 2) → off (2 of 3) | on (1 of 3)";
    assert_eq!(told(&base, &new), [(shares.to_owned(), true)]);
    for [base, new] in [sides(&[ON; 2], &[ON; 3]), sides(&[OFF; 2], &[OFF; 2]), sides(&[None; 2], &[OFF; 2])] {
        assert_eq!(told(&base, &new), []);
    }
    let found = overhead::overhead(&sides(&[ON], &[])[0], &sides(&[OFF], &[])[0], &[]);
    assert!(found.differences.iter().any(|it| it.factor == "sandbox" && it.allowed), "{found:?}");
}

#[test]
fn every_format_with_a_place_for_hosts_says_that_there_was_none() {
    const NONE: &str = "NO SANDBOX";
    // As code, its punctuation is that of HTML.
    let has = |text: &str, format| text.contains(NONE) || panic!("{format:?}: {text}");
    let [base, new] = sides(&[OFF; 4], &[OFF; 4]);
    let setting = compared(&base, &sides(&[ON; 4], &[])[0]).differences.remove(0);
    let both = [compared(&base, &new), paired::compare(&base, &new, setting, 0.02, 1)];
    let of_on = sides(&[ON; 4], &[ON; 4]);
    let without = compared(&of_on[0], &of_on[1]);
    let before = sides(&[None; 4], &[None; 4]);
    for format in [Format::Text, Format::Markdown, Format::Junit, Format::Tap] {
        for comparison in &both {
            assert!(has(&render(comparison, format, 200).unwrap(), format));
        }
        let on = render(&without, format, 200).unwrap();
        assert!(!on.to_lowercase().contains("sandbox"), "{on}");
        assert_eq!(on, render(&compared(&before[0], &before[1]), format, 200).unwrap(), "nothing is said of it");
    }
    let json = render(&both[0], Format::Json, 200).unwrap();
    assert!(json.contains("\"state\": \"off\""), "{json}");
    let gauges = render_prometheus(&both[0]).unwrap();
    let is_told = |line: &str| {
        ["kipi_compare_sandbox_runs{", "side=\"base\"", "sandbox=\"off\"", "} 4"].iter().all(|it| line.contains(it))
    };
    assert!(gauges.lines().any(is_told), "{gauges}");
}
