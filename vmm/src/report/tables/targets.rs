//! What a call costs for each of its targets, over the number of vCPUs: how calls scale.

use super::cells::{rows, table as of_rows};
use crate::config::{self, MachineSpec};
use crate::report::table::{Column, Table, Value};
use crate::results::instruments::Instruments;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use guest_stub::abi::cell::{Call, Observe};
use std::collections::BTreeSet;

/// Every broadcast call of the guest's vantage, where there are machines of several sizes, or participants park.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let is_shown = |cell: &Cell| {
        cell.id.call == Call::Broadcast && cell.id.observe == Observe::Guest && config::targets(&cell.id) > 0
    };
    let rows = rows(measurement, is_shown);
    let sizes: BTreeSet<usize> = rows.iter().map(|(_, cell)| cell.id.vcpus).collect();
    if sizes.len() < 2 && rows.iter().all(|(_, cell)| cell.id.wait.is_spin()) {
        return None;
    }
    let mut table = of_rows("Cost of a call for each of its targets (round trip p50 / targets)", &rows)?;
    let values = |value: &dyn Fn(&Cell) -> Option<f64>| -> Vec<Value> {
        rows.iter().map(|(_, cell)| Value::or_missing(value(cell).map(Value::Time))).collect()
    };
    let machine = |cell: &Cell| of(measurement, cell);
    table.columns.extend([
        Column::number("", "each target", 0, values(&each_target)),
        Column::number("floor", "threads", 0, values(&|cell| floor(machine(cell)?, cell))),
        Column::number("floor", "instructions", 1, values(&|cell| machine(cell)?.instructions_of_each_ns(cell))),
        Column::number("", "boot", 2, values(&|cell| machine(cell)?.up_ns)),
    ]);
    table.notes.extend(note(measurement));
    Some(table)
}

fn of<'a>(measurement: &'a Measurement, cell: &Cell) -> Option<&'a Instruments> {
    let of = MachineSpec::of(&cell.id);
    let spec = |machine: &Instruments| MachineSpec {
        vcpus: machine.vcpus,
        local_apics: machine.local_apic,
        interface: machine.interface,
    };
    measurement.instruments.iter().find(|machine| machine.under == cell.id.under && spec(machine) == of)
}

fn targets(cell: &Cell) -> f64 {
    config::targets(&cell.id) as f64
}

fn each_target(cell: &Cell) -> Option<f64> {
    Some(cell.metrics.get(&MetricName::RoundTrip)?.p50 / targets(cell))
}

/// Of the rendezvous of threads that sleep.
fn floor(machine: &Instruments, cell: &Cell) -> Option<f64> {
    machine.park_floor_of_each_ns().filter(|_| !cell.id.wait.is_spin())
}

fn note(measurement: &Measurement) -> Option<String> {
    measurement.instruments.iter().any(|machine| machine.park_floor_ns.is_some()).then(|| {
        "floor: the same rendezvous by as many threads of the host, which sleep (futex(2)); and a target's instructions that KVM \
         emulates, on one CPU"
            .to_owned()
    })
}
