//! What one run says of a cell: its median, and that in the reference's.

use super::Run;
use crate::config::MIN_BOOTS;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use crate::statistics::change::Variance;
use crate::statistics::drift::Drift;
use guest_stub::abi::cell::CellId;
use guest_stub::random::SplitMix64;
use std::collections::{BTreeMap, BTreeSet};

/// What is compared.
pub(super) const METRIC: MetricName = MetricName::RoundTrip;

/// Turns that a run's value is made of; of fewer, the medians of the whole run are more exact.
const FEWEST_TURNS: usize = 10;

/// Turns at either end that are left out of a mean of turns, one in so many: what is left is nearly as robust as a median, and varies less.
const TRIMMED: usize = 5;

/// Draws of a run's boots and blocks.
const DRAWS: usize = 200;

/// The draws are always the same: the same documents give the same report.
const SEED: u64 = 0x6b69_7069;

/// What a run has of a cell.
pub(super) struct Observed {
    /// Its median round trip, ns.
    pub(super) p50_ns: f64,
    turns: BTreeMap<u32, Turn>,
    repetitions: Vec<f64>,
}

/// A block's median.
#[derive(Clone, Copy)]
struct Turn {
    boot: u32,
    logarithm: f64,
}

/// A run's value of a cell, a logarithm, and its variance by the run's own boots and blocks; zero where that is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RunValue {
    pub(super) logarithm: f64,
    pub(super) within: f64,
}

/// What a run has of a cell: the cell's own values, or what was measured of it in every turn beside the cells.
pub(super) fn observe(run: &Run, id: &CellId) -> Option<Observed> {
    let measurement = &run.measurement;
    match measurement.cells.iter().find(|cell| cell.id == *id) {
        Some(cell) => of_cell(cell),
        None => of_reference(measurement, id),
    }
}

fn of_cell(cell: &Cell) -> Option<Observed> {
    let metric = cell.metrics.get(&METRIC)?;
    let turns = cell.counted_blocks().filter_map(|block| {
        let turn = Turn { boot: block.boot, logarithm: logarithm(block.metrics.get(&METRIC)?.p50)? };
        Some((block.number, turn))
    });
    let repetitions = metric.between_runs.iter().flat_map(|between| &between.of_runs);
    Some(Observed {
        p50_ns: logarithm(metric.p50).map(|_| metric.p50)?,
        turns: turns.collect(),
        repetitions: repetitions.filter_map(|run| logarithm(run.p50)).collect(),
    })
}

fn of_reference(measurement: &Measurement, id: &CellId) -> Option<Observed> {
    let reference = measurement.references.iter().find(|reference| reference.cell == Some(*id))?;
    let quiet = reference.blocks.iter().filter(|block| block.disturbances.is_empty());
    let turns: BTreeMap<u32, Turn> = quiet
        .filter_map(|block| Some((block.number, Turn { boot: block.boot, logarithm: logarithm(block.p50_ns)? })))
        .collect();
    let mut medians: Vec<f64> = turns.values().map(|turn| turn.logarithm).collect();
    medians.sort_unstable_by(f64::total_cmp);
    let p50_ns = medians.get(medians.len().checked_sub(1)? / 2)?.exp();
    Some(Observed { p50_ns, turns, repetitions: Vec::new() })
}

fn logarithm(time: f64) -> Option<f64> {
    (time > 0.0 && time.is_finite()).then(|| time.ln())
}

impl Observed {
    /// The variance of single runs, as repetitions of this one tell it, of the cell or of the cell divided by the reference.
    pub(super) fn known(&self, reference: Option<&Self>) -> Option<Variance> {
        let values: Vec<f64> = match reference {
            None => self.repetitions.clone(),
            Some(reference) if reference.repetitions.len() == self.repetitions.len() => {
                self.repetitions.iter().zip(&reference.repetitions).map(|(own, other)| own - other).collect()
            }
            Some(_) => Vec::new(),
        };
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (values.len() >= 2).then(|| Variance { value: squares / (n - 1.0), degrees: n - 1.0 })
    }

    /// How much the run's value varies by its own boots and blocks, and the drift that they show; `None`: too few boots.
    pub(super) fn by_boots(&self) -> Option<Variance> {
        let boots = self.turns.values().map(|turn| turn.boot).collect::<BTreeSet<_>>().len();
        let turns: Vec<Turn> = self.turns.values().copied().collect();
        let drift =
            Drift::of_cells(&[self.turns.iter().map(|(&number, turn)| (number, turn.logarithm.exp())).collect()]);
        (boots >= MIN_BOOTS).then(|| Variance {
            value: variance_of_draws(&turns) * drift.inflation(boots),
            degrees: drift.degrees_of_freedom(boots),
        })
    }

    /// Whether a value by turns can be had of it and, where there is one, the reference.
    pub(super) fn has_turns(&self, reference: Option<&Self>) -> bool {
        self.by_turn(reference).len() >= FEWEST_TURNS
    }

    /// The run's value, by the turns in which there are blocks of both where `by_turns` says so, or by the medians of the whole run.
    pub(super) fn value(&self, reference: Option<&Self>, by_turns: bool) -> RunValue {
        if !by_turns {
            let divisor = reference.map_or(0.0, |reference| reference.p50_ns.ln());
            return RunValue { logarithm: self.p50_ns.ln() - divisor, within: 0.0 };
        }
        let turns = self.by_turn(reference);
        let logarithm = trimmed_mean(turns.iter().map(|turn| turn.logarithm).collect());
        RunValue { logarithm, within: variance_of_draws(&turns) }
    }

    /// The value of each turn.
    fn by_turn(&self, reference: Option<&Self>) -> Vec<Turn> {
        let divided = |(number, turn): (&u32, &Turn)| match reference {
            None => Some(*turn),
            Some(reference) => {
                let other = reference.turns.get(number)?;
                Some(Turn { logarithm: turn.logarithm - other.logarithm, ..*turn })
            }
        };
        self.turns.iter().filter_map(divided).collect()
    }
}

/// The mean without the outermost values.
fn trimmed_mean(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let cut = values.len() / TRIMMED;
    let left = &values[cut..values.len() - cut];
    left.iter().sum::<f64>() / left.len() as f64
}

/// The variance of the mean when boots, and blocks within each boot, are drawn again, with replacement.
fn variance_of_draws(turns: &[Turn]) -> f64 {
    let mut boots: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for turn in turns {
        boots.entry(turn.boot).or_default().push(turn.logarithm);
    }
    let boots: Vec<Vec<f64>> = boots.into_values().collect();
    let mut random = SplitMix64(SEED);
    let means: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut drawn = Vec::with_capacity(turns.len());
            for _ in &boots {
                let boot = &boots[random.below(boots.len())];
                drawn.extend((0..boot.len()).map(|_| boot[random.below(boot.len())]));
            }
            trimmed_mean(drawn)
        })
        .collect();
    let mean = means.iter().sum::<f64>() / DRAWS as f64;
    means.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64
}
