//! What interrupting a busy vCPU costs, in the host's own IPIs.

use super::{by_reason, count};
use crate::config::routes;
use crate::report::{tables, units};
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use crate::results::times_native::TimesNative;
use guest_stub::abi::TargetState;
use guest_stub::abi::cell::Call;

/// The answer in a line, and why cells have none; `None`: nobody has asked for it.
pub(super) fn answer(measurement: &Measurement) -> Option<String> {
    let undivided = undivided(measurement);
    match (verdict(measurement), undivided) {
        (Some(verdict), None) => Some(verdict),
        (Some(verdict), Some(undivided)) => Some(format!("{verdict}; {undivided}")),
        (None, undivided) => undivided,
    }
}

/// Of the call that tells most: an interrupt alone before a whole call, and of several, the fastest.
fn verdict(measurement: &Measurement) -> Option<String> {
    let interrupted = measurement.cells.iter().filter(|cell| routes::of(cell.id.route).interrupts());
    let divided = interrupted.filter_map(|cell| {
        let times = cell.times_native(MetricName::RoundTrip)?;
        Some((busy(cell)?, cell, times, times.ratio?))
    });
    let rank = |busy: Busy, cell: &Cell| (cell.id.call != Call::Ping, busy);
    let (_, cell, times, ratio) = divided.min_by(|(busy, cell, one, _), (other_busy, other_cell, other, _)| {
        let order = rank(*busy, cell).cmp(&rank(*other_busy, other_cell));
        order.then(one.own_ns.total_cmp(&other.own_ns))
    })?;
    let interval = times.ci95.map(|[low, high]| format!(" ({}–{})", units::times(low), units::times(high)));
    let vcpus = match (cell.id.call, cell.id.vcpus) {
        (Call::Ping, _) | (Call::Broadcast, ..=2) => "a busy vCPU",
        (Call::Broadcast, _) => "busy vCPUs",
    };
    let TimesNative { own_ns, divisor_ns, .. } = *times;
    let others = super::asked(measurement).into_iter().filter(|other| other.id.observe == cell.id.observe);
    let name = tables::name(cell, &others);
    let host = if measurement.host.nested { "; this host is virtual itself, and so are its IPIs" } else { "" };
    Some(format!(
        "interrupting {vcpus} costs {} × this host's own IPI{}: round trip {} ({name}), natively {}{host}",
        units::times(ratio),
        interval.unwrap_or_default(),
        units::time(own_ns),
        units::time(divisor_ns)
    ))
}

/// What a busy target does, the clearest case first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Busy {
    AtCpl3,
    AtCpl0,
}

fn busy(cell: &Cell) -> Option<Busy> {
    match cell.id.target_state {
        TargetState::User => Some(Busy::AtCpl3),
        TargetState::Spin | TargetState::Masked => Some(Busy::AtCpl0),
        TargetState::Halt | TargetState::Preempted | TargetState::Out => None,
    }
}

/// How many cells have no native counterpart, by reason.
fn undivided(measurement: &Measurement) -> Option<String> {
    let reasons = by_reason(&measurement.undivided);
    let of_reason = |(reason, cells): &(&str, Vec<_>)| format!("{} ({reason})", count(cells.len(), "cell"));
    let told: Vec<String> = reasons.iter().map(of_reason).collect();
    (!told.is_empty()).then(|| format!("no × native of {}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    fn divided(route: &str, state: &str, own_ns: f64) -> Cell {
        let mut cell = Cell { id: fixture::id(route, state), ..fixture::cell(state, own_ns) };
        cell.times_native = vec![fixture::times_native(MetricName::RoundTrip, own_ns, 7_000.0)];
        cell
    }

    fn told(cells: Vec<Cell>) -> Option<String> {
        answer(&Measurement { cells, ..fixture::measurement() })
    }

    #[test]
    fn the_fastest_route_to_a_busy_target_is_told() {
        assert_eq!(told(vec![divided("x2apic", "halt", 60_000.0)]), None, "it is not busy");
        assert_eq!(told(vec![divided("memory", "spin", 70_000.0)]), None, "it is not interrupted");
        let cells = [("x2apic", "spin", 70_000.0), ("x2apic", "user", 84_000.0), ("xapic", "user", 77_000.0)];
        let text = told(cells.map(|(route, state, ns)| divided(route, state, ns)).into()).expect("a verdict");
        assert_eq!(
            text,
            "interrupting a busy vCPU costs 11.0 × this host's own IPI (9.90–12.1): round trip 77.0 µs (xapic user), natively \
             7.00 µs; this host is virtual itself, and so are its IPIs"
        );
        let mut ping = divided("x2apic", "spin", 700_000.0);
        ping.id.call = Call::Ping;
        let with_ping = told(vec![divided("x2apic", "user", 84_000.0), ping]).expect("a verdict");
        assert!(with_ping.starts_with("interrupting a busy vCPU costs 100 × "), "{with_ping}");
    }

    #[test]
    fn why_there_is_none_is_told() {
        let mut measurement =
            Measurement { cells: vec![divided("x2apic", "user", 84_000.0)], ..fixture::measurement() };
        measurement.undivided = vec![fixture::skipped("host", "user", "the host calls"); 2];
        let both = answer(&measurement).expect("an answer");
        assert!(both.ends_with("its IPIs; no × native of 2 cells (the host calls)"), "{both}");
        measurement.cells.clear();
        assert_eq!(answer(&measurement).as_deref(), Some("no × native of 2 cells (the host calls)"));
        assert_eq!(answer(&fixture::measurement()), None, "nobody has asked");
    }
}
