//! The trace on the terminal: each call as a timeline with a lane for each vCPU, then as a table of stages.

use super::super::table::{self, Column, wrap};
use super::super::text::{left_out, warnings};
use super::super::units;
use crate::results::integrity::Integrity;
use crate::results::measurement::{Breakdown, Exits};
use crate::results::trace::{Call, Event, Source, Trace};
use std::collections::BTreeSet;

/// Most lanes of a timeline, however wide the terminal: nobody reads more at a time.
const MOST_LANES: usize = 8;

/// The report, for a terminal of `width` characters or without bound; it ends in a newline.
pub fn render(trace: &Trace, width: Option<usize>) -> String {
    let mut sections = vec![head(trace, width)];
    for call in &trace.calls {
        sections.push(timeline(call, width));
        sections.push(stages(call, width));
    }
    // One round's table has said it.
    sections.extend(trace.breakdown.as_ref().filter(|breakdown| breakdown.rounds > 1).map(|all| breakdown(all, width)));
    sections.extend(exits(&trace.exits, width));
    sections.extend(warnings(&trace.warnings, width));
    sections.join("\n\n") + "\n"
}

fn head(trace: &Trace, width: Option<usize>) -> String {
    let Trace { host, config, .. } = trace;
    let first = format!("kipi {} · Linux {} · KVM: {} · {}", host.kipi, host.kernel, host.kvm.join(", "), host.cpu);
    let second = format!(
        "{} · {} · targets in {} · {} vCPUs · {} of {} rounds · {} · clock error ε = {}",
        config.id.route.name(),
        config.id.destination.name(),
        config.id.target_state.name(),
        config.id.vcpus,
        trace.rounds,
        config.rounds,
        if trace.integrity == Integrity::default() { "integrity ok" } else { "integrity BROKEN (see --json)" },
        units::time(trace.clock.error_ns),
    );
    let mut lines = vec![wrap(&first, width, 2), wrap(&second, width, 2)];
    lines.extend(trace.sources.iter().map(|source| wrap(&state(source), width, 2)));
    lines.join("\n")
}

fn state(source: &Source) -> String {
    let Source { source, unavailable, lost } = source;
    match (unavailable, lost) {
        (Some(reason), _) => format!("source {source}: nothing recorded: {reason}"),
        (None, 0) => format!("source {source}: on, no event lost"),
        (None, lost) => format!("source {source}: on, {lost} EVENTS LOST: calls may lack some"),
    }
}

fn title(call: &Call) -> String {
    let which = match call.which.as_str() {
        "only" => "The call".to_owned(),
        which => format!("The {which} call (round {})", call.round),
    };
    let last = call.last_target.map_or_else(String::new, |target| format!(", vCPU {target} arrived last"));
    format!("{which}: round trip {}{last}", units::time(call.round_trip_ns))
}

/// The lanes: the initiator's, then the last target's, then the others in the order of their first event.
fn lanes(call: &Call) -> Vec<Option<usize>> {
    let mut lanes: Vec<Option<usize>> = Vec::new();
    let initiator = call.events.iter().find(|event| event.kind == "send").map(|event| event.vcpu);
    let last = call.last_target.map(Some);
    for lane in initiator.into_iter().chain(last).chain(call.events.iter().map(|event| event.vcpu)) {
        if !lanes.contains(&lane) {
            lanes.push(lane);
        }
    }
    lanes
}

/// A lane's heading.
pub(in crate::report) fn lane_name(lane: Option<usize>) -> String {
    lane.map_or_else(|| "host".to_owned(), |vcpu| format!("vCPU {vcpu}"))
}

fn timeline(call: &Call, width: Option<usize>) -> String {
    let mut lanes = lanes(call);
    let others = lanes.len().saturating_sub(MOST_LANES);
    lanes.truncate(MOST_LANES);
    let events: Vec<&Event> = call.events.iter().filter(|event| lanes.contains(&event.vcpu)).collect();
    let rows = |text: &dyn Fn(&Event) -> String| events.iter().map(|event| text(event)).collect::<Vec<_>>();
    let mut columns = vec![
        Column::number("", "after the send", 0, rows(&|event| units::time(event.at_ns))),
        Column::text("stage", rows(&|event| event.stage.clone().unwrap_or_default())),
    ];
    for (position, &lane) in lanes.iter().enumerate() {
        let cells = rows(&|event| if event.vcpu == lane { label(event) } else { String::new() });
        // The first two lanes are the call's story; of the others, the later ones go first.
        let rank = u8::try_from(position.saturating_sub(1)).unwrap_or(u8::MAX);
        columns.push(Column::lane(&lane_name(lane), rank, cells));
    }
    let table = table::render(columns, width);
    let mut parts = vec![
        wrap(&title(call), width, 2),
        "g: the guest's stamp, v: the vCPU's thread, k: the kernel's tracepoint".to_owned(),
        table.text,
    ];
    parts.extend(left_out(&table.left_out, width));
    let hidden = call.events.len() - events.len();
    parts.extend(
        (others > 0).then(|| format!("{others} more lanes with {hidden} events are not shown (--json has all)")),
    );
    parts.join("\n")
}

fn label(event: &Event) -> String {
    let source = event.source.chars().next().unwrap_or('?');
    format!("{source} {}", event.detail)
}

fn stages(call: &Call, width: Option<usize>) -> String {
    let share = |cost: f64| format!("{:.0} %", 100.0 * cost / call.round_trip_ns);
    let (mut names, mut ends, mut costs, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for stage in &call.stages {
        names.push(stage.stage.clone());
        ends.push(units::time(stage.end_ns));
        costs.push(units::time(stage.cost_ns));
        shares.push(share(stage.cost_ns));
    }
    names.extend(["remainder".to_owned(), "round trip".to_owned()]);
    ends.extend([String::new(), units::time(call.round_trip_ns)]);
    costs.extend([units::time(call.remainder_ns), units::time(call.round_trip_ns)]);
    shares.extend([share(call.remainder_ns), "100 %".to_owned()]);
    for stage in &call.afterwards {
        names.push(format!("then: {}", stage.stage));
        ends.push(units::time(stage.end_ns));
        costs.push(units::time(stage.cost_ns));
        shares.push(String::new());
    }
    let columns = vec![
        Column::text("stage", names),
        Column::number("", "ended at", 0, ends),
        Column::number("", "cost", 0, costs),
        Column::number("", "share", 1, shares),
    ];
    format!("Its stages, over the target that arrived last\n{}", table::render(columns, width).text)
}

/// A breakdown of many rounds.
pub(in crate::report) fn breakdown(breakdown: &Breakdown, width: Option<usize>) -> String {
    let stages = &breakdown.stages;
    let rows = |text: &dyn Fn(usize) -> String| (0..stages.len()).map(text).collect::<Vec<_>>();
    let and = |mut rows: Vec<String>, last: [String; 2]| {
        rows.extend(last);
        rows
    };
    let none = || [String::new(), String::new()];
    let share = |mean: f64| format!("{:.0} %", 100.0 * mean / breakdown.round_trip_ns);
    let means = [units::time(breakdown.remainder_ns), units::time(breakdown.round_trip_ns)];
    let names = ["remainder".to_owned(), "round trip".to_owned()];
    let columns = vec![
        Column::text("stage", and(rows(&|row| stages[row].stage.clone()), names)),
        Column::number("", "mean", 0, and(rows(&|row| units::time(stages[row].mean_ns)), means)),
        Column::number(
            "",
            "share",
            0,
            and(rows(&|row| share(stages[row].mean_ns)), [share(breakdown.remainder_ns), "100 %".to_owned()]),
        ),
        Column::number("", "min", 3, and(rows(&|row| units::time(stages[row].min_ns)), none())),
        Column::number("", "p50", 1, and(rows(&|row| units::time(stages[row].p50_ns)), none())),
        Column::number("", "max", 2, and(rows(&|row| units::time(stages[row].max_ns)), none())),
        Column::number("", "rounds", 4, and(rows(&|row| stages[row].n.to_string()), none())),
    ];
    let title = format!("Stages of {} rounds, each over the target that arrived last", breakdown.rounds);
    let mut text = format!("{}\n{}", wrap(&title, width, 2), table::render(columns, width).text);
    if let Some(accelerated) = breakdown.accelerated {
        text = format!("{text}\nSends that caused no exit: {} of {}", accelerated.sends, accelerated.of);
    }
    text
}

fn exits(exits: &[Exits], width: Option<usize>) -> Option<String> {
    if exits.is_empty() {
        return None;
    }
    let sources: BTreeSet<&str> = exits.iter().map(|exits| exits.source.as_str()).collect();
    let rows: Vec<&Exits> =
        sources.iter().flat_map(|&source| exits.iter().filter(move |exits| exits.source == source)).collect();
    let texts = |text: &dyn Fn(&Exits) -> String| rows.iter().map(|exits| text(exits)).collect::<Vec<_>>();
    let columns = vec![
        Column::text("source", texts(&|exits| exits.source.clone())),
        Column::text("reason", texts(&|exits| exits.reason.clone())),
        Column::number("", "initiator", 0, texts(&|exits| units::per_call(exits.initiator))),
        Column::number("", "each target", 0, texts(&|exits| units::per_call(exits.per_target))),
    ];
    let title = "Exits a call (kernel: from the send to the last return; stats, vmm: the time between rounds included)";
    Some(format!("{}\n{}", wrap(title, width, 2), table::render(columns, width).text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::trace::fixture;

    #[test]
    fn a_call_is_a_timeline_and_a_table_of_stages() {
        let text = render(&fixture(), None);
        for line in [
            "source vmm: on, no event lost",
            "source kernel: nothing recorded: no permission",
            "The call: round trip 600 ns, vCPU 1 arrived last",
            "1 warning",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let row = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(row(&["20.0 ns", "send exit", "k exit: msr"]), "{text}");
        assert!(row(&["remainder", "0 ns", "0 %"]), "{text}");
        assert!(row(&["then: EOI", "610 ns"]), "{text}");
    }

    #[test]
    fn lanes_beyond_the_terminal_are_named_not_lost() {
        let mut trace = fixture();
        let template = trace.calls[0].events[5].clone();
        let more = (2..12).map(|vcpu| Event { vcpu: Some(vcpu), stage: None, ..template.clone() });
        trace.calls[0].events.extend(more);
        let text = render(&trace, Some(100));
        assert!(text.contains("Not shown for want of room") && text.contains("vCPU 7"), "{text}");
        assert!(text.contains("4 more lanes with 4 events are not shown"), "{text}");
        assert!(text.contains("k exit: msr"), "the initiator's lane stays");
    }

    #[test]
    fn lost_events_are_said() {
        let source = Source { source: "kernel".to_owned(), unavailable: None, lost: 7 };
        assert!(state(&source).contains("7 EVENTS LOST"));
    }
}
