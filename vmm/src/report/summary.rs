//! What a reader asks before trusting a measurement's numbers, answered in a line each from what the document holds.

mod barrier;
mod clock;
mod closing;
mod disturbances;
mod integrity;
mod intervals;
mod machine;
mod native;
mod skipped;
mod topology;

pub(super) use closing::sentence;
pub(super) use disturbances::quiet;
pub(super) use integrity::wrong;
pub(super) use machine::{machine, standalone};
pub(super) use skipped::products;
pub(super) use topology::topology;

use super::tables;
use crate::results::count::count;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use crate::results::sandbox::Sandbox;
use guest_stub::abi::cell::Observe;

/// A question in a word or two, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) text: String,
}

/// The answers that there are.
pub(super) fn facts(measurement: &Measurement) -> Vec<Fact> {
    let fact = |label, text: Option<String>| Some(Fact { label, text: text? });
    let facts = [
        fact("native", native::answer(measurement)),
        fact("integrity", integrity::answer(&asked(measurement), measurement.config.repetitions)),
        fact("clock", clock::answer(measurement)),
        fact("disturbances", disturbances::answer(measurement)),
        fact("longest call", longest_call(measurement)),
        fact("distances", topology::distances(measurement)),
        fact("rounds", rounds(measurement)),
        fact("intervals", intervals::answer(measurement)),
        fact("start barrier", barrier::start_barrier(&asked(measurement))),
        fact("not measured", skipped::answer(&measurement.skipped)),
    ];
    facts.into_iter().flatten().collect()
}

/// That vCPUs ran where they were not to, if they did; a warning says which, and where.
pub(super) fn moved(measurement: &Measurement) -> Option<String> {
    let moved = measurement.ran_on.iter().filter(|thread| thread.was_moved()).count();
    (moved > 0).then(|| format!("{moved} of {} did NOT STAY on their CPUs", count(measurement.ran_on.len(), "thread")))
}

/// That the sandbox was not on, or not all of it.
pub(super) fn sandbox(measurement: &Measurement) -> Option<String> {
    measurement.sandbox.as_ref().and_then(Sandbox::warning)
}

/// The cells that were asked for.
fn asked(measurement: &Measurement) -> Vec<&Cell> {
    measurement.asked().collect()
}

/// How many rounds a time came to.
fn rounds(measurement: &Measurement) -> Option<String> {
    let seconds = measurement.config.seconds?;
    let rounds = count(measurement.config.rounds, "round");
    Some(format!("{rounds} of each cell, as many as {seconds} s were enough for (--seconds)"))
}

/// How much longer than usual the longest calls took.
fn longest_call(measurement: &Measurement) -> Option<String> {
    let cells = asked(measurement);
    let guest: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.id.observe == Observe::Guest).collect();
    let cells = if guest.is_empty() { cells } else { guest };
    let tails = cells.iter().filter_map(|cell| Some((*cell, tail(cell)?)));
    let (cell, ratio) = tails.max_by(|one, other| one.1.total_cmp(&other.1))?;
    let name = tables::name(cell, &cells.iter().copied());
    Some(format!("its round trip took {ratio:.1} × its cell's median ({name})"))
}

/// The largest round trip over the median; `None` where the median is no time.
fn tail(cell: &Cell) -> Option<f64> {
    let metric = cell.metrics.get(&MetricName::RoundTrip)?;
    (metric.p50 > 0.0).then_some(metric.max / metric.p50)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::ran_on::RanOn;

    #[test]
    fn threads_that_left_their_cpus_are_in_the_head() {
        let of = |vcpu: usize, cpus: &[usize]| RanOn {
            vcpu,
            pin: Some(vcpu),
            cpus: cpus.iter().copied().collect(),
            affinity_changed: Some(false),
        };
        let with = |ran_on| moved(&Measurement { ran_on, ..fixture::measurement() });
        assert_eq!(with(vec![of(0, &[0]), of(1, &[1])]), None);
        let one = "1 of 2 threads did NOT STAY on their CPUs";
        assert_eq!(with(vec![of(0, &[0]), of(1, &[0, 1])]).as_deref(), Some(one));
    }

    #[test]
    fn without_a_median_no_call_is_the_longest() {
        let mut cell = fixture::cell("halt", 1_000.0);
        cell.metrics.remove(&MetricName::RoundTrip);
        assert_eq!(longest_call(&Measurement { cells: vec![cell], ..fixture::measurement() }), None);
    }
}
