//! What the instruments cost, and how long starting took.

use crate::report::table::{Column, Table, Value};
use crate::report::units;
use crate::results::instruments::Instruments;
use crate::results::machine::LocalApics;
use crate::results::measurement::{Measurement, Spread};
use crate::results::standalone::OWN_VMM;
use guest_stub::abi::cell::Under;
use std::collections::BTreeMap;

/// A row for each machine.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let machines = &measurement.instruments;
    let first = machines.first()?;
    let mut columns = Vec::new();
    if machines.len() > 1 {
        columns.push(Column::number("", "vCPUs", 0, values(machines, |machine| Value::Count(machine.vcpus as u64))));
    }
    if machines.iter().any(|machine| machine.local_apic != first.local_apic) {
        columns.push(Column::key(
            "local APIC",
            values(machines, |machine| Value::text(machine.local_apic.map_or("no VM", LocalApics::name))),
        ));
    }
    if machines.iter().any(|machine| machine.under != first.under) {
        let name = |machine: &Instruments| Value::text(machine.under.map_or(OWN_VMM, Under::name));
        columns.push(Column::key("under", values(machines, name)));
    }
    if machines.iter().any(|machine| machine.interface != first.interface) {
        columns.push(Column::key("interface", values(machines, |machine| Value::text(machine.interface.name()))));
    }
    let time = |group, name, rank, ns: fn(&Instruments) -> f64| {
        Column::number(group, name, rank, values(machines, |machine| Value::Time(ns(machine))))
    };
    // Without a virtual machine there are no exits.
    let exits = |group, name, rank, of: fn(&Instruments) -> (Spread, f64)| {
        let value = |(spread, ns): (Spread, f64)| Value::or_missing((spread.n > 0).then_some(Value::Time(ns)));
        Column::number(group, name, rank, values(machines, |machine| value(of(machine))))
    };
    let since_exec = values(machines, |machine| Value::or_missing(machine.first_broadcast_ns.map(Value::Time)));
    let since_creation = values(machines, |machine| Value::or_missing(machine.boot_ns.map(Value::Time)));
    let errors = values(machines, |machine| Value::Text(units::epsilon(machine.clock.error_ns)));
    columns.extend([
        time("time stamp", "p50", 0, |machine| machine.stamp_ns.p50),
        time("time stamp", "p99", 1, |machine| machine.stamp_ns.p99),
        exits("exit leg", "p50", 0, |machine| (machine.exit_leg_ns, machine.exit_leg_ns.p50)),
        exits("exit leg", "p99", 1, |machine| (machine.exit_leg_ns, machine.exit_leg_ns.p99)),
        exits("exit round trip", "p50", 0, |machine| (machine.exit_round_trip_ns, machine.exit_round_trip_ns.p50)),
        exits("exit round trip", "p99", 1, |machine| (machine.exit_round_trip_ns, machine.exit_round_trip_ns.p99)),
        Column::number("first call since", "exec", 2, since_exec),
        Column::number("first call since", "VM creation", 2, since_creation),
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
    let mut methods: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for machine in machines {
        let of_what = if machine.local_apic.is_some() { "vCPUs" } else { "threads" };
        methods.entry((&machine.clock.method, of_what)).or_default().push(machine.vcpus.to_string());
    }
    let several = methods.len() > 1;
    let sentence = |((method, of_what), counts): ((&str, &str), Vec<String>)| {
        let noun = if counts == ["1"] { of_what.trim_end_matches('s') } else { of_what };
        if several { format!("ε ({} {noun}): {method}", counts.join(", ")) } else { format!("ε: {method}") }
    };
    methods.into_iter().map(sentence).collect()
}
