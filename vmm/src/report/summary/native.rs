//! What interrupting a busy vCPU costs in the host's own IPIs, or calling it, in calls between the host's own threads.

use crate::config::routes;
use crate::report::{tables, units};
use crate::results::count::count;
use crate::results::measurement::{Cell, Measurement, Skipped};
use crate::results::metric::MetricName;
use crate::results::times::Times;
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

/// Of a ping, which is nothing but an interrupt, before a whole call; of the clearest state; and of several routes, the fastest. Other VMMs'
/// are told where kipi's own measured nothing.
fn verdict(measurement: &Measurement) -> Option<String> {
    let interrupted = || measurement.asked().filter(|cell| routes::of(cell.id.route).interrupts());
    let has_own = interrupted().any(|cell| cell.id.under.is_none() && !routes::of(cell.id.route).is_native());
    let divided = interrupted().filter(|cell| cell.id.under.is_none() || !has_own).filter_map(|cell| {
        let times = cell.times_native(MetricName::RoundTrip)?;
        Some(((cell.id.call != Call::Ping, busy(cell)?), cell, times, times.ratio?))
    });
    let divided: Vec<_> = divided.collect();
    let clearest = divided.iter().map(|(rank, ..)| *rank).min()?;
    let candidates = || divided.iter().filter(|(rank, ..)| *rank == clearest);
    let (_, cell, times, ratio) = candidates().min_by(|one, other| one.2.own_ns.total_cmp(&other.2.own_ns))?;
    let fastest = match candidates().count() {
        1 => String::new(),
        several => format!(", the fastest of {several}"),
    };
    let of = match times.ci95.filter(|&ends| !units::is_vague(ends)) {
        Some(ends) => units::times_range(ends),
        None => format!("of {}", count(times.pairs, "pair")),
    };
    let Times { own_ns, divisor_ns, .. } = **times;
    let others = super::asked(measurement).into_iter().filter(|other| other.id.observe == cell.id.observe);
    let name = tables::name(cell, &others);
    let host = if measurement.host.nested { "; this host is virtual itself, and so are its IPIs" } else { "" };
    let [what, unit] = compared(cell);
    Some(format!(
        "{what} costs {} × {unit} ({of}): round trip {} ({name}{fastest}), natively {}{host}",
        units::times(*ratio),
        units::time(own_ns),
        units::time(divisor_ns)
    ))
}

/// What is divided, and by what: the divisor of a ping is an interrupt alone (`native`), that of a broadcast a call of threads, which
/// are restarted by it, meet and run a worker (`native-rseq`).
fn compared(cell: &Cell) -> [&'static str; 2] {
    const CALL: &str = "the same call between this host's own threads";
    match (cell.id.call, cell.id.vcpus) {
        (Call::Ping, _) => ["interrupting a busy vCPU", "this host's own IPI"],
        (Call::Broadcast, ..=2) => ["a broadcast call to a busy vCPU", CALL],
        (Call::Broadcast, _) => ["a broadcast call to busy vCPUs", CALL],
    }
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
    let reasons = Skipped::by_reason(&measurement.undivided);
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
            "a broadcast call to a busy vCPU costs 11.0 × the same call between this host's own threads (9.90–12.1): round trip \
             77.0 µs (xapic user, the fastest of 2), natively 7.00 µs; this host is virtual itself, and so are its IPIs"
        );
        let mut ping = divided("x2apic", "spin", 700_000.0);
        ping.id.call = Call::Ping;
        let with_ping = told(vec![divided("x2apic", "user", 84_000.0), ping.clone()]).expect("a verdict");
        assert!(with_ping.starts_with("interrupting a busy vCPU costs 100 × this host's own IPI ("), "{with_ping}");
        assert!(!with_ping.contains("fastest"), "the only one: {with_ping}");
        ping.times_native[0].ci95 = None;
        ping.times_native[0].pairs = 3;
        let without_interval = told(vec![ping]).expect("a verdict");
        assert!(without_interval.contains(" × this host's own IPI (of 3 pairs): "), "{without_interval}");
        let mut four = divided("x2apic", "user", 84_000.0);
        four.id.vcpus = 4;
        let four = told(vec![four]).expect("a verdict");
        assert!(four.starts_with("a broadcast call to busy vCPUs costs 12.0 × the same call between "), "{four}");
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
