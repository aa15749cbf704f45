use super::*;
use crate::results::block::Block;
use crate::results::fixture;
use crate::results::measurement::Spread;
use crate::results::metric::MetricName;
use crate::results::standalone::OtherVmm;
use std::collections::BTreeMap;

/// A cell of so many boots, two blocks each, whose round trips are about so many ns.
fn cell(route: &str, state: &str, ns: f64, boots: u32) -> Cell {
    let mut cell = Cell { id: fixture::id(route, state), ..fixture::cell(state, ns) };
    let block = |number: u32| {
        let p50 = ns * (1.0 + 0.01 * f64::from(number * 7 % 5) - 0.02);
        Block {
            number,
            boot: number / 2,
            rounds: 10,
            metrics: BTreeMap::from([(MetricName::RoundTrip, Spread { n: 10, min: p50, p50, p99: p50, max: p50 })]),
            halt: None,
            host_cpu: None,
            disturbances: Vec::new(),
        }
    };
    cell.blocks = (0..2 * boots).map(block).collect();
    cell
}

fn run(cells: Vec<Cell>) -> Run {
    Run { file: "run.json".to_owned(), measurement: Measurement { cells, ..fixture::measurement() } }
}

fn metal(cells: Vec<Cell>) -> Run {
    Run { file: "metal.json".to_owned(), measurement: Measurement { cells, ..fixture::standalone() } }
}

fn under(name: &str, mut cell: Cell) -> Cell {
    cell.id.under = Under::named(name);
    cell
}

#[test]
fn single_runs_are_as_sure_as_their_boots() {
    let base = [metal(vec![cell("x2apic", "user", 2_000.0, 6)])];
    let new = [run(vec![cell("x2apic", "user", 80_000.0, 6)])];
    let found = overhead(&base, &new, &[]);
    let [row] = found.cells.as_slice() else { panic!("{found:?}") };
    assert!((row.ratio - 40.0).abs() < 1e-9 && (row.added_ns - 78_000.0).abs() < 1e-9, "{row:?}");
    let [low, high] = row.ci95.expect("six boots");
    assert!(low < 40.0 && high > 40.0 && low > 38.0 && high < 42.0, "{low} to {high}");
    assert_eq!(row.interval_of, Some(IntervalOf::Boots));
    let few = [run(vec![cell("x2apic", "user", 80_000.0, 4)])];
    let row = &overhead(&base, &few, &[]).cells[0];
    assert_eq!((row.ci95, row.interval_of), (None, None), "four boots");
    assert!(found.not_comparable.is_empty());
}

#[test]
fn several_runs_are_what_varies() {
    let base: Vec<Run> = [2_000.0, 2_040.0, 1_980.0].map(|ns| metal(vec![cell("x2apic", "user", ns, 6)])).into();
    let new = [run(vec![cell("x2apic", "user", 80_000.0, 1)])];
    let row = &overhead(&base, &new, &[]).cells[0];
    assert_eq!((row.base_ns, row.interval_of), (2_000.0, Some(IntervalOf::Runs)));
    let [low, high] = row.ci95.expect("three runs tell how the other side's differ");
    assert!(low < row.ratio && row.ratio < high);
}

#[test]
fn each_vmm_is_divided_by_the_same_base() {
    let base = [metal(vec![cell("x2apic", "user", 2_000.0, 5), cell("xapic", "user", 2_000.0, 5)])];
    let own = cell("x2apic", "user", 80_000.0, 5);
    let new = [run(vec![own.clone(), under("qemu", own.clone()), cell("memory", "spin", 9.0, 5)])];
    let found = overhead(&base, &new, &[]);
    assert_eq!(found.cells.iter().map(|row| row.id.under).collect::<Vec<_>>(), [None, Under::named("qemu")]);
    assert_eq!(found.only_in_base, [fixture::id("xapic", "user")]);
    assert_eq!(found.only_in_new, [fixture::id("memory", "spin")]);
    // As the base, kipi's own come first, then the only one; several have no order.
    let swapped = overhead(&new, &base, &[]);
    assert_eq!(swapped.cells.len(), 1);
    assert!(swapped.warnings.iter().any(|text| text.contains("under qemu divide nothing")), "{swapped:?}");
    let only = [run(vec![under("qemu", own.clone())])];
    let found = overhead(&only, &base, &[]);
    assert_eq!((found.cells.len(), found.warnings), (1, vec!["base: all of its calls ran under qemu".to_owned()]));
    let several = [run(vec![under("qemu", own.clone()), under("old", own)])];
    let found = overhead(&several, &base, &[]);
    assert!(found.cells.is_empty() && found.not_comparable[0].contains("under old, qemu"), "{found:?}");
}

/// What was measured beside, to know how the host drifts, is in the document as a cell, too.
#[test]
fn a_cell_that_nobody_has_asked_for_divides_nothing_on_either_side() {
    let asked = cell("x2apic", "user", 2_000.0, 5);
    let beside = Cell { beside: true, ..cell("x2apic", "spin", 9_000.0, 5) };
    let one = [run(vec![asked.clone(), beside])];
    let both = [metal(vec![asked, cell("x2apic", "spin", 8_000.0, 5)])];
    let found = overhead(&one, &both, &[]);
    let rows = |found: &Overhead| found.cells.iter().map(|row| row.id).collect::<Vec<_>>();
    let [user, spin] = ["user", "spin"].map(|state| fixture::id("x2apic", state));
    assert_eq!((rows(&found), found.only_in_new), (vec![user], vec![spin]));
    let found = overhead(&both, &one, &[]);
    assert_eq!((rows(&found), found.only_in_base), (vec![user], vec![spin]));
}

#[test]
fn the_processor_is_that_which_the_calls_have_seen() {
    let mut base = [metal(vec![cell("x2apic", "user", 2_000.0, 5)])];
    base[0].measurement.host.cpu = "QEMU TCG CPU".to_owned();
    let mut new = [run(vec![under("tcg", cell("x2apic", "user", 2_000.0, 5))])];
    let standalone = base[0].measurement.host.standalone.clone().expect("an imported run");
    new[0].measurement.under = vec![OtherVmm {
        name: "tcg".to_owned(),
        command: "vmm {kernel}".to_owned(),
        hypervisor: None,
        cpu: "QEMU TCG CPU".to_owned(),
        standalone,
    }];
    let cpu = |new: &[Run]| overhead(&base, new, &[]).differences.into_iter().find(|it| it.factor == "cpu");
    assert_eq!(cpu(&new), None);
    new[0].measurement.cells.push(cell("x2apic", "user", 80_000.0, 5));
    let own = new[0].measurement.host.cpu.clone();
    assert_eq!(cpu(&new).map(|it| it.new), Some(vec![own, "QEMU TCG CPU".to_owned()]), "kipi's own are there, too");
}

#[test]
fn a_side_without_a_cell_has_no_frequency_to_differ() {
    let base = [metal(vec![cell("x2apic", "user", 2_000.0, 5)])];
    let found = overhead(&base, &[run(Vec::new())], &[]);
    assert!(found.differences.iter().all(|it| it.factor != "tsc"), "{found:?}");
}

#[test]
fn other_code_is_refused_and_another_machine_is_told() {
    let base = [metal(vec![cell("x2apic", "user", 2_000.0, 5)])];
    let mut new = [run(vec![cell("x2apic", "user", 80_000.0, 5)])];
    let host = &mut new[0].measurement.host;
    (host.cpu, host.cpus) = ("another one".to_owned(), vec![0]);
    new[0].measurement.cells[0].clock.tsc_khz = 2_000_000;
    let found = overhead(&base, &new, &[]);
    let told =
        |found: &Overhead| found.differences.iter().map(|it| (it.factor.clone(), it.allowed)).collect::<Vec<_>>();
    let of = |names: &[(&str, bool)]| names.iter().map(|&(name, is)| (name.to_owned(), is)).collect::<Vec<_>>();
    assert_eq!(told(&found), of(&[("cpu", true), ("processors", true), ("tsc", true)]));
    assert_eq!((found.cells.len(), found.not_comparable.len()), (1, 0));
    new[0].measurement.config.argument = 9;
    let found = overhead(&base, &new, &[]);
    assert!(found.cells.is_empty() && found.not_comparable == ["options worker: empty 0 → empty 9"], "{found:?}");
    assert_eq!(overhead(&base, &new, &[Factor::Options]).cells.len(), 1);
    // A frequency that was measured is off by some parts in a million.
    new[0].measurement.cells[0].clock.tsc_khz = 2_600_030;
    assert!(!told(&overhead(&base, &new, &[])).contains(&("tsc".to_owned(), true)));
}

#[test]
fn what_went_wrong_and_what_is_missing_is_said() {
    let mut broken = cell("x2apic", "user", 2_000.0, 5);
    broken.integrity.lost = 1;
    let base = [metal(vec![broken])];
    let found = overhead(&base, &[run(vec![cell("xapic", "halt", 80_000.0, 5)])], &[]);
    assert_eq!(found.not_comparable, ["they have no cell in common"]);
    assert_eq!((found.only_in_base.len(), found.only_in_new.len()), (1, 1));
    assert_eq!(found.warnings, ["base: calls went wrong in 1 cell"]);
}
