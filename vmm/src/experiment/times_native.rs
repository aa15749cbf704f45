//! What a cell's metrics are in those of its native counterparts, by pairs of blocks.

use super::assess::boots_of_turns;
use super::collected::Collected;
use super::instruments::frequency;
use super::kept::{self, Portion};
use crate::config::{CellId, divisors};
use crate::results::clock::CellClock;
use crate::results::host_cpu::CpuTimesNative;
use crate::results::instruments::Instruments;
use crate::results::metric::MetricName;
use crate::results::times::{METRICS, Times};
use crate::statistics::bootstrap::{self, Boots};
use crate::statistics::drift::Drift;
use crate::statistics::order::{Quantile, Sample};
use crate::statistics::ratio::{Measured, Quotient};
use crate::statistics::{host_cpu, metrics};
use std::collections::BTreeSet;

/// What a cell's figures are in those of its divisors.
#[derive(Default)]
pub(super) struct Divided {
    pub(super) metrics: Vec<Times>,
    /// Its CPU time a call.
    pub(super) cpu: Vec<CpuTimesNative>,
    /// Why it has no figures in those of a divisor that was to be measured.
    pub(super) missing: Vec<String>,
}

/// Each metric of `cell` divided by that of each of its divisors among `cells`, whose machines have these instruments.
pub(super) fn times_native<'i>(
    cell: &Collected,
    cells: &[Collected],
    instruments: impl Fn(&CellId) -> Option<&'i Instruments>,
) -> Divided {
    let clock = |of: &Collected| Some(instruments(&of.id)?.clock.of_cell(&of.id, of.has_host_stamps()));
    let divisors = divisors::of(&cell.id).unwrap_or_default();
    let measured = divisors.iter().filter_map(|divisor| cells.iter().find(|other| other.id == *divisor));
    let mut divided = Divided::default();
    for other in measured {
        let clocks = clock(cell).zip(clock(other));
        let pairs = clocks.and_then(|(own, others)| Pairs::of([cell, other], [own, others]));
        match pairs {
            Some(pairs) => {
                divided.metrics.extend(METRICS.iter().filter_map(|&metric| pairs.divide(metric)));
                divided.cpu.extend(pairs.divide_cpu());
            }
            None => divided.missing.extend(why_there_is_no_pair(cell, other)),
        }
    }
    divided
}

/// A metric's medians of so many pairs, the first divided by the second. `interval`: that of the ratio, [in the ratio](relative_interval);
/// where there is no ratio, nobody asks for it.
pub(super) fn quotient(
    metric: MetricName,
    by: CellId,
    pairs: usize,
    [own, divisor]: [Measured; 2],
    interval: impl FnOnce() -> Option<[f64; 2]>,
) -> Times {
    let found = Quotient::of(own, divisor);
    let ratio = found.ratio();
    Times {
        metric,
        divisor: by,
        pairs: pairs as u64,
        own_ns: own.median,
        divisor_ns: divisor.median,
        ratio,
        ci95: ratio.and_then(|_| found.interval(interval()?)),
        at_least: found.at_least(),
    }
}

/// The interval of the ratio of two samples' medians, in that ratio; `None`: these are too few boots.
pub(super) fn relative_interval(samples: &[Sample; 2], boots: &Boots) -> Option<[f64; 2]> {
    let found = bootstrap::ratio_of_medians(&samples[0], &samples[1], boots)?;
    Some(found.interval?.map(|end| end / found.value))
}

/// `None`: the run ended before there could be one.
fn why_there_is_no_pair(cell: &Collected, divisor: &Collected) -> Option<String> {
    let route = divisor.id.route.name();
    if cell.blocks.is_empty() {
        return None;
    }
    if let Some(error) = &divisor.failed {
        return Some(format!("{route} failed: {error}"));
    }
    if divisor.blocks.is_empty() {
        return divisor.silences.first().map(|silence| format!("{route} failed: {silence}"));
    }
    Some(format!("never quiet in one turn with {route}"))
}

/// The host's CPU time, the blocks told apart by their turns.
fn cpu_by_turn(portions: &[&Portion]) -> Option<Sample> {
    host_cpu::sample(kept::cpu_times(portions.iter().map(|portion| (portion.turn, *portion))))
}

/// The blocks of two cells that nothing disturbed and that were measured in the same turns, of which there is at least one; those
/// measured again included.
struct Pairs<'c> {
    divisor: CellId,
    turns: BTreeSet<u32>,
    portions: [Vec<&'c Portion>; 2],
    clocks: [CellClock; 2],
}

impl<'c> Pairs<'c> {
    fn of(cells: [&'c Collected; 2], clocks: [CellClock; 2]) -> Option<Self> {
        let quiet = cells.map(|cell| cell.quiet_portions().filter(|portion| portion.has_rounds).collect::<Vec<_>>());
        let [own, other] =
            quiet.each_ref().map(|portions| portions.iter().map(|portion| portion.turn).collect::<BTreeSet<u32>>());
        let turns: BTreeSet<u32> = &own & &other;
        let portions = quiet.map(|it| it.into_iter().filter(|portion| turns.contains(&portion.turn)).collect());
        (!turns.is_empty()).then_some(Self { divisor: cells[1].id, turns, portions, clocks })
    }

    fn divide(&self, metric: MetricName) -> Option<Times> {
        let [own, other] = self.portions.each_ref().map(|portions| kept::sample_by_turn(metric, portions));
        let samples = [own?, other?];
        let [own, divisor] = [0, 1].map(|which: usize| {
            let CellClock { tsc_khz, error_ns } = self.clocks[which];
            let median = metrics::nanoseconds(samples[which].quantile(Quantile::P50), frequency(tsc_khz));
            Measured { median, error: metric.clock_error(error_ns, None).unwrap_or(0.0) }
        });
        // Of cycles of two clocks.
        let interval = || relative_interval(&samples, &self.boots(|portions| kept::sample_by_turn(metric, portions)));
        Some(quotient(metric, self.divisor, self.turns.len(), [own, divisor], interval))
    }

    fn divide_cpu(&self) -> Option<CpuTimesNative> {
        let [own, divisor] = self.portions.each_ref().map(|portions| cpu_by_turn(portions));
        let (own, divisor) = (own?, divisor?);
        let found = bootstrap::ratio_of_medians(&own, &divisor, &self.boots(cpu_by_turn))?;
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
    fn boots(&self, sample: impl Fn(&[&Portion]) -> Option<Sample>) -> Boots {
        Boots { drift: Drift::of_cells(&[self.ratios(sample)]), ..boots_of_turns(&self.portions[0]) }
    }

    /// The ratio of the medians of each turn, by rising turn.
    fn ratios(&self, sample: impl Fn(&[&Portion]) -> Option<Sample>) -> Vec<(u32, f64)> {
        let median_in = |turn: u32, portions: &[&Portion]| {
            let of_turn: Vec<&Portion> = portions.iter().copied().filter(|portion| portion.turn == turn).collect();
            sample(&of_turn).map(|sample| sample.quantile(Quantile::P50))
        };
        let ratio = |&turn: &u32| {
            let [own, divisor] = self.portions.each_ref().map(|portions| median_in(turn, portions));
            divisor.filter(|&divisor| divisor > 0.0).and_then(|divisor| Some((turn, own? / divisor)))
        };
        self.turns.iter().filter_map(ratio).collect()
    }
}
