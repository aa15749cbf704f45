//! What the instruments cost, and how long starting took.

use crate::report::table::{Column, Table, Value};
use crate::report::units;
use crate::results::measurement::{Instruments, Measurement};
use std::collections::BTreeMap;

/// A row for each virtual machine.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let machines = &measurement.instruments;
    let first = machines.first()?;
    let mut columns = Vec::new();
    if machines.len() > 1 {
        columns.push(Column::number("", "vCPUs", 0, values(machines, |machine| Value::Count(machine.vcpus as u64))));
    }
    if machines.iter().any(|machine| machine.local_apic != first.local_apic) {
        columns.push(Column::key("local APIC", values(machines, |machine| Value::text(machine.local_apic.name()))));
    }
    let time = |group, name, rank, ns: fn(&Instruments) -> f64| {
        Column::number(group, name, rank, values(machines, |machine| Value::Time(ns(machine))))
    };
    let since_exec = values(machines, |machine| Value::or_missing(machine.first_broadcast_ns.map(Value::Time)));
    let errors = values(machines, |machine| Value::Text(units::epsilon(machine.clock.error_ns)));
    columns.extend([
        time("time stamp", "p50", 0, |machine| machine.stamp_ns.p50),
        time("time stamp", "p99", 1, |machine| machine.stamp_ns.p99),
        time("exit leg", "p50", 0, |machine| machine.exit_leg_ns.p50),
        time("exit leg", "p99", 1, |machine| machine.exit_leg_ns.p99),
        time("exit round trip", "p50", 0, |machine| machine.exit_round_trip_ns.p50),
        time("exit round trip", "p99", 1, |machine| machine.exit_round_trip_ns.p99),
        Column::number("first call since", "exec", 2, since_exec),
        time("first call since", "VM creation", 2, |machine| machine.boot_ns),
        Column::number("clock error", "ε", 0, errors),
    ]);
    let mut table = Table::new("Instruments and start", columns);
    table.notes.extend(methods(machines));
    Some(table)
}

fn values(machines: &[Instruments], value: impl Fn(&Instruments) -> Value) -> Vec<Value> {
    machines.iter().map(value).collect()
}

/// How the bounds of the clocks' errors were obtained: a sentence for each way.
fn methods(machines: &[Instruments]) -> Vec<String> {
    let mut methods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for machine in machines {
        methods.entry(&machine.clock.method).or_default().push(machine.vcpus.to_string());
    }
    let several = methods.len() > 1;
    let sentence = |(method, vcpus): (&str, Vec<String>)| {
        let noun = if vcpus == ["1"] { "vCPU" } else { "vCPUs" };
        if several { format!("ε ({} {noun}): {method}", vcpus.join(", ")) } else { format!("ε: {method}") }
    };
    methods.into_iter().map(sentence).collect()
}
