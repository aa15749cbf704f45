//! What a cell's metrics are in those of its native counterparts, by pairs of blocks.

use super::assess::boots_of_turns;
use super::collected::Collected;
use super::instruments::frequency;
use crate::config::{CellId, divisors};
use crate::events::samples::{Block, Round};
use crate::results::host_cpu::CpuTimesNative;
use crate::results::measurement::{CellClock, Instruments};
use crate::results::metric::MetricName;
use crate::results::times_native::{METRICS, TimesNative};
use crate::statistics::bootstrap::{self, Boots};
use crate::statistics::drift::Drift;
use crate::statistics::order::{Quantile, Sample};
use crate::statistics::ratio::{Measured, Quotient};
use crate::statistics::{host_cpu, metrics};
use std::collections::BTreeSet;

/// Each metric of `cell` divided by that of each of its divisors among `cells`, whose machines have these instruments.
pub(super) fn times_native<'i>(
    cell: &Collected,
    cells: &[Collected],
    instruments: impl Fn(&CellId) -> Option<&'i Instruments>,
) -> Divided {
    let clock = |of: &Collected| Some(instruments(&of.id)?.clock.of_cell(&of.id, of.has_host_stamps()));
    let divided_by = |divisor: CellId| {
        let other = cells.iter().find(|other| other.id == divisor)?;
        Some(Pairs::of([cell, other], [clock(cell)?, clock(other)?]))
    };
    let pairs = divisors::of(&cell.id).unwrap_or_default().into_iter().filter_map(divided_by).collect::<Vec<_>>();
    let metrics = pairs.iter().flat_map(|pairs| METRICS.iter().filter_map(|&metric| pairs.divide(metric)));
    Divided { metrics: metrics.collect(), cpu: pairs.iter().filter_map(Pairs::divide_cpu).collect() }
}

/// What a cell's figures are in those of its divisors.
pub(super) struct Divided {
    pub(super) metrics: Vec<TimesNative>,
    /// Its CPU time a call.
    pub(super) cpu: Vec<CpuTimesNative>,
}

/// The blocks of two cells that nothing disturbed and that were measured in the same turns, those measured again included.
struct Pairs<'c> {
    divisor: CellId,
    turns: BTreeSet<u32>,
    blocks: [Vec<&'c Block>; 2],
    clocks: [CellClock; 2],
}

impl<'c> Pairs<'c> {
    fn of(cells: [&'c Collected; 2], clocks: [CellClock; 2]) -> Self {
        let quiet = cells.map(|cell| cell.blocks.iter().filter(|block| block.is_quiet() && !block.rounds.is_empty()));
        let [own, other] = quiet.clone().map(|blocks| blocks.map(|block| block.number).collect::<BTreeSet<u32>>());
        let turns: BTreeSet<u32> = &own & &other;
        let blocks = quiet.map(|blocks| blocks.filter(|block| turns.contains(&block.number)).collect());
        Self { divisor: cells[1].id, turns, blocks, clocks }
    }

    fn divide(&self, metric: MetricName) -> Option<TimesNative> {
        let [own, other] = self.blocks.each_ref().map(|blocks| sample(metric, blocks));
        let samples = [own?, other?];
        let measured = [0, 1].map(|which: usize| {
            let CellClock { tsc_khz, error_ns } = self.clocks[which];
            let median = metrics::nanoseconds(samples[which].quantile(Quantile::P50), frequency(tsc_khz));
            Measured { median, error: metric.clock_error(error_ns, None).unwrap_or(0.0) }
        });
        let boots = self.boots(|blocks| sample(metric, blocks));
        // In cycles, of two clocks.
        let in_cycles = bootstrap::ratio_of_medians(&samples[0], &samples[1], &boots);
        let [own, divisor] = measured;
        let quotient = Quotient::of(own, divisor);
        let interval = in_cycles.and_then(|found| found.interval.map(|ends| ends.map(|end| end / found.value)));
        Some(TimesNative {
            metric,
            divisor: self.divisor,
            pairs: self.turns.len() as u64,
            own_ns: own.median,
            divisor_ns: divisor.median,
            ratio: quotient.ratio(),
            ci95: interval.and_then(|relative| quotient.interval(relative)),
            at_least: quotient.at_least(),
        })
    }

    fn divide_cpu(&self) -> Option<CpuTimesNative> {
        let [own, divisor] = self.blocks.each_ref().map(|blocks| host_cpu::numbered_sample(blocks));
        let (own, divisor) = (own?, divisor?);
        let found = bootstrap::ratio_of_medians(&own, &divisor, &self.boots(host_cpu::numbered_sample))?;
        Some(CpuTimesNative {
            divisor: self.divisor,
            pairs: self.turns.len() as u64,
            own_ns: own.quantile(Quantile::P50),
            divisor_ns: divisor.quantile(Quantile::P50),
            ratio: found.value,
            ci95: found.interval,
        })
    }

    /// Where the pairs come from, whose ratios drift as those of these samples do.
    fn boots(&self, sample: impl Fn(&[&Block]) -> Option<Sample>) -> Boots {
        Boots { drift: Drift::of_cells(&[self.ratios(sample)]), ..boots_of_turns(&self.blocks[0]) }
    }

    /// The ratio of the medians of each turn, by rising turn.
    fn ratios(&self, sample: impl Fn(&[&Block]) -> Option<Sample>) -> Vec<(u32, f64)> {
        let median_in = |turn: u32, blocks: &[&Block]| {
            let of_turn: Vec<&Block> = blocks.iter().copied().filter(|block| block.number == turn).collect();
            sample(&of_turn).map(|sample| sample.quantile(Quantile::P50))
        };
        let ratio = |&turn: &u32| {
            let [own, divisor] = self.blocks.each_ref().map(|blocks| median_in(turn, blocks));
            divisor.filter(|&divisor| divisor > 0.0).and_then(|divisor| Some((turn, own? / divisor)))
        };
        self.turns.iter().filter_map(ratio).collect()
    }
}

fn sample(metric: MetricName, blocks: &[&Block]) -> Option<Sample> {
    let by_turn = blocks.iter().map(|block| (block.number, block.rounds.as_slice()) as (u32, &[Round]));
    metrics::numbered_sample(metric, by_turn)
}
