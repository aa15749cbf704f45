//! Whether the machine was quiet, where a reader looks first.

use super::{default_run, line};
use crate::report::text::render;
use crate::results::disturbance::{Disturbance, Kind};
use crate::results::fixture::{block, disturbance};
use crate::results::measurement::{Cell, Skipped};
use crate::results::quiet::Quiet;
use guest_stub::abi::cell::Observe;
use std::collections::BTreeSet;

/// A cell of the default run, of which `disturbed` of ten blocks were disturbed.
fn disturb(cell: &mut Cell, disturbed: usize) {
    let disturbances = |number: usize| if number < disturbed { vec![disturbance()] } else { Vec::new() };
    cell.blocks = (0..10).map(|number| block(0, 0, disturbances(number))).collect();
}

#[test]
fn the_head_says_what_disturbed_how_many_blocks_of_which_cells() {
    let mut measurement = default_run();
    disturb(&mut measurement.cells[2], 2);
    measurement.quiet = Some(Quiet::of_cells(&measurement.cells, BTreeSet::new()));
    let head = "Quiet but for 2 of 10 blocks (xapic user guest): vCPU 1 waited for CPU 1";
    let report = render(&measurement, 80, false);
    assert_eq!(report.lines().take_while(|line| !line.is_empty()).last(), Some(head), "{report}");
    assert!(
        line(&report, "disturbances ").ends_with("vCPU 1 waited for CPU 1 (2 blocks of xapic user guest, up to 4.00")
    );
    assert!(report.lines().count() <= 40, "{report}");
}

#[test]
fn cells_that_lost_many_blocks_are_told_rather_than_an_interval() {
    let mut measurement = default_run();
    disturb(&mut measurement.cells[2], 2);
    assert!(line(&render(&measurement, 80, false), "Not shown").contains("disturbed"));
    disturb(&mut measurement.cells[2], 3);
    let report = render(&measurement, 80, false);
    assert!(!line(&report, "Not shown").contains("disturbed"), "{report}");
    assert!(line(&report, "xapic   user").ends_with("3 of 10"), "{report}");
}

/// A run in which nothing was quiet has the most to say.
#[test]
fn a_run_that_was_never_quiet_fits_on_one_screen() {
    let mut measurement = default_run();
    measurement.cells.retain(|cell| cell.id.observe == Observe::Guest);
    for cell in &mut measurement.cells {
        disturb(cell, 10);
        cell.never_quiet = true;
    }
    let first = disturbance();
    let kinds = [Kind::CpuBusy, Kind::Steal, Kind::Stopped];
    let others = kinds.into_iter().map(|kind| Disturbance { kind, unit: kind.unit(), ..first });
    for block in measurement.cells.iter_mut().flat_map(|cell| &mut cell.blocks) {
        block.disturbances = [first].into_iter().chain(others.clone()).collect();
    }
    let unknown = BTreeSet::from([Kind::FrequencyLimited, Kind::ThermalThrottle]);
    measurement.quiet = Some(Quiet::of_cells(&measurement.cells, unknown));
    let undivided = measurement
        .cells
        .iter()
        .map(|cell| Skipped { id: cell.id, reason: "never quiet in one turn with native-rseq".to_owned() });
    measurement.undivided = undivided.collect();
    measurement.warnings.push(
        "most blocks were disturbed, and would have taken less than half of the time on a quiet machine: the run ended after 24 of \
         50 blocks of each cell (--rounds 500 makes all of them)"
            .to_owned(),
    );
    let report = render(&measurement, 80, false);
    assert!(report.contains("NEVER QUIET: 7 of 7 cells, 70 of 70 blocks: "), "{report}");
    assert!(report.contains("and 2 other causes (--json); not known here: frequency"), "{report}");
    assert!(line(&report, "native ").contains("no × native of "), "{report}");
    assert!(report.lines().count() <= 40, "{} lines:\n{report}", report.lines().count());
}
