//! One set of runs in terms of another: a virtual machine's calls in those of the same code on bare metal.
//!
//! The machines may differ in anything but the code: that is what is asked about. A ratio is of times in ns, which two clocks have in
//! common.

use super::differences::Factor;
use super::rows::Side;
use super::{Run, each_once, sandboxes, side};
use crate::results::comparison::Difference;
use crate::results::count::count;
use crate::results::measurement::{Cell, Measurement};
use crate::results::overhead::{IntervalOf, OVERHEAD_SCHEMA, Overhead, OverheadRow};
use crate::statistics::change::Difference as Change;
use guest_stub::abi::cell::{CellId, Observe, Under};
use std::collections::BTreeSet;

/// How often an interval misses.
const MISS: f64 = 0.05;

/// TSC frequencies that are no nearer than this are told: one that was measured is off by less.
const SAME_FREQUENCY: f64 = 1e-3;

/// What `new` takes in terms of `base`, each by rising time.
pub fn overhead(base: &[Run], new: &[Run], expected: &[Factor]) -> Overhead {
    let differences = differences(base, new, expected);
    let unexpected = differences.iter().filter(|it| !it.allowed).map(ToString::to_string);
    let mut overhead = Overhead {
        schema: OVERHEAD_SCHEMA.to_owned(),
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        base: side(base),
        new: side(new),
        not_comparable: unexpected.collect(),
        differences,
        cells: Vec::new(),
        only_in_base: Vec::new(),
        only_in_new: Vec::new(),
        warnings: [("base", base), ("new", new)].into_iter().flat_map(|(name, runs)| warnings(name, runs)).collect(),
    };
    let of_base = ids(base);
    let vmms: BTreeSet<Option<Under>> = of_base.iter().map(|id| id.under).collect();
    // Rows of kipi's own VMM, or of the machine that the image ran on, come before those of other VMMs.
    let divisor = match vmms.iter().copied().collect::<Vec<_>>().as_slice() {
        [None, others @ ..] => {
            if !others.is_empty() {
                let text = format!("base: rows under {} divide nothing: kipi's own are there", names(others));
                overhead.warnings.push(text);
            }
            None
        }
        [only] => {
            overhead.warnings.push(format!("base: all of its calls ran under {}", names(&[*only])));
            *only
        }
        [] => None,
        several => {
            let vmms = names(several);
            overhead.not_comparable.push(format!("the base has rows under {vmms}: which of them divide is not known"));
            None
        }
    };
    if !overhead.not_comparable.is_empty() {
        return overhead;
    }
    let of_new = ids(new);
    let like = |id: &CellId| CellId { under: divisor, ..*id };
    // A cell of the references, which nobody has asked for, divides nothing.
    let both = of_new.iter().filter(|id| of_base.contains(&like(id)));
    overhead.cells = both.filter_map(|id| row([base, new], [&like(id), id])).collect();
    overhead.only_in_new = of_new.iter().filter(|id| !of_base.contains(&like(id))).copied().collect();
    let divides = |id: &CellId| id.under != divisor || of_new.iter().any(|new| like(new) == *id);
    overhead.only_in_base = of_base.into_iter().filter(|id| !divides(id)).collect();
    if overhead.cells.is_empty() {
        overhead.not_comparable.push("they have no cell in common".to_owned());
    }
    overhead
}

fn names(vmms: &[Option<Under>]) -> String {
    vmms.iter().flatten().map(|under| under.name()).collect::<Vec<_>>().join(", ")
}

/// The cells of the guest's vantage that were asked for and that a run has a time of.
fn ids(runs: &[Run]) -> Vec<CellId> {
    let has_time = |run: &&Run, id: &CellId| Side::of(std::slice::from_ref(*run), id, None).runs() > 0;
    let of = |run: &'_ Run| -> Vec<CellId> {
        let ids = run.measurement.asked().map(|cell| cell.id).filter(|id| id.observe == Observe::Guest);
        ids.filter(|id| has_time(&run, id)).collect()
    };
    each_once(runs.iter().flat_map(of))
}

/// `None`: a side has no run with a time.
fn row([base, new]: [&[Run]; 2], [base_id, new_id]: [&CellId; 2]) -> Option<OverheadRow> {
    let sides = [Side::of(base, base_id, None), Side::of(new, new_id, None)];
    let are_single = sides.iter().all(|side| side.runs() == 1);
    let [of_base, of_new] = sides.each_ref().map(|side| {
        let mut set = side.raw();
        if are_single && set.known.is_none() {
            set.known = side.by_boots();
        }
        set
    });
    let difference = Change::between(&of_base, &of_new)?;
    // Both vary, or a side's runs tell how the other's do.
    let is_known = !are_single || [&of_base, &of_new].iter().all(|set| set.known.is_some());
    let interval = difference.interval(MISS).filter(|_| is_known);
    let is_of_boots = are_single && sides.iter().all(|side| side.raw().known.is_none());
    let [base_ns, new_ns] = sides.each_ref().map(Side::median);
    Some(OverheadRow {
        id: *new_id,
        base_ns,
        new_ns,
        added_ns: new_ns - base_ns,
        ratio: difference.estimate.exp(),
        ci95: interval.map(|ends| ends.map(f64::exp)),
        interval_of: interval.map(|_| if is_of_boots { IntervalOf::Boots } else { IntervalOf::Runs }),
    })
}

/// In what the machines differ, and what was measured on them. That other code ran makes a ratio meaningless.
fn differences(base: &[Run], new: &[Run], expected: &[Factor]) -> Vec<Difference> {
    type Fact = (&'static str, Option<Factor>, fn(&Measurement) -> BTreeSet<String>);
    const FACTS: [Fact; 4] = [
        ("cpu", None, cpus),
        ("processors", None, |it| BTreeSet::from([it.host.cpus.len().to_string()])),
        ("kipi", Some(Factor::Kipi), |it| BTreeSet::from([it.host.kipi.clone()])),
        ("worker", Some(Factor::Options), |it| {
            BTreeSet::from([format!("{} {}", it.config.worker, it.config.argument)])
        }),
    ];
    let values = |runs: &[Run], of: fn(&Measurement) -> BTreeSet<String>| -> Vec<String> {
        runs.iter().flat_map(|run| of(&run.measurement)).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let differ = FACTS.iter().filter_map(|&(name, refuses, of)| {
        let [base, new] = [values(base, of), values(new, of)];
        let allowed = refuses.is_none_or(|factor| expected.contains(&factor));
        let (factor, item) = match refuses {
            Some(factor) if factor.name() != name => (factor.name(), Some(name.to_owned())),
            Some(_) | None => (name, None),
        };
        (base != new).then(|| Difference { factor: factor.to_owned(), item, base, new, allowed })
    });
    differ.chain(frequencies(base, new)).chain(sandboxes::difference(base, new)).collect()
}

/// The processors that the calls ran on: another VMM may show its guest one that the host has not got.
fn cpus(measurement: &Measurement) -> BTreeSet<String> {
    let shown = |under: Under| measurement.under.iter().find(|vmm| vmm.name == under.name()).map(|vmm| &vmm.cpu);
    let of = |cell: &Cell| cell.id.under.and_then(shown).unwrap_or(&measurement.host.cpu).clone();
    let cpus: BTreeSet<String> = measurement.asked().map(of).collect();
    if cpus.is_empty() { BTreeSet::from([measurement.host.cpu.clone()]) } else { cpus }
}

/// `None`: they are the same, or a side that has measured nothing does not tell.
fn frequencies(base: &[Run], new: &[Run]) -> Option<Difference> {
    let of = |runs: &[Run]| -> BTreeSet<u64> {
        let cells = runs.iter().flat_map(|run| run.measurement.asked());
        cells.map(|cell| cell.clock.tsc_khz).collect()
    };
    let [base, new] = [of(base), of(new)];
    let has = |others: &BTreeSet<u64>, khz: u64| {
        others.iter().any(|&other| (khz as f64 / other as f64 - 1.0).abs() < SAME_FREQUENCY)
    };
    let are_same = base.iter().all(|&khz| has(&new, khz)) && new.iter().all(|&khz| has(&base, khz));
    let told = |all: BTreeSet<u64>| all.into_iter().map(|khz| format!("{:.3} MHz", khz as f64 / 1e3)).collect();
    let are_known = !base.is_empty() && !new.is_empty();
    (are_known && !are_same).then(|| Difference {
        factor: "tsc".to_owned(),
        item: None,
        base: told(base),
        new: told(new),
        allowed: true,
    })
}

/// What a side's cells lack.
fn warnings(side: &str, runs: &[Run]) -> Vec<String> {
    let told = |is: fn(&Cell) -> bool, what: &str| {
        let cells = runs.iter().flat_map(|run| run.measurement.asked());
        let cells = each_once(cells.filter(|cell| is(cell)).map(|cell| cell.id)).len();
        (cells > 0).then(|| format!("{side}: {what} in {}", count(cells, "cell")))
    };
    let wrong = told(|cell| !cell.integrity.is_clean(), "calls went wrong");
    let loud = told(|cell| cell.never_quiet, "the machine was never quiet");
    wrong.into_iter().chain(loud).collect()
}

#[cfg(test)]
mod tests;
