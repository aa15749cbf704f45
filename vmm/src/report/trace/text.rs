//! The trace on the terminal: each call as a timeline with a lane for each vCPU, then as a table of stages.

use crate::report::quiet;
use crate::report::tables;
use crate::report::text::{table, warnings};
use crate::report::units;
use crate::report::wrap::wrap;
use crate::results::count::count;
use crate::results::sandbox::Sandbox;
use crate::results::trace::{Recorder, Trace};

/// Most lanes of a timeline, however wide the terminal: nobody reads more at a time.
const MOST_LANES: usize = 8;

/// The report in lines of at most `width` columns; it ends in a newline.
pub fn render(trace: &Trace, width: usize) -> String {
    let epsilon = trace.clock.error_ns;
    let mut sections = vec![head(trace, width)];
    for call in &trace.calls {
        sections.push(table::print(&tables::timeline(call, MOST_LANES, epsilon), width));
        sections.push(table::print(&tables::stages_of_call(call, epsilon), width));
    }
    // One call's table has said it.
    let many = trace.breakdown.as_ref().filter(|_| trace.calls.len() > 1);
    sections.extend(many.map(|breakdown| table::print(&tables::stages_of_rounds(breakdown, epsilon), width)));
    sections.extend(tables::exits_of_trace(&trace.exits).map(|exits| table::print(&exits, width)));
    sections.extend(warnings(&trace.warnings, width));
    sections.join("\n\n") + "\n"
}

fn head(trace: &Trace, width: usize) -> String {
    let Trace { host, config, .. } = trace;
    let first = format!("kipi {} · Linux {} · KVM: {} · {}", host.kipi, host.kernel, host.kvm.join(", "), host.cpu);
    let second = format!(
        "{}{} · {} · targets in {} · {} · {} of {} · {} · clock error ε = {}",
        config.id.call.prefix(),
        config.id.route.name(),
        config.id.destination.name(),
        config.id.target_state.name(),
        count(config.id.vcpus, "vCPU"),
        trace.rounds,
        count(usize::try_from(config.rounds).unwrap_or(usize::MAX), "round"),
        if trace.integrity.is_clean() { "integrity ok" } else { "integrity BROKEN (see --json)" },
        units::epsilon(trace.clock.error_ns),
    );
    let name = |_| "the trace".to_owned();
    let verdict = trace.quiet.as_ref().map(|found| quiet::verdict(found, 1, &name, width));
    let causes = trace.quiet.as_ref().and_then(|found| quiet::causes(found, &name));
    let quiet = verdict.into_iter().chain(causes.map(|causes| format!("disturbances: {causes}")));
    let sources = trace.sources.iter().map(state);
    [first, second]
        .into_iter()
        .chain(trace.sandbox.as_ref().and_then(Sandbox::warning))
        .chain(quiet)
        .chain(sources)
        .map(|line| wrap(&line, width, 2))
        .collect::<Vec<_>>()
        .join("\n")
}

fn state(source: &Recorder) -> String {
    let name = source.source.name();
    match (&source.unavailable, source.lost) {
        (Some(reason), _) => format!("source {name}: nothing recorded: {reason}"),
        (None, 0) => format!("source {name}: on, no event lost"),
        (None, lost) => format!("source {name}: on, {lost} EVENTS LOST: calls may lack some"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::source;
    use crate::results::trace::Event;

    #[test]
    fn a_call_is_a_timeline_and_a_table_of_stages() {
        let text = render(&fixture::trace(), 200);
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
        assert!(row(&["aside: EOI", "610 ns"]), "{text}");
    }

    #[test]
    fn lanes_beyond_the_terminal_are_named_not_lost() {
        let mut trace = fixture::trace();
        let template = trace.calls[0].events[5].clone();
        let more = (2..12).map(|vcpu| Event { vcpu: Some(vcpu), stage: None, ..template.clone() });
        trace.calls[0].events.extend(more);
        let text = render(&trace, 100);
        assert!(text.contains("Not shown (--json):") && text.contains("vCPU 7"), "{text}");
        assert!(text.contains("Lanes beyond the first 8: 4, with 4 events"), "{text}");
        assert!(text.contains("k exit: msr"), "the initiator's lane stays");
    }

    #[test]
    fn lost_events_are_said() {
        let source = Recorder { source: source::Source::Kernel, unavailable: None, lost: 7 };
        assert!(state(&source).contains("7 EVENTS LOST"));
    }
}
