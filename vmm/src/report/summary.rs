//! What a reader asks before trusting a measurement's numbers, answered in a line each from what the document holds.

mod barrier;
mod closing;
mod intervals;
mod native;
mod topology;

pub(super) use closing::sentence;
pub(super) use topology::topology;

use super::quiet;
use super::tables;
use super::units;
use crate::config;
use crate::results::count::count;
use crate::results::instruments::Instruments;
use crate::results::integrity::Integrity;
use crate::results::measurement::host::Host;
use crate::results::measurement::{Cell, Measurement, Skipped};
use crate::results::metric::MetricName;
use crate::results::power::{IdleState, Power};
use crate::results::quiet::Quiet;
use crate::results::sandbox::Sandbox;
use crate::results::standalone::{OWN_VMM, Standalone};
use guest_stub::abi::cell::{Call, CellId, Observe};
use std::collections::BTreeSet;

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
        fact("integrity", integrity(&asked(measurement), measurement.config.repetitions)),
        fact("clock", clock(measurement)),
        fact("disturbances", disturbances(measurement)),
        fact("longest call", longest_call(measurement)),
        fact("distances", topology::distances(measurement)),
        fact("rounds", rounds(measurement)),
        fact("intervals", intervals::answer(measurement)),
        fact("start barrier", barrier::start_barrier(&asked(measurement))),
        fact("not measured", not_measured(&measurement.skipped)),
    ];
    facts.into_iter().flatten().collect()
}

/// Whether every call of these cells went right.
fn integrity(cells: &[&Cell], repetitions: u64) -> Option<String> {
    let sum = cells.iter().fold(Integrity::default(), |mut sum, cell| {
        sum.add(cell.integrity);
        sum
    });
    let broken: Vec<&Cell> = cells.iter().copied().filter(|cell| !cell.integrity.is_clean()).collect();
    let repeated = match repetitions {
        0 => String::new(),
        _ => format!(", nor of {},", count(repetitions, "repetition")),
    };
    let all = count(cells.len(), "cell");
    Some(match broken.as_slice() {
        [] if cells.is_empty() => return None,
        [] if cells.iter().all(|cell| cell.rounds == 0) => "not known: no round counts".to_owned(),
        [] => format!("ok: none of {}{repeated} lost, duplicate, late or timed out", calls(cells)),
        [only] => format!("WRONG: {} in 1 of {all} ({})", sum.faults().join(", "), only.id),
        [first, ..] => {
            format!("WRONG: {} in {} of {all}, first {}", sum.faults().join(", "), broken.len(), first.id)
        }
    })
}

/// How many calls and pings were made in the rounds that count.
fn calls(cells: &[&Cell]) -> String {
    let of = |call: Call, noun: &str| {
        let cells = || cells.iter().filter(move |cell| cell.id.call == call);
        let made = |cell: &&Cell| cell.rounds.saturating_mul(config::at_once(&cell.id) as u64);
        let sum = cells().map(made).fold(0, u64::saturating_add);
        cells().next().map(|_| count(sum, noun))
    };
    [of(Call::Broadcast, "call"), of(Call::Ping, "ping")].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// The bound of the clocks' error, what it is of, and how it was obtained.
fn clock(measurement: &Measurement) -> Option<String> {
    let (of_one, others): (Vec<&Cell>, Vec<&Cell>) =
        measurement.cells.iter().partition(|cell| cell.clock.error_ns == Some(0.0));
    if others.is_empty() && !of_one.is_empty() {
        return Some("ε = 0: the stamps that are compared are of one clock".to_owned());
    }
    let but_one = if of_one.is_empty() { "" } else { " and those of one clock (one vCPU's, or one CPU's)" };
    // One vCPU has nobody to differ from.
    let has_others = |machine: &&Instruments| machine.vcpus > 1;
    let (natively, virtually): (Vec<&Instruments>, Vec<&Instruments>) =
        measurement.instruments.iter().partition(|machine| machine.local_apic.is_none());
    // Native machines are told apart, since their clocks are bounded by other means.
    let (machines, natively) = if virtually.is_empty() { (natively, Vec::new()) } else { (virtually, natively) };
    let several: Vec<&Instruments> = machines.iter().copied().filter(has_others).collect();
    let machines = if several.is_empty() { machines } else { several };
    let bound = |machine: &Instruments| machine.clock.error_ns.unwrap_or(f64::INFINITY);
    let least = machines.iter().min_by(|one, other| bound(one).total_cmp(&bound(other)))?;
    let most = machines.iter().max_by(|one, other| bound(one).total_cmp(&bound(other)))?;
    let told = |machine: &Instruments| machine.clock.error_ns.map_or_else(|| "unknown".to_owned(), units::time);
    let methods: BTreeSet<&str> = machines.iter().map(|machine| machine.clock.method.as_str()).collect();
    let how = match methods.into_iter().collect::<Vec<_>>().as_slice() {
        [method] => (*method).to_owned(),
        _ => "--details says how each was bounded".to_owned(),
    };
    let which = |machine: &Instruments| match machine.under {
        Some(under) => format!("under {}", under.name()),
        None if measurement.has_other_vmms() => format!("under {OWN_VMM}"),
        None => format!("with {}", count(machine.vcpus, "vCPU")),
    };
    let with_vcpus = |machine: &Instruments| format!("{} {}", told(machine), which(machine));
    let error = match (told(least), told(most)) {
        (one, other) if one == other && one == "unknown" => "ε unknown".to_owned(),
        (one, other) if one == other => format!("ε = {one}"),
        _ => format!("ε = {}, {}", with_vcpus(least), with_vcpus(most)),
    };
    let natively = natively.into_iter().max_by(|one, other| bound(one).total_cmp(&bound(other)));
    let natively = natively.map_or_else(String::new, |machine| format!("; natively, ε = {}", told(machine)));
    Some(format!("{error} for all times but round trips{but_one}: {how}{natively}"))
}

/// What is wrong with the calls, if anything is: the first thing to know.
pub(super) fn wrong(measurement: &Measurement) -> Option<String> {
    let cells = asked(measurement);
    let of_all = |is_wrong: fn(&&&Cell) -> bool| {
        let wrong = cells.iter().filter(is_wrong).count();
        (wrong > 0).then(|| format!("{wrong} of {}", count(cells.len(), "cell")))
    };
    let broken = of_all(|cell| !cell.integrity.is_clean()).map(|cells| format!("Calls went WRONG in {cells}"));
    broken.or_else(|| of_all(|cell| cell.rounds == 0).map(|cells| format!("NO ROUND counts in {cells}")))
}

/// That vCPUs ran where they were not to, if they did; a warning says which, and where.
pub(super) fn moved(measurement: &Measurement) -> Option<String> {
    let moved = measurement.ran_on.iter().filter(|vcpu| vcpu.was_moved()).count();
    (moved > 0).then(|| format!("{moved} of {} did NOT STAY on their CPUs", count(measurement.ran_on.len(), "vCPU")))
}

/// That the sandbox was not on, or not all of it.
pub(super) fn sandbox(measurement: &Measurement) -> Option<String> {
    measurement.sandbox.as_ref().and_then(Sandbox::warning)
}

/// Whether the machine was quiet, if anything was measured: in one line of `width` columns where it fits.
pub(super) fn quiet(measurement: &Measurement, width: usize) -> Option<String> {
    let all = asked(measurement).len();
    let name = |id| name(measurement, id);
    let own = measurement.asked().filter(|cell| cell.id.under.is_none()).count();
    let verdict = looked_at(measurement).map(|found| quiet::verdict(found, own, &name, width));
    let shared =
        shared_cpus(measurement).map(|(vcpus, cpus)| format!("{vcpus} vCPUs take turns on {}", count(cpus, "CPU")));
    (all > 0).then(|| match (shared, verdict) {
        (Some(shared), Some(verdict)) => format!("NOT QUIET: {shared}. Apart from that: {verdict}"),
        (Some(shared), None) => format!("NOT QUIET: {shared}"),
        (None, Some(verdict)) => verdict,
        (None, None) => "Quiet: not checked".to_owned(),
    })
}

/// What disturbed the blocks that were asked for; `None`: nobody has looked, as at no block under another VMM.
fn looked_at(measurement: &Measurement) -> Option<&Quiet> {
    measurement.quiet.as_ref().filter(|_| measurement.asked().any(|cell| cell.id.under.is_none()))
}

/// What disturbed the run.
fn disturbances(measurement: &Measurement) -> Option<String> {
    quiet::causes(looked_at(measurement)?, &|id| name(measurement, id))
}

/// A cell's name among the others.
fn name(measurement: &Measurement, id: CellId) -> String {
    let cell = measurement.cells.iter().find(|cell| cell.id == id);
    cell.map_or_else(String::new, |cell| tables::name(cell, &measurement.cells.iter()))
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

/// The largest machine's vCPUs and the CPUs that they run on, if those are fewer.
fn shared_cpus(measurement: &Measurement) -> Option<(usize, usize)> {
    let pinned: BTreeSet<usize> = measurement.config.pin.iter().copied().collect();
    let cpus = if pinned.is_empty() { measurement.host.cpus.len() } else { pinned.len() };
    let most = measurement.instruments.iter().map(|machine| machine.vcpus).max()?;
    (most > cpus).then_some((most, cpus))
}

/// What the machine's CPUs share, what they do of a local APIC's work, how quickly they wake up, and how fast they run.
pub(super) fn machine(host: &Host) -> Vec<Fact> {
    let topology = topology(&host.topology).unwrap_or_else(|| "not known".to_owned());
    let acceleration = host
        .apic_acceleration
        .iter()
        .map(|found| Fact { label: found.feature.name(), text: format!("{}: {}", found.state.name(), found.why) });
    [Fact { label: "Topology", text: topology }].into_iter().chain(acceleration).chain(power(&host.power)).collect()
}

/// What a run of the standalone image was asked for, and what it was read from.
pub(super) fn standalone(run: &Standalone) -> Vec<Fact> {
    let Standalone { door, command_line, log, imported_by, listed, tsc_source, tsc_error_ppm } = run;
    let tsc = if *tsc_error_ppm == 0 { tsc_source.clone() } else { format!("{tsc_source}, ± {tsc_error_ppm} ppm") };
    vec![
        Fact { label: "Image", text: format!("started by {door}; {} listed", count(*listed as usize, "processor")) },
        Fact { label: "Command line", text: if command_line.is_empty() { "none" } else { command_line }.to_owned() },
        Fact { label: "Log", text: format!("{log}, read by kipi {imported_by}") },
        Fact { label: "TSC frequency", text: tsc },
    ]
}

fn power(power: &Power) -> Vec<Fact> {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
    let state = |state: &IdleState| {
        let latency = state.latency_us.map_or_else(String::new, |us| format!(" {us} µs"));
        format!("{}{latency}{}", state.name, if state.disabled { " (disabled)" } else { "" })
    };
    let states: Vec<String> = power.idle_states.iter().map(state).collect();
    let idle = format!("driver {}, governor {}", known(&power.idle_driver), known(&power.idle_governor));
    let governors: Vec<&str> = power.frequency_governors.iter().map(String::as_str).collect();
    let boost = match power.boost {
        Some(true) => "boost on",
        Some(false) => "boost off",
        None => "boost not known",
    };
    let limits = power.limited.iter().map(|limit| {
        let mhz = |khz: u64| khz / 1_000;
        format!("CPU {} limited to {} of {} MHz", limit.cpu, mhz(limit.most_khz), mhz(limit.hardware_khz))
    });
    let frequency = match &power.frequency_driver {
        Some(driver) => {
            let governor = format!("driver {driver}, governor {}", governors.join(", "));
            [governor, boost.to_owned()].into_iter().chain(limits).collect::<Vec<_>>().join(", ")
        }
        None => format!("not known (no cpufreq), {boost}"),
    };
    let vulnerabilities = power.vulnerabilities.iter().map(|(name, state)| format!("{name}: {state}"));
    let asked = power.mitigations.as_deref().unwrap_or("the kernel's default").to_owned();
    vec![
        Fact { label: "Idle states", text: [idle].into_iter().chain(states).collect::<Vec<_>>().join(", ") },
        Fact { label: "Frequency", text: frequency },
        Fact { label: "Mitigations", text: [asked].into_iter().chain(vulnerabilities).collect::<Vec<_>>().join("; ") },
    ]
}

/// Combinations that cannot be measured here, by reason.
fn not_measured(skipped: &[Skipped]) -> Option<String> {
    let reasons = Skipped::by_reason(skipped);
    let all = count(skipped.len(), "combination");
    let counted = |(reason, of): &(&str, Vec<&Skipped>)| format!("{} ({reason})", of.len());
    match reasons.as_slice() {
        [] => None,
        [(reason, _)] => Some(format!("{all} ({reason})")),
        several => Some(format!("{all}: {}", several.iter().map(counted).collect::<Vec<_>>().join(", "))),
    }
}

/// Combinations in the words of the command line: as the product of their lists where they are one, else one by one.
pub(super) fn products(combinations: &[&Skipped]) -> Vec<String> {
    let distinct = |pick: &dyn Fn(&CellId) -> String| {
        let mut values = Vec::new();
        for value in combinations.iter().map(|combination| pick(&combination.id)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    };
    let lists = [
        distinct(&|id| format!("{}{}", id.call.prefix(), id.route.name())),
        distinct(&|id| id.destination.name().to_owned()),
        distinct(&|id| id.target_state.name().to_owned()),
        distinct(&|id| id.vcpus.to_string()),
    ];
    if lists.iter().map(Vec::len).product::<usize>() == combinations.len() {
        let vcpus = if lists[3] == ["1"] { "vCPU" } else { "vCPUs" };
        return vec![format!("{} {vcpus}", lists.map(|list| list.join(", ")).join(" × "))];
    }
    let one = |combination: &&Skipped| {
        let CellId { call, route, destination, target_state, vcpus, .. } = combination.id;
        let (route, destination, state) = (route.name(), destination.name(), target_state.name());
        format!("{}{route} × {destination} × {state} × {}", call.prefix(), count(vcpus, "vCPU"))
    };
    combinations.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::quiet::Quiet;
    use crate::results::ran_on::RanOn;
    use guest_stub::abi::Destination;

    #[test]
    fn a_meshs_pings_are_counted_by_ping() {
        let mut mesh = fixture::cell("spin", 1_000.0);
        (mesh.id.call, mesh.id.destination, mesh.id.vcpus) = (Call::Ping, Destination::Mesh, 3);
        let of = |cells: &[Cell], repetitions| integrity(&cells.iter().collect::<Vec<_>>(), repetitions).unwrap();
        let line = |cells: &[Cell]| of(cells, 0);
        assert_eq!(line(std::slice::from_ref(&mesh)), "ok: none of 3000 pings lost, duplicate, late or timed out");
        let both = [fixture::cell("spin", 1_000.0), mesh];
        assert_eq!(line(&both), "ok: none of 1000 calls and 3000 pings lost, duplicate, late or timed out");
        let repeated = of(&both[..1], 2);
        assert_eq!(repeated, "ok: none of 1000 calls, nor of 2 repetitions, lost, duplicate, late or timed out");
    }

    #[test]
    fn what_goes_wrong_with_a_cell_that_nobody_asked_for_is_not_in_the_head() {
        let mut beside = fixture::cell("user", 7_000.0);
        (beside.beside, beside.integrity.timed_out) = (true, 1);
        let mut measurement =
            Measurement { cells: vec![fixture::cell("spin", 1_000.0), beside], ..fixture::measurement() };
        assert_eq!(wrong(&measurement), None);
        assert_eq!(
            integrity(&asked(&measurement), 0).unwrap(),
            "ok: none of 1000 calls lost, duplicate, late or timed out"
        );
        measurement.cells[0].integrity.lost = 1;
        assert_eq!(wrong(&measurement).as_deref(), Some("Calls went WRONG in 1 of 1 cell"));
    }

    #[test]
    fn without_a_round_nobody_knows_how_calls_went() {
        let mut measurement = fixture::measurement();
        measurement.cells[1].rounds = 0;
        assert_eq!(wrong(&measurement).as_deref(), Some("NO ROUND counts in 1 of 2 cells"));
        measurement.cells.remove(0);
        assert_eq!(integrity(&asked(&measurement), 0).as_deref(), Some("not known: no round counts"));
    }

    #[test]
    fn vcpus_that_left_their_cpus_are_in_the_head() {
        let of = |vcpu: usize, cpus: &[usize]| RanOn {
            vcpu,
            pin: Some(vcpu),
            cpus: cpus.iter().copied().collect(),
            affinity_changed: Some(false),
        };
        let with = |ran_on| moved(&Measurement { ran_on, ..fixture::measurement() });
        assert_eq!(with(vec![of(0, &[0]), of(1, &[1])]), None);
        let one = "1 of 2 vCPUs did NOT STAY on their CPUs";
        assert_eq!(with(vec![of(0, &[0]), of(1, &[0, 1])]).as_deref(), Some(one));
    }

    #[test]
    fn one_clock_has_no_error() {
        let mut itself = fixture::cell("spin", 1_000.0);
        itself.clock.error_ns = Some(0.0);
        let mut measurement = Measurement { cells: vec![itself], ..fixture::measurement() };
        assert_eq!(clock(&measurement).unwrap(), "ε = 0: the stamps that are compared are of one clock");
        measurement.cells.push(fixture::cell("spin", 1_000.0));
        let both = clock(&measurement).unwrap();
        assert!(both.starts_with("ε = 35.0 ns for all times but round trips and those of one clock ("), "{both}");
    }

    #[test]
    fn machines_whose_clocks_have_other_bounds_are_told_apart() {
        let mut measurement = fixture::measurement();
        let machine = |vcpus, error_ns, method: &str| {
            let mut machine = fixture::measurement().instruments.remove(0);
            machine.vcpus = vcpus;
            (machine.clock.error_ns, machine.clock.method) = (error_ns, method.to_owned());
            machine
        };
        let mut text = |machines: Vec<Instruments>| {
            measurement.instruments = machines;
            clock(&measurement)
        };
        let two = machine(2, Some(70.0), "16 exchanges");
        let of_all = "for all times but round trips";
        assert_eq!(text(vec![]), None);
        assert_eq!(text(vec![machine(1, Some(0.0), "one vCPU")]), Some(format!("ε = 0 ns {of_all}: one vCPU")));
        let with_one = text(vec![machine(1, Some(0.0), "one vCPU"), two.clone()]);
        assert_eq!(with_one, Some(format!("ε = 70.0 ns {of_all}: 16 exchanges")), "one vCPU has no ε");
        let four = text(vec![two.clone(), machine(4, Some(13e6), "32 exchanges")]);
        let both = "ε = 70.0 ns with 2 vCPUs, 13.0 ms with 4 vCPUs";
        assert_eq!(four, Some(format!("{both} {of_all}: --details says how each was bounded")));
        let unknown = text(vec![two, machine(4, None, "32 exchanges")]).unwrap();
        assert!(unknown.starts_with("ε = 70.0 ns with 2 vCPUs, unknown with 4 vCPUs for"), "{unknown}");
    }

    #[test]
    fn what_disturbed_a_run_is_told_without_a_median() {
        let mut cell = fixture::cell("halt", 1_000.0);
        cell.never_quiet = true;
        cell.metrics.remove(&MetricName::RoundTrip);
        let found = Quiet::of_cells(std::slice::from_ref(&cell), BTreeSet::new());
        let mut measurement = Measurement { cells: vec![cell], quiet: Some(found), ..fixture::measurement() };
        assert!(quiet(&measurement, 80).unwrap().starts_with("NEVER QUIET: x2apic, 0 of 0 blocks"));
        assert_eq!(longest_call(&measurement), None);
        measurement.cells.clear();
        assert_eq!(quiet(&measurement, 80), None, "nothing was measured");
    }
}
