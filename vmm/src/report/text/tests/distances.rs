//! Deliveries by what CPUs share.

use super::{default_run, line, widest, words};
use crate::report::text::render;
use crate::results::distance::{ByDistance, Distance};
use crate::results::fixture;
use crate::results::measurement::Measurement;

/// The default run on a machine of two packages, where far targets take four times as long.
fn two_packages() -> Measurement {
    let mut measurement = default_run();
    let one = |distance, pairs, p50: f64| {
        let (n, p50_ns, ci95_ns) = (500 * pairs, p50, Some([0.9 * p50, 1.1 * p50]));
        ByDistance { distance, kinds: None, pairs, n, p50_ns, ci95_ns }
    };
    for cell in &mut measurement.cells {
        cell.by_distance = vec![one(Distance::SameCore, 1, 1_000.0), one(Distance::CrossPackage, 2, 4_000.0)];
    }
    measurement.host.topology.packages = Some(fixture::groups([&[0, 1], &[2, 5]]));
    measurement
}

#[test]
fn details_have_a_row_for_each_cell_and_distance() {
    let report = render(&two_packages(), 80, true);
    assert!(widest(&report) <= 80, "{report}");
    let table: Vec<&str> =
        report.lines().skip_while(|line| !line.starts_with("Delivery by what initiator's")).collect();
    let of = |distance| table.iter().find(|line| line.contains(distance)).map(|line| words(line).join(" "));
    assert_eq!(of("same core").as_deref(), Some("xapic spin same core 1 1.00 µs 0.900–1.10 µs"), "{report}");
    assert_eq!(of("cross package").as_deref(), Some("xapic spin cross package 2 4.00 µs 3.60–4.40 µs"), "{report}");
    assert_eq!(line(&report, "Topology"), "Topology: 2 packages; not known: nodes, L3 caches, L2 caches, cores");
}

#[test]
fn the_default_result_has_a_line_where_there_are_several() {
    let mut measurement = two_packages();
    let report = render(&measurement, 80, false);
    assert!(report.lines().count() <= 40, "{report}");
    let told = "distances     delivery p50 same core 1.00 µs, cross package 4.00 µs (xapic spin)";
    assert_eq!(line(&report, "distances"), told);
    assert!(!report.contains("Delivery by what"));
    measurement.cells.iter_mut().for_each(|cell| cell.by_distance.truncate(1));
    assert!(!render(&measurement, 80, false).contains("distances"));
    // What they all have in common is said once.
    let report = render(&measurement, 80, true);
    assert!(line(&report, "same core").contains(" · same core · 1 pair"), "{report}");
}
