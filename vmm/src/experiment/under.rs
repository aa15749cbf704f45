//! What the figures of cells under other VMMs are in those of the same cells under kipi's own, and in those of native ones, by pairs of
//! boots: a boot under one is measured next to the boot of the same number under the other, but their blocks have turns of their own.

use super::times_native::{quotient, relative_interval};
use crate::config::{CellId, divisors};
use crate::results::count::count;
use crate::results::measurement::{Cell, Measurement, Skipped};
use crate::results::metric::MetricName;
use crate::results::standalone::OWN_VMM;
use crate::results::times::{METRICS, Times};
use crate::statistics::bootstrap::Boots;
use crate::statistics::drift::Drift;
use crate::statistics::order::{Observation, Quantile, Sample};
use crate::statistics::ratio::Measured;
use std::collections::{BTreeMap, BTreeSet};

/// Divides each cell under another VMM by those that it has among the others; that one is divided by no native cell has the reason that
/// the same cell has under kipi's own.
pub fn divide(measurement: &mut Measurement) {
    let cells = &measurement.cells;
    let find = |id: CellId| cells.iter().find(|cell| cell.id == id);
    let divided: Vec<[Vec<Times>; 2]> = cells
        .iter()
        .map(|cell| {
            if cell.id.under.is_none() {
                return [cell.times_native.clone(), Vec::new()];
            }
            let own = CellId { under: None, ..cell.id };
            let natively = divisors::of(&own).unwrap_or_default();
            [times(cell, natively.into_iter().filter_map(find)), times(cell, find(own).into_iter())]
        })
        .collect();
    let under = cells.iter().zip(&divided).filter(|(cell, [native, _])| cell.id.under.is_some() && native.is_empty());
    let undivided = under.filter_map(|(cell, _)| {
        let own = CellId { under: None, ..cell.id };
        let known = measurement.undivided.iter().find(|known| known.id == own)?;
        Some(Skipped { id: cell.id, reason: known.reason.clone() })
    });
    let undivided: Vec<Skipped> = undivided.collect();
    // Where kipi's own VMM has measured nothing, nothing of it is divided.
    let has = |id: &CellId| cells.iter().any(|cell| CellId { idle_before_us: None, ..cell.id } == *id);
    measurement.undivided.retain(|it| has(&it.id));
    measurement.undivided.extend(undivided);
    for (cell, [native, own]) in measurement.cells.iter_mut().zip(divided) {
        (cell.times_native, cell.times_own_vmm) = (native, own);
    }
    // A reader of the quotients needs it before all others.
    measurement.warnings.splice(0..0, uneven(&measurement.cells));
}

/// That quotients are of all blocks of the one cell, and of the undisturbed ones of the other, if some are; once for all of them.
fn uneven(cells: &[Cell]) -> Option<String> {
    let by = |of: fn(&Cell) -> &[Times]| -> BTreeSet<CellId> {
        let of_others = cells.iter().filter(|cell| cell.id.under.is_some());
        of_others.flat_map(of).map(|times| times.divisor).collect()
    };
    let [own, native] = [by(|cell| &cell.times_own_vmm), by(|cell| &cell.times_native)];
    let divisors = || cells.iter().filter(|cell| own.contains(&cell.id) || native.contains(&cell.id));
    let left_out: usize = divisors().map(|cell| cell.blocks.len() - cell.counted_blocks().count()).sum();
    let all: usize = divisors().map(|cell| cell.blocks.len()).sum();
    let quotients = [(own, format!("× {OWN_VMM}'s VMM")), (native, "× native".to_owned())];
    let quotients: Vec<String> = quotients.into_iter().filter(|(by, _)| !by.is_empty()).map(|(_, name)| name).collect();
    (left_out > 0).then(|| {
        format!(
            "{} may be too large in rows under other VMMs: {left_out} of the divisors' {} were disturbed and are left out; under \
             other VMMs nobody looks, and all blocks count",
            quotients.join(" and "),
            count(all, "block")
        )
    })
}

fn times<'c>(cell: &Cell, divisors: impl Iterator<Item = &'c Cell>) -> Vec<Times> {
    divisors.flat_map(|divisor| METRICS.iter().filter_map(|&metric| divide_one(metric, [cell, divisor]))).collect()
}

/// `None`: one of the two does not have the metric.
fn divide_one(metric: MetricName, cells: [&Cell; 2]) -> Option<Times> {
    let measured = |cell: &Cell| {
        let median = cell.metrics.get(&metric)?.p50;
        Some(Measured { median, error: metric.clock_error(cell.clock.error_ns, None).unwrap_or(0.0) })
    };
    let [own, divisor] = cells.map(measured);
    let pairs = pairs(metric, cells);
    Some(quotient(metric, cells[1].id, pairs.len(), [own?, divisor?], || interval(&pairs)))
}

/// The medians of the blocks of each boot that both cells have blocks of, by rising boot.
fn pairs(metric: MetricName, cells: [&Cell; 2]) -> Vec<[Vec<f64>; 2]> {
    let [own, mut divisor] = cells.map(|cell| {
        let mut of_boot: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for block in cell.counted_blocks() {
            of_boot.entry(block.boot).or_default().extend(block.metrics.get(&metric).map(|spread| spread.p50));
        }
        of_boot.retain(|_, medians| !medians.is_empty());
        of_boot
    });
    own.into_iter().filter_map(|(boot, own)| Some([own, divisor.remove(&boot)?])).collect()
}

/// The interval of the ratio of the medians of such pairs, in that ratio, when pairs are drawn again; `None`: there are too few.
fn interval(pairs: &[[Vec<f64>; 2]]) -> Option<[f64; 2]> {
    let sample = |which: usize| {
        let of_pair = |(block, pair): (u32, &[Vec<f64>; 2])| {
            pair[which].iter().map(|&value| Observation::one(value, block)).collect::<Vec<_>>()
        };
        Sample::new((0..).zip(pairs).flat_map(of_pair).collect())
    };
    let samples = [sample(0)?, sample(1)?];
    let median = |values: &[f64]| {
        let values = values.iter().map(|&value| Observation::one(value, 0));
        Some(Sample::new(values.collect())?.quantile(Quantile::P50))
    };
    let ratio = |(pair, [own, divisor]): (u32, &[Vec<f64>; 2])| {
        let divisor = median(divisor).filter(|&divisor| divisor > 0.0)?;
        Some((pair, median(own)? / divisor))
    };
    let ratios: Vec<(u32, f64)> = (0..).zip(pairs).filter_map(ratio).collect();
    let boots = Boots { of_block: (0..).take(pairs.len()).collect(), drift: Drift::of_cells(&[ratios]) };
    relative_interval(&samples, &boots)
}

#[cfg(test)]
mod tests;
