//! The trace for the Perfetto UI and `chrome://tracing`: Chrome's JSON trace event format ("Trace Event Format", the
//! Chromium project).
//!
//! Each vCPU is a process of three tracks: the guest's stamps, its thread's stays in KVM_RUN, and the kernel's
//! tracepoints, with a slice from each exit to the next entry. An arrow leads from the send to each target's interrupt
//! entry.

use crate::report::tables::lane_name;
use crate::results::source::Source;
use crate::results::trace::{Call, Event, Trace};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Tracks of a lane.
const GUEST: u32 = 1;
const VMM: u32 = 2;
const KERNEL: u32 = 3;

/// One entry of `traceEvents`. Times are in µs.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: usize,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    /// Scope of an instant, and binding of an arrow's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    args: Value,
}

/// The trace as a document for the Perfetto UI.
///
/// # Errors
/// The serialiser's own; there is none for a finite document.
pub fn render(trace: &Trace) -> serde_json::Result<String> {
    let lanes: BTreeSet<Option<usize>> = trace.calls.iter().flat_map(lanes_of).collect();
    let mut events: Vec<Value> = Vec::new();
    for &lane in &lanes {
        let name = |kind: &str, tid, name: &str| json!({"ph": "M", "name": kind, "pid": pid(lane), "tid": tid, "args": {"name": name}});
        events.push(name("process_name", GUEST, &lane_name(lane)));
        events.push(name("thread_name", GUEST, "guest"));
        events.push(name("thread_name", VMM, "KVM_RUN"));
        events.push(name("thread_name", KERNEL, "kernel"));
        events.push(
            json!({"ph": "M", "name": "process_sort_index", "pid": pid(lane), "args": {"sort_index": pid(lane)}}),
        );
    }
    let mut arrows = 0;
    for call in &trace.calls {
        for &lane in &lanes {
            for entry in entries(call, lane) {
                events.push(serde_json::to_value(entry)?);
            }
        }
        for entry in arrows_of(call, &mut arrows) {
            events.push(serde_json::to_value(entry)?);
        }
    }
    let document = json!({
        "displayTimeUnit": "ns",
        "otherData": {"kipi": trace.host.kipi, "kernel": trace.host.kernel, "route": trace.config.id.route.name(), "clock_error_ns": trace.clock.error_ns, "sandbox": trace.sandbox.as_ref().map(|sandbox| sandbox.state.name())},
        "traceEvents": events,
    });
    serde_json::to_string(&document).map(|text| text + "\n")
}

/// The host's lane is 0, a vCPU's its index and one.
fn pid(lane: Option<usize>) -> usize {
    lane.map_or(0, |vcpu| vcpu + 1)
}

fn lanes_of(call: &Call) -> impl Iterator<Item = Option<usize>> + '_ {
    call.events.iter().map(|event| event.vcpu)
}

fn microseconds(call: &Call, at_ns: f64) -> f64 {
    (call.begin_ns + at_ns) / 1e3
}

fn slice(call: &Call, lane: Option<usize>, tid: u32, name: &str, from: f64, to: f64, args: Value) -> Entry {
    Entry {
        name: name.to_owned(),
        cat: "kipi",
        ph: "X",
        ts: microseconds(call, from),
        // A clock that is off may put an end before its beginning; a slice cannot show that, the instants do.
        dur: Some((to - from).max(0.0) / 1e3),
        pid: pid(lane),
        tid,
        id: None,
        s: None,
        bp: None,
        args,
    }
}

fn instant(call: &Call, event: &Event) -> Entry {
    let tid = match event.source {
        Source::Guest => GUEST,
        Source::Vmm => VMM,
        Source::Kernel | Source::Stats => KERNEL,
    };
    let args = json!({"after_send_ns": event.at_ns, "kind": event.kind, "stage": event.stage});
    Entry { ph: "i", dur: None, s: Some("t"), ..slice(call, event.vcpu, tid, &event.detail, event.at_ns, 0.0, args) }
}

/// What a lane shows of a call: a slice from each event that begins something to the one that ends it, and every event.
fn entries(call: &Call, lane: Option<usize>) -> Vec<Entry> {
    const PAIRS: [(&str, &[&str], u32, &str); 6] = [
        ("send", &["sent"], GUEST, "send"),
        ("arrival", &["worker_start"], GUEST, "at the gate"),
        ("worker_start", &["worker_end"], GUEST, "worker"),
        ("enter", &["return"], VMM, "in KVM_RUN"),
        ("return", &["enter"], VMM, "in the VMM"),
        ("kvm_exit", &["kvm_entry"], KERNEL, "out of the guest"),
    ];
    let of_lane: Vec<&Event> = call.events.iter().filter(|event| event.vcpu == lane).collect();
    let mut entries: Vec<Entry> = of_lane.iter().map(|event| instant(call, event)).collect();
    for (begin, ends, tid, name) in PAIRS {
        for (index, event) in of_lane.iter().enumerate().filter(|(_, event)| event.kind == begin) {
            if let Some(end) = of_lane[index + 1..].iter().find(|event| ends.contains(&event.kind.as_str())) {
                let args = json!({"began": event.detail, "ended": end.detail});
                entries.push(slice(call, lane, tid, name, event.at_ns, end.at_ns, args));
            }
        }
    }
    if let Some(done) = of_lane.iter().find(|event| event.kind == "completed") {
        let name = format!("{} call", call.which.name());
        entries.push(slice(call, lane, GUEST, &name, 0.0, done.at_ns, json!({"round": call.round})));
    }
    entries
}

/// From the send to each interrupt entry.
fn arrows_of(call: &Call, number: &mut usize) -> Vec<Entry> {
    let mut arrows = Vec::new();
    let Some(send) = call.events.iter().find(|event| event.kind == "send") else { return arrows };
    for arrival in call.events.iter().filter(|event| event.kind == "arrival") {
        *number += 1;
        let end = |event: &Event, ph, bp| Entry {
            ph,
            dur: None,
            id: Some(*number),
            bp,
            ..slice(call, event.vcpu, GUEST, "IPI", event.at_ns, 0.0, Value::Null)
        };
        arrows.extend([end(send, "s", None), end(arrival, "f", Some("e"))]);
    }
    arrows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture::trace;

    fn events() -> Vec<Value> {
        let document: Value = serde_json::from_str(&render(&trace()).unwrap()).unwrap();
        document["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn an_arrow_leads_from_the_send_to_each_target() {
        let events = events();
        let of = |ph: &str| events.iter().filter(|event| event["ph"] == ph).cloned().collect::<Vec<_>>();
        let (from, to) = (of("s"), of("f"));
        assert_eq!((from.len(), to.len()), (1, 1));
        assert_eq!((&from[0]["ts"], &from[0]["pid"]), (&json!(0.0), &json!(1)));
        assert_eq!((&to[0]["ts"], &to[0]["pid"], &to[0]["id"]), (&json!(0.3), &json!(2), &from[0]["id"]));
    }

    #[test]
    fn every_event_is_there_and_pairs_are_slices() {
        let events = events();
        let count = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
        assert_eq!(count("i"), trace().calls[0].events.len());
        let slice = |name: &str| events.iter().find(|event| event["ph"] == "X" && event["name"] == name).cloned();
        assert_eq!(slice("out of the guest").unwrap()["dur"], json!(0.07));
        assert_eq!(slice("only call").unwrap()["dur"], json!(0.6));
        assert_eq!(slice("at the gate").unwrap()["pid"], json!(2));
        assert!(slice("in KVM_RUN").is_none(), "it has no beginning");
    }
}
