//! Kinds of hosts, and runs that are made up as each would give them.

use crate::chance::normal;
use guest_stub::random::SplitMix64;
use kipi::comparison::Run;
use kipi::results::measurement::Measurement;
use kipi::results::metric::MetricName;
use kipi::statistics::drift::noise_of;

/// A kind of host: how a cell's time varies from run to run, in standard deviations.
pub(super) struct Host {
    pub(super) name: &'static str,
    /// What all cells share, and its long memory H (fractional Gaussian noise).
    shared: f64,
    memory: f64,
    /// What is each cell's own.
    own: f64,
    kind: Kind,
}

/// How the cell's own part is distributed.
#[derive(Clone, Copy)]
enum Kind {
    Normal,
    /// Student's t with 3 degrees of freedom.
    HeavyTails,
    /// One run in twenty takes a fifth longer.
    Outliers,
    /// One of two states in each run, 4 % apart.
    Bimodal,
    /// Long memory of the cell's own.
    Drifting,
}

pub(super) const HOSTS: [Host; 6] = [
    Host { name: "as measured (own 1.1 %)", shared: 0.05, memory: 0.75, own: 0.011, kind: Kind::Normal },
    Host { name: "noisy cells (own 2.5 %)", shared: 0.05, memory: 0.75, own: 0.025, kind: Kind::Normal },
    Host { name: "heavy tails", shared: 0.05, memory: 0.75, own: 0.011, kind: Kind::HeavyTails },
    Host { name: "outliers", shared: 0.05, memory: 0.75, own: 0.011, kind: Kind::Outliers },
    Host { name: "bimodal", shared: 0.05, memory: 0.75, own: 0.005, kind: Kind::Bimodal },
    Host { name: "the reference drifts otherwise", shared: 0.10, memory: 0.9, own: 0.011, kind: Kind::Drifting },
];

impl Host {
    pub(super) fn runs(&self, template: &Measurement, count: usize, random: &mut SplitMix64) -> Vec<Run> {
        let drift = fractional_noise(self.memory, count, random);
        let cells = template.cells.len();
        let own: Vec<Vec<f64>> = (0..cells).map(|_| self.own(count, random)).collect();
        let run = |number: usize| {
            let mut measurement = template.clone();
            for (cell, own) in measurement.cells.iter_mut().zip(&own) {
                let logarithm = self.shared * drift[number] + own[number];
                if let Some(metric) = cell.metrics.get_mut(&MetricName::RoundTrip) {
                    metric.p50 *= logarithm.exp();
                }
            }
            Run { file: format!("run-{number:02}.json"), measurement }
        };
        (0..count).map(run).collect()
    }

    fn own(&self, count: usize, random: &mut SplitMix64) -> Vec<f64> {
        let mut values: Vec<f64> = match self.kind {
            Kind::Drifting => fractional_noise(0.7, count, random),
            Kind::Normal | Kind::HeavyTails | Kind::Outliers | Kind::Bimodal => {
                (0..count).map(|_| normal(random)).collect()
            }
        };
        for value in &mut values {
            match self.kind {
                Kind::Normal | Kind::Drifting => *value *= self.own,
                Kind::HeavyTails => {
                    let squares: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
                    *value *= self.own / (squares / 3.0).sqrt() / 3.0_f64.sqrt();
                }
                Kind::Outliers => *value = *value * self.own + if random.below(20) == 0 { 0.2 } else { 0.0 },
                Kind::Bimodal => *value = *value * self.own + if random.below(2) == 0 { 0.04 } else { 0.0 },
            }
        }
        values
    }
}

/// Fractional Gaussian noise of variance 1.
fn fractional_noise(memory: f64, count: usize, random: &mut SplitMix64) -> Vec<f64> {
    let innovations: Vec<f64> = (0..count).map(|_| normal(random)).collect();
    noise_of(&innovations, memory)
}
