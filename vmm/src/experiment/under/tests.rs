use super::*;
use crate::results::block::Block;
use crate::results::fixture;
use crate::results::measurement::Spread;
use guest_stub::abi::cell::Under;

/// A cell with a block a boot, whose round trips have these medians.
fn cell(under: Option<&str>, route: &str, state: &str, medians: &[f64]) -> Cell {
    let mut sorted = medians.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut cell = fixture::cell(state, sorted[(sorted.len() - 1) / 2]);
    cell.id = CellId { under: under.map(|name| Under::named(name).expect("a name")), ..fixture::id(route, state) };
    cell.blocks = (0..)
        .zip(medians)
        .map(|(boot, &p50)| Block {
            number: 3 * boot,
            boot,
            rounds: 10,
            metrics: BTreeMap::from([(MetricName::RoundTrip, Spread { n: 10, min: p50, p50, p99: p50, max: p50 })]),
            halt: None,
            host_cpu: None,
            disturbances: Vec::new(),
        })
        .collect();
    cell
}

fn divided(cells: Vec<Cell>) -> Measurement {
    let mut measurement = Measurement { cells, ..fixture::measurement() };
    divide(&mut measurement);
    measurement
}

const DRIFTING: [f64; 6] = [100.0, 140.0, 105.0, 130.0, 98.0, 120.0];

#[test]
fn a_cell_under_another_vmm_is_divided_by_kipis_own_and_by_native_ones() {
    let twice = DRIFTING.map(|time| 2.0 * time);
    let measurement = divided(vec![
        cell(None, "x2apic", "user", &DRIFTING),
        Cell { beside: true, ..cell(None, "native-rseq", "user", &[10.0; 6]) },
        cell(Some("qemu"), "x2apic", "user", &twice),
    ]);
    let [own, native, under] = measurement.cells.as_slice() else { panic!("{:?}", measurement.cells) };
    assert!(own.times_own_vmm.is_empty() && native.times_own_vmm.is_empty());
    let times = under.times_own_vmm(MetricName::RoundTrip).expect("kipi's own VMM has the cell");
    assert_eq!((times.divisor, times.pairs, times.ratio), (own.id, 6, Some(2.0)));
    // What the host does in a boot, it does to both of the pair.
    let [low, high] = times.ci95.expect("six boots");
    assert!((1.99..=2.0).contains(&low) && (2.0..=2.01).contains(&high), "{low} to {high}");
    let times = under.times_native(MetricName::RoundTrip).expect("a native cell");
    assert_eq!((times.divisor, times.own_ns / times.divisor_ns), (native.id, times.ratio.expect("a ratio")));
    let [low, high] = times.ci95.expect("six boots");
    assert!(low < 20.0 && high > 22.0, "the native one does not share it: {low} to {high}");
}

#[test]
fn boots_that_one_of_the_two_lacks_are_no_pair_and_few_pairs_have_no_interval() {
    let mut under = cell(Some("qemu"), "x2apic", "user", &DRIFTING);
    under.blocks.drain(..2);
    let measurement = divided(vec![cell(None, "x2apic", "user", &DRIFTING), under]);
    let times = measurement.cells[1].times_own_vmm(MetricName::RoundTrip).expect("a ratio");
    assert_eq!((times.pairs, times.ratio, times.ci95), (4, Some(1.0), None));
}

#[test]
fn a_divisor_within_the_clocks_error_gives_a_bound() {
    let mut own = cell(None, "x2apic", "user", &DRIFTING);
    let mut under = cell(Some("qemu"), "x2apic", "user", &DRIFTING);
    // ε is 35 ns.
    own.metrics.insert(MetricName::StartSkew, fixture::metric(12.0));
    under.metrics.insert(MetricName::StartSkew, fixture::metric(500.0));
    let measurement = divided(vec![own, under]);
    let times = measurement.cells[1].times_own_vmm(MetricName::StartSkew).expect("the metric");
    assert_eq!((times.ratio, times.at_least), (None, Some(465.0 / 47.0)));
}

#[test]
fn what_no_native_call_is_like_is_said_of_each_vmm() {
    let [own, under] = [None, Some("qemu")].map(|under| cell(under, "x2apic", "user", &DRIFTING));
    let (own_id, under_id) = (own.id, under.id);
    let mut measurement = Measurement { cells: vec![own, under], ..fixture::measurement() };
    measurement.undivided = vec![Skipped { id: own_id, reason: "nothing is like it".to_owned() }];
    divide(&mut measurement);
    let ids: Vec<CellId> = measurement.undivided.iter().map(|it| it.id).collect();
    assert_eq!(ids, [own_id, under_id]);
}

#[test]
fn quotients_of_cells_whose_disturbed_blocks_are_left_out_are_warned_of_once() {
    let cells = || [None, Some("a"), Some("b")].map(|under| cell(under, "x2apic", "user", &DRIFTING)).to_vec();
    assert_eq!(divided(cells()).warnings, fixture::measurement().warnings, "nothing was disturbed");
    let mut disturbed = cells();
    for block in &mut disturbed[0].blocks[..2] {
        block.disturbances.push(fixture::disturbance());
    }
    let warnings = divided(disturbed.clone()).warnings;
    let told = warnings.iter().filter(|warning| warning.contains("2 of the divisors' 6 blocks were disturbed"));
    assert_eq!(told.count(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("× kipi's VMM may be too large in rows under"), "{warnings:?}");
    // Of a cell that was never quiet, all blocks count, too.
    disturbed[0].never_quiet = true;
    assert_eq!(divided(disturbed.clone()).warnings, fixture::measurement().warnings);
    disturbed.truncate(1);
    disturbed[0].never_quiet = false;
    assert_eq!(divided(disturbed).warnings, fixture::measurement().warnings, "nothing is divided by it");
}
