//! Whether the machine was quiet, where a reader looks first.

use super::{default_run, line};
use crate::report::text::render;
use crate::results::block::Block;
use crate::results::fixture::disturbance;
use crate::results::measurement::Cell;
use crate::results::quiet::Quiet;
use std::collections::{BTreeMap, BTreeSet};

/// A cell of the default run, of which `disturbed` of ten blocks were disturbed.
fn disturb(cell: &mut Cell, disturbed: usize) {
    let block = |number: usize| Block {
        number: 0,
        boot: 0,
        rounds: 50,
        metrics: BTreeMap::new(),
        halt: None,
        host_cpu: None,
        disturbances: if number < disturbed { vec![disturbance()] } else { Vec::new() },
    };
    cell.blocks = (0..10).map(block).collect();
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
