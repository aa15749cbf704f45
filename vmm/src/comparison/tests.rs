//! Whole comparisons of runs that are made up.

use super::*;
use crate::results::acceleration::{Acceleration, AccelerationState, Feature};
use crate::results::block::Block;
use crate::results::comparison::OpenReason;
use crate::results::fixture;
use crate::results::histogram::Histogram;
use crate::results::measurement::{Cell, Spread};
use crate::results::metric::MetricName;
use crate::results::source::Source;
use guest_stub::abi::TargetState;
use guest_stub::abi::cell::{CellId, Route};
use guest_stub::random::SplitMix64;
use proptest::prelude::*;

mod differences;
mod disturbed;
mod findings;
mod gates;
mod kinds;
mod sandboxes;
mod topology;

/// The cells of each run, and their times, ns.
const CELLS: [(&str, &str, f64); 5] = [
    ("xapic", "halt", 60_000.0),
    ("x2apic", "halt", 62_000.0),
    ("xapic", "user", 73_000.0),
    ("x2apic", "user", 74_000.0),
    ("memory", "spin", 71_000.0),
];

/// Uniform in −1 to 1.
fn noise(random: &mut SplitMix64) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn cell(route: &str, state: &str, round_trip: f64) -> Cell {
    Cell { id: fixture::id(route, state), ..fixture::cell("spin", round_trip) }
}

/// Runs whose host is up to 10 % slower or faster, each cell up to 2 % more.
fn runs(count: usize, seed: u64) -> Vec<Run> {
    let mut random = SplitMix64(seed);
    let run = |number: usize| {
        let host = 1.0 + 0.1 * noise(&mut random);
        let mut measurement = fixture::measurement();
        measurement.started = Some(1e9 + number as f64);
        measurement.skipped.clear();
        let time = |ns: f64, random: &mut SplitMix64| ns * host * (1.0 + 0.02 * noise(random));
        measurement.cells = CELLS.iter().map(|&(route, state, ns)| cell(route, state, time(ns, &mut random))).collect();
        Run { file: format!("run-{number:02}.json"), measurement }
    };
    (0..count).map(run).collect()
}

/// A change of each run.
fn change(runs: &mut [Run], mut change: impl FnMut(&mut Measurement)) {
    for run in runs {
        change(&mut run.measurement);
    }
}

/// Grows a cell's time.
fn grow(runs: &mut [Run], route: &str, state: &str, factor: f64) {
    let id = fixture::id(route, state);
    change(runs, |measurement| {
        for cell in measurement.cells.iter_mut().filter(|cell| cell.id == id) {
            cell.metrics
                .insert(MetricName::RoundTrip, fixture::metric(factor * cell.metrics[&MetricName::RoundTrip].p50));
        }
    });
}

fn compared(base: &[Run], new: &[Run]) -> Comparison {
    compare(base, new, &Rules::default())
}

fn row<'a>(comparison: &'a Comparison, route: &str, state: &str) -> &'a Row {
    let id = fixture::id(route, state);
    comparison.cells.iter().chain(&comparison.references).find(|row| row.id == id).expect("a row")
}

#[test]
fn each_cell_is_divided_by_another_routes_of_its_state() {
    let comparison = compared(&runs(3, 1), &runs(3, 2));
    let names = |rows: &[Row]| -> Vec<(String, Option<String>)> {
        let name = |id: CellId| format!("{} {}", id.route.name(), id.target_state.name());
        rows.iter().map(|row| (name(row.id), row.reference.map(name))).collect()
    };
    let pair = |cell: &str, reference: Option<&str>| (cell.to_owned(), reference.map(str::to_owned));
    assert_eq!(
        names(&comparison.cells),
        [pair("x2apic halt", Some("xapic halt")), pair("x2apic user", Some("xapic user"))]
    );
    assert_eq!(
        names(&comparison.references),
        [pair("xapic halt", Some("memory spin")), pair("xapic user", Some("memory spin")), pair("memory spin", None)]
    );
}

#[test]
fn a_cell_alone_in_its_state_is_divided_by_the_memory_route() {
    let [mut base, mut new] = [runs(3, 1), runs(3, 2)];
    for side in [&mut base, &mut new] {
        change(side, |it| {
            it.cells.retain(|cell| cell.id.route != Route::XApic || cell.id.target_state == TargetState::User);
        });
    }
    let comparison = compared(&base, &new);
    assert_eq!(row(&comparison, "x2apic", "halt").reference, Some(fixture::id("memory", "spin")));
}

/// Calls that nobody asked for, without a virtual machine, drift by themselves.
#[test]
fn a_native_cell_beside_divides_only_where_nothing_else_does() {
    let native = || Cell { beside: true, ..cell("native-futex", "halt", 15_000.0) };
    let divided_by = |keep: &[Route]| {
        let sides = [runs(3, 1), runs(3, 2)].map(|mut side| {
            change(&mut side, |it| {
                it.cells.retain(|cell| keep.contains(&cell.id.route));
                it.cells.push(native());
            });
            side
        });
        row(&compared(&sides[0], &sides[1]), "x2apic", "halt").reference
    };
    assert_eq!(divided_by(&[Route::X2Apic, Route::Memory]), Some(fixture::id("memory", "spin")));
    assert_eq!(divided_by(&[Route::X2Apic]), Some(fixture::id("native-futex", "halt")));
}

#[test]
fn a_reference_is_chosen_for_all_cells() {
    let rules = Rules { reference: Some((Route::Memory, TargetState::Spin)), ..Rules::default() };
    let comparison = compare(&runs(3, 1), &runs(3, 2), &rules);
    assert_eq!(comparison.cells.len(), 4);
    assert!(comparison.cells.iter().all(|row| row.reference == Some(fixture::id("memory", "spin"))));
    assert_eq!(comparison.references.len(), 1);
}

#[test]
fn nothing_changed() {
    let comparison = compared(&runs(10, 3), &runs(10, 4));
    assert_eq!(comparison.verdict, Overall::NothingWorse, "{comparison:#?}");
    assert!(comparison.cells.iter().all(|row| row.verdict == Verdict::Same));
    assert_eq!((comparison.undecided, comparison.base.runs, comparison.base.hosts.len()), (0, 10, 1));
}

#[test]
fn a_cell_that_got_slower_is_told_from_a_host_that_did() {
    let [base, mut new] = [runs(10, 5), runs(10, 6)];
    for (route, state, _) in CELLS {
        grow(&mut new, route, state, 1.04);
    }
    grow(&mut new, "x2apic", "halt", 1.05);
    let comparison = compared(&base, &new);
    let halt = row(&comparison, "x2apic", "halt");
    assert_eq!((halt.verdict, comparison.verdict), (Verdict::Slower, Overall::Worse));
    let divided = halt.divided.unwrap().estimate;
    assert!((divided - 0.05).abs() < 0.02 && halt.raw.estimate > 0.05, "{halt:?}");
    assert_eq!(row(&comparison, "x2apic", "user").verdict, Verdict::Same);
}

#[test]
fn a_cell_that_got_faster_is_nothing_worse() {
    let [base, mut new] = [runs(10, 5), runs(10, 6)];
    grow(&mut new, "x2apic", "halt", 0.9);
    let comparison = compared(&base, &new);
    assert_eq!(
        (row(&comparison, "x2apic", "halt").verdict, comparison.verdict),
        (Verdict::Faster, Overall::NothingWorse)
    );
}

#[test]
fn a_reference_that_moved_is_worse_itself_and_no_excuse_for_its_cells() {
    let [base, mut new] = [runs(10, 7), runs(10, 8)];
    grow(&mut new, "xapic", "halt", 1.3);
    let comparison = compared(&base, &new);
    assert_eq!((row(&comparison, "xapic", "halt").verdict, comparison.verdict), (Verdict::Slower, Overall::Worse));
    let halt = row(&comparison, "x2apic", "halt");
    assert_eq!(halt.verdict, Verdict::Undecided);
    assert_eq!(halt.open.as_ref().map(|open| open.reason), Some(OpenReason::ReferenceMoved));
}

#[test]
fn a_reference_that_may_have_got_slower_makes_no_cell_faster() {
    let [base, mut new] = [runs(10, 7), runs(10, 8)];
    grow(&mut new, "xapic", "halt", 1.06);
    let comparison = compared(&base, &new);
    let halt = row(&comparison, "x2apic", "halt");
    assert!(halt.judged().interval.is_some_and(|[_, high]| high < 0.0), "{halt:?}");
    assert_eq!(halt.open.as_ref().map(|open| open.reason), Some(OpenReason::ReferenceMoved));
    assert_eq!(comparison.verdict, Overall::Undecided, "{comparison:#?}");
}

#[test]
fn few_runs_leave_it_open_and_say_how_many_more_it_takes() {
    let comparison = compared(&runs(3, 9), &runs(3, 10));
    assert_eq!(comparison.verdict, Overall::Undecided, "{comparison:#?}");
    let open = row(&comparison, "x2apic", "halt").open.clone().expect("undecided");
    assert_eq!(open.reason, OpenReason::TooWide);
    assert!((1..20).contains(&open.more_runs.unwrap()), "{open:?}");
    let one = compared(&runs(1, 9), &runs(1, 10));
    let open = row(&one, "x2apic", "halt").open.clone().expect("undecided");
    assert_eq!((open.reason, open.more_runs), (OpenReason::FewRuns, Some(2)));
    assert_eq!(row(&one, "x2apic", "halt").judged().interval, None);
}

#[test]
fn a_drift_within_runs_is_divided_out_turn_by_turn() {
    let [mut base, mut new] = [runs(4, 11), runs(4, 12)];
    let mut random = SplitMix64(13);
    for side in [&mut base, &mut new] {
        change(side, |measurement| {
            let slow: Vec<f64> = (0..50).map(|_| 1.0 + 0.5 * noise(&mut random)).collect();
            for cell in &mut measurement.cells {
                let p50 = cell.metrics[&MetricName::RoundTrip].p50;
                let of = |p50: f64| Spread { n: 10, min: 0.5 * p50, p50, p99: 2.0 * p50, max: 4.0 * p50 };
                let block = |(number, slow): (u32, &f64)| Block {
                    number,
                    boot: number / 5,
                    rounds: 10,
                    metrics: BTreeMap::from([(MetricName::RoundTrip, of(p50 * slow))]),
                    halt: None,
                    host_cpu: None,
                    disturbances: Vec::new(),
                };
                cell.blocks = (0..).zip(&slow).map(block).collect();
                // What the run's own median says is far off.
                let median = fixture::metric(p50 * (1.0 + 0.2 * noise(&mut random)));
                cell.metrics.insert(MetricName::RoundTrip, median);
            }
        });
    }
    let comparison = compared(&base, &new);
    assert!(row(&comparison, "x2apic", "halt").spread.unwrap() < 0.03, "{comparison:#?}");
}

#[test]
fn runs_that_are_on_both_sides_are_noticed() {
    let base = runs(3, 1);
    let comparison = compared(&base, &[&base[1..2], &runs(2, 2)].concat());
    assert!(comparison.warnings.iter().any(|it| it.starts_with("1 of 3 new runs")), "{:?}", comparison.warnings);
    assert_eq!(compared(&base, &runs(3, 2)).warnings, [""; 0]);
}

#[test]
fn sides_without_a_common_cell_have_no_times_to_compare() {
    let [mut base, mut new] = [runs(2, 1), runs(2, 2)];
    change(&mut base, |it| it.cells.retain(|cell| cell.id.route == Route::XApic));
    change(&mut new, |it| it.cells.retain(|cell| cell.id.route == Route::X2Apic));
    let comparison = compared(&base, &new);
    assert!(comparison.cells.is_empty() && comparison.references.is_empty());
    assert!(comparison.warnings[0].contains("no cell in common"), "{:?}", comparison.warnings);
    assert_eq!(comparison.verdict, Overall::NotComparable, "the base's cells were not asked for");
    assert!(comparison.why_not_comparable()[0].contains("cells: xapic, "), "{:?}", comparison.differences);
}

#[test]
fn one_run_against_many_decides_nothing() {
    let [base, mut new] = [runs(10, 21), runs(2, 22)];
    grow(&mut new, "x2apic", "halt", 3.0);
    for comparison in [compared(&base, &new), compared(&new, &base)] {
        assert!(comparison.cells.iter().all(|row| row.verdict == Verdict::Undecided), "{comparison:#?}");
        assert!(comparison.verdict == Overall::Undecided && comparison.undecided == 2, "{comparison:#?}");
    }
}

#[test]
fn a_host_that_got_slower_is_no_reference_that_did() {
    let [base, mut new] = [runs(10, 23), runs(10, 24)];
    for (route, state, _) in CELLS {
        grow(&mut new, route, state, 1.5);
    }
    let comparison = compared(&base, &new);
    let memory = row(&comparison, "memory", "spin");
    assert_eq!(memory.open.as_ref().map(|open| open.reason), Some(OpenReason::Undivided), "{memory:?}");
    assert_eq!((comparison.verdict, comparison.undecided), (Overall::NothingWorse, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_documents_make_it_panic(
        sizes in (1..4_usize, 1..4_usize), seed in any::<u64>(), factors in prop::collection::vec(1e-12..1e12_f64, CELLS.len()), missing in 0..CELLS.len(),
    ) {
        let [mut base, mut new] = [runs(sizes.0, seed), runs(sizes.1, seed.wrapping_add(1))];
        for ((route, state, _), factor) in CELLS.into_iter().zip(factors) {
            grow(&mut new, route, state, factor);
        }
        base[0].measurement.cells.remove(missing);
        let comparison = compared(&base, &new);
        prop_assert_eq!(comparison.cells.len() + comparison.references.len() > 0, true);
    }
}
