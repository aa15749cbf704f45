//! A call as a timeline: a row for each event, a column for each lane.

use crate::report::table::{Column, Table, Value};
use crate::report::units;
use crate::results::trace::{Call, Event, Which};

/// A lane's heading.
pub(in crate::report) fn lane_name(lane: Option<usize>) -> String {
    lane.map_or_else(|| "host".to_owned(), |vcpu| format!("vCPU {vcpu}"))
}

/// The lanes: the initiator's, then the last target's, then the others in the order of their first event.
pub(in crate::report) fn lanes(call: &Call) -> Vec<Option<usize>> {
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

/// The events of the call's first lanes, at most `most`; the clocks' error is ε.
pub(in crate::report) fn timeline(call: &Call, most: usize, epsilon_ns: Option<f64>) -> Table {
    let mut lanes = lanes(call);
    let others = lanes.len().saturating_sub(most);
    lanes.truncate(most);
    let events: Vec<&Event> = call.events.iter().filter(|event| lanes.contains(&event.vcpu)).collect();
    let values = |value: &dyn Fn(&Event) -> Value| events.iter().map(|event| value(event)).collect::<Vec<_>>();
    let stage = |event: &Event| event.stage.map_or(Value::Nothing, |stage| Value::text(stage.name()));
    let mut columns = vec![
        Column::number("", "after the send", 0, values(&|event| Value::Time(event.at_ns))),
        Column::words("stage", 0, values(&stage)),
    ];
    for (position, &lane) in lanes.iter().enumerate() {
        let label = |event: &Event| if event.vcpu == lane { Value::Text(label(event)) } else { Value::Nothing };
        // The first two lanes are the call's story; of the others, the later ones go first.
        let rank = u8::try_from(position.saturating_sub(1)).unwrap_or(u8::MAX);
        columns.push(Column::words(&lane_name(lane), rank, values(&label)));
    }
    let mut table = Table::new(title(call), columns);
    table.notes.push("g: the guest's stamp, v: the vCPU's thread, k: the kernel's tracepoint".to_owned());
    table
        .notes
        .push(format!("Times of two lanes, or of two sources, compare to within ε = {}", units::epsilon(epsilon_ns)));
    if others > 0 {
        let hidden = call.events.len() - events.len();
        table.notes.push(format!("Lanes beyond the first {most}: {others}, with {hidden} events (--json)"));
    }
    table
}

fn title(call: &Call) -> String {
    let which = match call.which {
        Which::Only => "The call".to_owned(),
        Which::Median | Which::Worst => format!("The {} call (round {})", call.which.name(), call.round),
    };
    let last = call.last_target.map_or_else(String::new, |target| format!(", vCPU {target} arrived last"));
    format!("{which}: round trip {}{last}", units::time(call.round_trip_ns))
}

/// Who saw it, by its first letter, and what.
fn label(event: &Event) -> String {
    let source = event.source.name().chars().next().unwrap_or('?');
    format!("{source} {}", event.detail)
}
