//! What single exits cost.

use crate::report::table::{Column, Table, Value};
use crate::results::count::count;
use crate::results::exit_cost::ExitCost;
use crate::results::measurement::Measurement;
use crate::results::metric::Metric;

/// A row for each act that could be measured, by the place of the local APICs.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let costs = &measurement.exit_costs;
    let rows: Vec<(&ExitCost, &Metric)> = costs.iter().filter_map(|row| Some((row, row.cost.as_ref()?))).collect();
    let (first, _) = rows.first()?;
    let values = |value: &dyn Fn(&ExitCost) -> Value| rows.iter().map(|(row, _)| value(row)).collect::<Vec<_>>();
    let of_cost = |value: &dyn Fn(&Metric) -> Value| rows.iter().map(|(_, cost)| value(cost)).collect::<Vec<_>>();
    let mut columns = Vec::new();
    if rows.iter().any(|(row, _)| row.local_apic != first.local_apic) {
        columns.push(Column::key("local APIC", values(&|row| Value::text(row.local_apic.name()))));
    }
    columns.extend([
        Column::key("act", values(&|row| Value::text(row.act.name()))),
        Column::number("cost", "p50", 0, of_cost(&|cost| Value::Time(cost.p50))),
        Column::number("cost", "95 %", 1, of_cost(&|cost| Value::or_missing(cost.ci95.p50.map(Value::TimeRange)))),
        Column::number("cost", "p99", 0, of_cost(&|cost| Value::Time(cost.p99))),
        Column::number("cost", "n", 2, of_cost(&|cost| Value::Count(cost.n))),
        Column::number("by KVM's counters", "exits", 0, values(&|row| counted(row.exits, "no exit"))),
        Column::number("by KVM's counters", "emulated", 0, values(&|row| counted(row.emulated, "0"))),
        Column::number("", "to the VMM", 0, values(&|row| counted(row.returns, "0"))),
    ]);
    let mut table = Table::new("Exits: what one costs", columns);
    table.common = vec![format!("vCPU 0 of {}, while the others sleep", count(first.vcpus, "vCPU"))];
    table.notes.push("nothing: two time stamps alone, which is in every other row".to_owned());
    let loud: Vec<&str> = rows.iter().filter(|(row, _)| row.never_quiet).map(|(row, _)| row.act.name()).collect();
    if !loud.is_empty() {
        table.notes.push(format!("Never quiet: {}", loud.join(", ")));
    }
    let is_traced = measurement.cells.iter().any(|cell| cell.breakdown.as_ref().is_some_and(|it| !it.parts.is_empty()));
    if !is_traced {
        table.notes.push("How much of a call exits explain: --trace kernel, and --details".to_owned());
    }
    let absent = costs.iter().filter_map(|cost| Some((cost, cost.unavailable.as_ref()?)));
    table.notes.extend(absent.map(|(cost, reason)| format!("Not measured: {} ({reason})", cost.act.name())));
    let over = costs.iter().filter_map(|cost| Some((cost, cost.given_up.as_ref()?)));
    table.notes.extend(over.map(|(cost, reason)| {
        format!("Given up after {}: {} ({reason})", count(cost.blocks.len(), "turn"), cost.act.name())
    }));
    let missed = rows.iter().filter(|(row, _)| row.missed > 0);
    table.notes.extend(missed.map(|(row, _)| {
        format!("Not counted: {} of {}, whose deadline passed before HLT", row.missed, row.act.name())
    }));
    Some(table)
}

/// How often something was counted with one act. What rounds to nothing is a host's interrupt that came meanwhile.
fn counted(times: Option<f64>, none: &str) -> Value {
    const LEAST: f64 = 0.5;
    match times {
        None => Value::Missing,
        Some(times) if times < LEAST => Value::text(none),
        Some(times) => Value::PerCall(times),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::table::print;
    use crate::results::fixture::{exit_cost, measurement};
    use crate::results::machine::LocalApics;
    use guest_stub::abi::act::Act;

    fn text(costs: Vec<ExitCost>) -> Option<String> {
        let table = table(&Measurement { exit_costs: costs, ..measurement() })?;
        Some(print(&table, 80))
    }

    #[test]
    fn there_is_no_table_where_nothing_was_asked_for_or_could_be_measured() {
        assert_eq!(text(Vec::new()), None);
        let absent = ExitCost { cost: None, unavailable: Some("no".to_owned()), ..exit_cost(Act::Cpuid, 1.0) };
        assert_eq!(text(vec![absent]), None);
    }

    #[test]
    fn what_does_not_exit_says_so_and_what_nobody_has_counted_does_not() {
        let nothing = exit_cost(Act::Nothing, 20.0);
        let unknown = ExitCost { exits: None, ..exit_cost(Act::Cpuid, 1_200.0) };
        let accelerated = ExitCost { exits: Some(0.02), ..exit_cost(Act::IcrX2Apic, 150.0) };
        let absent =
            ExitCost { cost: None, unavailable: Some("none here".to_owned()), ..exit_cost(Act::HltTimer, 1.0) };
        let text = text(vec![nothing, unknown, accelerated, exit_cost(Act::Wrmsr, 900.0), absent]).expect("a table");
        let row = |act: Act| text.lines().find(|line| line.starts_with(&format!("{} ", act.name()))).expect("a row");
        assert!(row(Act::IcrX2Apic).contains("no exit"));
        assert!(row(Act::Cpuid).contains("1.20 µs") && row(Act::Cpuid).contains('–'));
        assert!(row(Act::Wrmsr).contains("1.00") && !row(Act::Wrmsr).contains("no exit"));
        assert!(text.contains("Not measured: hlt-timer (none here)"));
        assert!(!text.contains("local APIC"), "all are KVM's");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn what_ended_early_or_does_not_count_stands_below() {
        let late = ExitCost { missed: 3, ..exit_cost(Act::HltTimer, 30_000.0) };
        let over = ExitCost { given_up: Some("silent".to_owned()), ..exit_cost(Act::Hlt, 9_000.0) };
        let text = text(vec![late, over]).expect("a table");
        assert!(text.contains("Not counted: 3 of hlt-timer, whose deadline passed before HLT"), "{text}");
        assert!(text.contains("Given up after 0 turns: hlt (silent)"), "{text}");
    }

    #[test]
    fn each_place_of_local_apics_has_rows_of_its_own() {
        let user = ExitCost { local_apic: LocalApics::User, ..exit_cost(Act::Hlt, 20.0) };
        let text = text(vec![exit_cost(Act::Hlt, 10.0), user]).expect("a table");
        assert!(text.contains("local APIC") && text.contains("kernel") && text.contains("user"), "{text}");
    }
}
