//! Whether the machine was quiet, in one line.

use super::summary::count;
use super::units;
use crate::results::disturbance::{Kind, Unit};
use crate::results::quiet::{Cause, Quiet, Verdict};
use guest_stub::abi::cell::CellId;

/// Causes that are named, those of most blocks.
const MOST_CAUSES: usize = 3;

/// The answer; `name` names a cell.
pub(super) fn line(quiet: &Quiet, cells: usize, name: &dyn Fn(CellId) -> String) -> String {
    let Quiet { disturbed, causes, unknown, .. } = quiet;
    let blocks = count_blocks(quiet.blocks);
    let verdict = match quiet.verdict {
        Verdict::Quiet => format!("yes: none of {blocks} was disturbed"),
        Verdict::DisturbedBlocksLeftOut => format!("yes, leaving out {disturbed} of {blocks}, disturbed: "),
        Verdict::NeverQuiet => {
            let of_cells = match quiet.never_quiet.as_slice() {
                [only] => format!("1 of {} ({})", count(cells, "cell"), name(*only)),
                several => format!("{} of {}", several.len(), count(cells, "cell")),
            };
            format!("NEVER QUIET: {of_cells}; disturbed {disturbed} of {blocks}: ")
        }
    };
    let mut told: Vec<String> = causes.iter().take(MOST_CAUSES).map(|cause| of_cause(cause, name)).collect();
    if let Some(others @ 1..) = causes.len().checked_sub(MOST_CAUSES) {
        told.push(format!("and {} (--json)", count(others, "other cause")));
    }
    let untold: Vec<&str> = unknown.iter().map(|&kind| noun(kind)).collect();
    let not_known = if untold.is_empty() { String::new() } else { format!("; not known here: {}", untold.join(", ")) };
    format!("{verdict}{}{not_known}", told.join(", "))
}

fn count_blocks(blocks: u64) -> String {
    count(usize::try_from(blocks).unwrap_or(usize::MAX), "block")
}

/// `vCPU 0 waited for CPU 0 (12 blocks of x2apic user, up to 4.00 ms)`.
fn of_cause(cause: &Cause, name: &dyn Fn(CellId) -> String) -> String {
    let whose = cause.vcpu.map_or_else(|| "the host's thread".to_owned(), |vcpu| format!("vCPU {vcpu}"));
    let cpu = cause.cpu.map_or_else(|| "a CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    let what = match cause.kind {
        Kind::WaitedForCpu => format!("{whose} waited for {cpu}"),
        Kind::CpuBusy => format!("{cpu} ran something else while {whose} slept"),
        Kind::Preempted => format!("{whose} was preempted on {cpu}"),
        Kind::Migrated => format!("{whose} was moved to another CPU"),
        Kind::RanElsewhere => format!("{whose} ran on {cpu}, which is not its own"),
        Kind::AffinityChanged => format!("somebody changed the CPUs that {whose} may use"),
        Kind::MajorFault => format!("{whose} waited for a page from a disk"),
        Kind::Throttled => "the cgroup's CPU quota was used up".to_owned(),
        Kind::Steal => format!("the hypervisor below took {cpu} away"),
        Kind::FrequencyLimited => format!("{cpu}'s frequency was limited"),
        Kind::ThermalThrottle => format!("{cpu} was slowed down by heat"),
        Kind::Stopped => format!("{whose} was stopped"),
        Kind::Continued => "the process was stopped and continued".to_owned(),
        Kind::Suspended => "the machine was suspended".to_owned(),
    };
    let of_cells = match cause.cells.as_slice() {
        [only] => name(*only),
        several => count(several.len(), "cell"),
    };
    let most = match cause.unit {
        Unit::Ns => format!(", up to {}", units::time(cause.most)),
        Unit::Khz => format!(", by up to {:.0} MHz", cause.most / 1e3),
        Unit::Times if cause.most > 1.0 => format!(", up to {:.0} times", cause.most),
        Unit::Times => String::new(),
    };
    format!("{what} ({} of {of_cells}{most})", count_blocks(cause.blocks))
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::WaitedForCpu => "waits for a CPU",
        Kind::CpuBusy => "other work on the CPUs",
        Kind::Preempted => "involuntary switches",
        Kind::Migrated => "migrations",
        Kind::RanElsewhere => "where threads ran",
        Kind::AffinityChanged => "changed affinities",
        Kind::MajorFault => "major faults",
        Kind::Throttled => "CPU quotas",
        Kind::Steal => "steal time",
        Kind::FrequencyLimited => "frequency limits",
        Kind::ThermalThrottle => "thermal throttling",
        Kind::Stopped | Kind::Continued => "stops of the process",
        Kind::Suspended => "suspends of the machine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::disturbance::Disturbance;
    use crate::results::fixture::{cell, id};
    use crate::results::measurement::Cell;
    use std::collections::{BTreeMap, BTreeSet};

    fn waited(ms: f64) -> Disturbance {
        Disturbance { kind: Kind::WaitedForCpu, amount: ms * 1e6, unit: Unit::Ns, vcpu: Some(0), cpu: Some(3) }
    }

    /// A cell of these blocks, each with what disturbed it.
    fn of_blocks(state: &str, never_quiet: bool, blocks: &[&[Disturbance]]) -> Cell {
        let block = |disturbances: &&[Disturbance]| crate::results::block::Block {
            number: 0,
            boot: 0,
            rounds: 25,
            metrics: BTreeMap::new(),
            halt: None,
            disturbances: disturbances.to_vec(),
        };
        Cell { blocks: blocks.iter().map(block).collect(), never_quiet, ..cell(state, 1.0) }
    }

    fn line_of(cells: &[Cell], unknown: &[Kind]) -> String {
        let quiet = Quiet::of_cells(cells, unknown.iter().copied().collect::<BTreeSet<_>>());
        line(&quiet, cells.len(), &|id| id.target_state.name().to_owned())
    }

    #[test]
    fn a_quiet_machine_says_what_it_does_not_tell() {
        let cells = [of_blocks("spin", false, &[&[], &[]])];
        assert_eq!(line_of(&cells, &[]), "yes: none of 2 blocks was disturbed");
        assert_eq!(
            line_of(&cells, &[Kind::Steal, Kind::ThermalThrottle]),
            "yes: none of 2 blocks was disturbed; not known here: steal time, thermal throttling"
        );
    }

    #[test]
    fn what_disturbed_is_named_with_its_place_and_the_worst_of_it() {
        let spin = of_blocks("spin", false, &[&[waited(3.0)], &[waited(4.0)], &[]]);
        assert_eq!(
            line_of(std::slice::from_ref(&spin), &[]),
            "yes, leaving out 2 of 3 blocks, disturbed: vCPU 0 waited for CPU 3 (2 blocks of spin, up to 4.00 ms)"
        );
        let halt = of_blocks("halt", false, &[&[waited(5.0)]]);
        assert!(line_of(&[spin, halt], &[]).ends_with("vCPU 0 waited for CPU 3 (3 blocks of 2 cells, up to 5.00 ms)"));
    }

    #[test]
    fn a_cell_that_was_never_quiet_is_told_apart() {
        let cells = [of_blocks("spin", true, &[&[waited(3.0)]]), of_blocks("halt", false, &[&[]])];
        assert!(line_of(&cells, &[]).starts_with("NEVER QUIET: 1 of 2 cells (spin); disturbed 1 of 2 blocks: "));
    }

    #[test]
    fn causes_beyond_the_first_three_are_counted() {
        let all: Vec<Disturbance> =
            Kind::ALL.map(|kind| Disturbance { kind, unit: kind.unit(), amount: 2.0, vcpu: None, cpu: None }).to_vec();
        let line = line_of(&[of_blocks("spin", true, &[&all])], &[]);
        assert!(line.ends_with(&format!(", and {} other causes (--json)", Kind::ALL.len() - MOST_CAUSES)), "{line}");
    }

    #[test]
    fn every_kind_has_words_of_its_own() {
        let cause = |kind: Kind| {
            let cells = vec![id("x2apic", "spin")];
            let cause = Cause { kind, vcpu: Some(1), cpu: Some(0), blocks: 1, cells, most: 1.0, unit: kind.unit() };
            of_cause(&cause, &|_| "spin".to_owned())
        };
        let all: BTreeSet<String> = Kind::ALL.into_iter().map(cause).collect();
        assert_eq!(all.len(), Kind::ALL.len());
    }
}
