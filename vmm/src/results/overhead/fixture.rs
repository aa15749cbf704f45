//! An overhead made up for tests.

use super::{IntervalOf, OVERHEAD_SCHEMA, Overhead, OverheadRow};
use crate::results::comparison::Difference;
use crate::results::comparison::side::{Side, SideHost};
use crate::results::fixture::id;

/// A cell that takes 37.5 times as long under KVM, one that takes less and has no interval, and one that only the base has.
pub(crate) fn overhead() -> Overhead {
    Overhead {
        schema: OVERHEAD_SCHEMA.to_owned(),
        kipi: "0.1.0".to_owned(),
        base: side("metal.json", Some("standalone image on bare metal")),
        new: side("kvm.json", None),
        differences: vec![Difference {
            factor: "tsc".to_owned(),
            item: None,
            base: vec!["2596.094 MHz".to_owned()],
            new: vec!["2000.000 MHz".to_owned()],
            allowed: true,
        }],
        not_comparable: Vec::new(),
        cells: vec![row("user", [2_000.0, 75_000.0], Some([36.0, 39.0])), row("halt", [20_000.0, 15_000.0], None)],
        only_in_base: vec![id("xapic", "user")],
        only_in_new: Vec::new(),
        warnings: Vec::new(),
    }
}

fn row(state: &str, [base_ns, new_ns]: [f64; 2], ci95: Option<[f64; 2]>) -> OverheadRow {
    OverheadRow {
        id: id("x2apic", state),
        base_ns,
        new_ns,
        added_ns: new_ns - base_ns,
        ratio: new_ns / base_ns,
        ci95,
        interval_of: ci95.map(|_| IntervalOf::Boots),
    }
}

fn side(file: &str, standalone: Option<&str>) -> Side {
    let host = SideHost {
        cpu: "AMD EPYC 9B14".to_owned(),
        kernel: "6.18.0".to_owned(),
        kvm: vec!["kvm_amd".to_owned()],
        standalone: standalone.map(str::to_owned),
        kipi: "0.1.0".to_owned(),
        runs: 1,
    };
    Side { files: vec![file.to_owned()], runs: 1, hosts: vec![host], sandboxes: Vec::new(), outliers: Vec::new() }
}
