//! Whether the machine was quiet, in one line, and what disturbed it, in another.

use super::units;
use super::wrap::width_of;
use crate::config::routes;
use crate::results::count::count;
use crate::results::disturbance::{Kind, Unit};
use crate::results::quiet::{Cause, Quiet, Verdict};
use guest_stub::abi::cell::CellId;

/// Causes that are named in the head, those of most blocks.
const MOST_CAUSES: usize = 3;
/// Causes that are named with their blocks.
const MOST_EXPLAINED: usize = 2;

/// Whether the machine was quiet, or what disturbed how many blocks of which cells: with as many causes as fit into a line of
/// `width` columns, but one at least. `name` names a cell.
pub(super) fn verdict(quiet: &Quiet, cells: usize, name: &dyn Fn(CellId) -> String, width: usize) -> String {
    let naming = |causes: usize| {
        let told: Vec<String> = quiet.causes.iter().take(causes).map(what_happened).collect();
        let more = if quiet.causes.len() > causes { ", …" } else { "" };
        format!("{}{}{more}", answer(quiet, cells, name), told.join(", "))
    };
    let texts = (1..=MOST_CAUSES).rev().map(naming);
    texts.into_iter().find(|text| width_of(text) <= width).unwrap_or_else(|| naming(1))
}

/// The verdict up to what disturbed the blocks.
fn answer(quiet: &Quiet, cells: usize, name: &dyn Fn(CellId) -> String) -> String {
    let blocks = count_blocks(quiet.blocks);
    let of_cells = |which: &[CellId]| match which {
        [only] => name(*only),
        several => format!("{} of {}", several.len(), count(cells, "cell")),
    };
    match quiet.verdict {
        Verdict::NotKnown => format!("Not known to be quiet: {} are not seen here", noun(Kind::WaitedForCpu)),
        Verdict::Quiet => format!("Quiet: none of {blocks} was disturbed"),
        Verdict::DisturbedBlocksLeftOut => {
            format!("Quiet but for {} of {blocks} ({}): ", quiet.disturbed, of_cells(&disturbed_cells(quiet)))
        }
        Verdict::NeverQuiet => {
            format!("NEVER QUIET: {}, {} of {blocks}: ", of_cells(&quiet.never_quiet), quiet.disturbed)
        }
    }
}

fn disturbed_cells(quiet: &Quiet) -> Vec<CellId> {
    let mut cells = Vec::new();
    for &cell in quiet.causes.iter().flat_map(|cause| &cause.cells) {
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells
}

/// What disturbed how many blocks, by how much, and what is not known; `None`: there is nothing to say. `name` names a cell.
pub(super) fn causes(quiet: &Quiet, name: &dyn Fn(CellId) -> String) -> Option<String> {
    let Quiet { causes, unknown, .. } = quiet;
    let mut told: Vec<String> = causes.iter().take(MOST_EXPLAINED).map(|cause| of_cause(cause, name)).collect();
    if let Some(others @ 1..) = causes.len().checked_sub(MOST_EXPLAINED) {
        told.push(format!("and {} (--json)", count(others, "other cause")));
    }
    if told.is_empty() {
        told.extend((!unknown.is_empty()).then(|| "none".to_owned()));
    }
    let untold: Vec<&str> = unknown.iter().map(|&kind| noun(kind)).collect();
    let not_known = if untold.is_empty() { String::new() } else { format!("; not known here: {}", untold.join(", ")) };
    (!told.is_empty()).then(|| format!("{}{not_known}", told.join(", ")))
}

fn count_blocks(blocks: u64) -> String {
    count(usize::try_from(blocks).unwrap_or(usize::MAX), "block")
}

/// `vCPU 0 waited for CPU 0 (12 blocks of x2apic user, up to 4.00 ms)`; the head counts several cells.
fn of_cause(cause: &Cause, name: &dyn Fn(CellId) -> String) -> String {
    let of_cell = match cause.cells.as_slice() {
        [only] => format!(" of {}", name(*only)),
        _ => String::new(),
    };
    let most = match cause.unit {
        // It was shorter than what is measured.
        Unit::Ns if cause.most <= 0.0 => String::new(),
        Unit::Ns => format!(", up to {}", units::time(cause.most)),
        Unit::Khz => format!(", by up to {:.0} MHz", cause.most / 1e3),
        Unit::Times if cause.most > 1.0 => format!(", up to {:.0} times", cause.most),
        Unit::Times => String::new(),
    };
    format!("{} ({}{of_cell}{most})", what_happened(cause), count_blocks(cause.blocks))
}

fn what_happened(cause: &Cause) -> String {
    let is_native = |cell: &CellId| routes::of(cell.route).is_native();
    let participant = match (cause.cells.iter().any(is_native), cause.cells.iter().all(is_native)) {
        (false, _) => "vCPU",
        (true, true) => "thread",
        (true, false) => "vCPU or thread",
    };
    let whose = cause.vcpu.map_or_else(|| "the host's thread".to_owned(), |vcpu| format!("{participant} {vcpu}"));
    let cpu = cause.cpu.map_or_else(|| "a CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    match cause.kind {
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
        Kind::Stopped => format!("{whose} neither ran nor waited for {cpu}"),
        Kind::Continued => "the process was stopped and continued".to_owned(),
        Kind::Suspended => "the machine was suspended".to_owned(),
    }
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
    use crate::results::fixture::{block, cell, id};
    use crate::results::measurement::Cell;
    use std::collections::BTreeSet;

    fn waited(ms: f64) -> Disturbance {
        Disturbance { kind: Kind::WaitedForCpu, amount: ms * 1e6, unit: Unit::Ns, vcpu: Some(0), cpu: Some(3) }
    }

    /// A cell of these blocks, each with what disturbed it.
    fn of_blocks(state: &str, never_quiet: bool, blocks: &[&[Disturbance]]) -> Cell {
        let block = |disturbances: &&[Disturbance]| block(0, 0, disturbances.to_vec());
        Cell { blocks: blocks.iter().map(block).collect(), never_quiet, ..cell(state, 1.0) }
    }

    fn quiet_of(cells: &[Cell], unknown: &[Kind]) -> Quiet {
        Quiet::of_cells(cells, unknown.iter().copied().collect::<BTreeSet<_>>())
    }

    fn state(id: CellId) -> String {
        id.target_state.name().to_owned()
    }

    fn verdict_of(cells: &[Cell]) -> String {
        verdict(&quiet_of(cells, &[]), cells.len(), &state, 80)
    }

    fn causes_of(cells: &[Cell], unknown: &[Kind]) -> Option<String> {
        causes(&quiet_of(cells, unknown), &state)
    }

    #[test]
    fn a_quiet_machine_says_what_it_does_not_tell() {
        let cells = [of_blocks("spin", false, &[&[], &[]])];
        assert_eq!(verdict_of(&cells), "Quiet: none of 2 blocks was disturbed");
        assert_eq!(verdict_of(&[of_blocks("spin", false, &[&[]])]), "Quiet: none of 1 block was disturbed");
        assert_eq!(causes_of(&cells, &[]), None);
        let unknown = causes_of(&cells, &[Kind::Steal, Kind::ThermalThrottle]);
        assert_eq!(unknown.as_deref(), Some("none; not known here: steal time, thermal throttling"));
        let blind = verdict(&quiet_of(&cells, &[Kind::WaitedForCpu, Kind::Steal]), 1, &state, 80);
        assert_eq!(blind, "Not known to be quiet: waits for a CPU are not seen here");
    }

    #[test]
    fn what_disturbed_is_named_with_its_place_and_the_worst_of_it() {
        let spin = of_blocks("spin", false, &[&[waited(3.0)], &[waited(4.0)], &[]]);
        let only = std::slice::from_ref(&spin);
        assert_eq!(verdict_of(only), "Quiet but for 2 of 3 blocks (spin): vCPU 0 waited for CPU 3");
        let causes = causes_of(only, &[]);
        assert_eq!(causes.as_deref(), Some("vCPU 0 waited for CPU 3 (2 blocks of spin, up to 4.00 ms)"));
        let cells = [spin, of_blocks("halt", false, &[&[waited(5.0)]])];
        assert_eq!(verdict_of(&cells), "Quiet but for 3 of 4 blocks (2 of 2 cells): vCPU 0 waited for CPU 3");
        let causes = causes_of(&cells, &[]);
        assert_eq!(causes.as_deref(), Some("vCPU 0 waited for CPU 3 (3 blocks, up to 5.00 ms)"));
    }

    #[test]
    fn native_calls_have_threads_and_no_vcpus() {
        let of_guest = of_blocks("user", false, &[&[waited(3.0)], &[]]);
        let native = Cell { id: id("native-rseq", "user"), ..of_guest.clone() };
        let whose = |cells: &[Cell]| verdict_of(cells).rsplit_once(": ").expect("a cause").1.to_owned();
        assert_eq!(whose(std::slice::from_ref(&native)), "thread 0 waited for CPU 3");
        assert_eq!(whose(&[native, of_guest]), "vCPU or thread 0 waited for CPU 3");
    }

    #[test]
    fn a_cell_that_was_never_quiet_is_told_apart() {
        let cells = [of_blocks("spin", true, &[&[waited(3.0)]]), of_blocks("halt", false, &[&[]])];
        assert_eq!(verdict_of(&cells), "NEVER QUIET: spin, 1 of 2 blocks: vCPU 0 waited for CPU 3");
        let cells = [of_blocks("spin", true, &[&[waited(3.0)]]), of_blocks("halt", true, &[&[waited(3.0)]])];
        assert_eq!(verdict_of(&cells), "NEVER QUIET: 2 of 2 cells, 2 of 2 blocks: vCPU 0 waited for CPU 3");
    }

    #[test]
    fn a_stop_that_was_too_short_to_be_measured_has_no_length() {
        let kind = Kind::Continued;
        let stop = Disturbance { kind, unit: kind.unit(), amount: 0.0, vcpu: None, cpu: None };
        let causes = causes_of(&[of_blocks("spin", false, &[&[stop]])], &[]);
        assert_eq!(causes.as_deref(), Some("the process was stopped and continued (1 block of spin)"));
    }

    #[test]
    fn causes_beyond_the_first_ones_are_counted_and_the_verdict_has_those_that_fit() {
        let all: Vec<Disturbance> =
            Kind::ALL.map(|kind| Disturbance { kind, unit: kind.unit(), amount: 2.0, vcpu: None, cpu: None }).to_vec();
        let cells = [of_blocks("spin", true, &[&all])];
        let causes = causes_of(&cells, &[]).expect("there are some");
        assert!(
            causes.ends_with(&format!(", and {} other causes (--json)", Kind::ALL.len() - MOST_EXPLAINED)),
            "{causes}"
        );
        let told = |width| {
            let text = verdict(&quiet_of(&cells, &[]), 1, &state, width);
            assert!(text.ends_with(", …") && (width_of(&text) <= width || width < 80), "{width}: {text}");
            quiet_of(&cells, &[]).causes.iter().filter(|cause| text.contains(&what_happened(cause))).count()
        };
        assert_eq!([20, 80, 200].map(told), [1, 1, 3]);
    }

    #[test]
    fn every_kind_has_words_of_its_own() {
        let cause = |kind: Kind| {
            let cells = vec![id("x2apic", "spin")];
            let cause = Cause { kind, vcpu: Some(1), cpu: Some(0), blocks: 1, cells, most: 1.0, unit: kind.unit() };
            what_happened(&cause)
        };
        let all: BTreeSet<String> = Kind::ALL.into_iter().map(cause).collect();
        assert_eq!(all.len(), Kind::ALL.len());
    }
}
