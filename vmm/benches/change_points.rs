//! How often `kipi history` finds a change where there is none, and how often one that is there: `cargo bench -p kipi --bench
//! change_points -- [--quick]`, on series that are made up. Runs vary by 1.5 % (one standard deviation), as those of a cell divided
//! by its reference do; a change is one of 5 %.
//!
//! | column | what it is |
//! | --- | --- |
//! | false | series without a change in which one is found |
//! | step | series with one change, in their middle half, that have one change point, at most one run from it |
//! | back | those that change for a quarter of their runs, and have two such change points |
//! | last 4, last 8 | those that changed before so many last runs, and have such a change point |

mod chance;

use chance::normal;
use guest_stub::random::SplitMix64;
use kipi::statistics::change_points::change_points;
use std::ops::Range;

const NOISE: f64 = 0.015;
const CHANGE: f64 = 0.05;

/// What runs differ by.
#[derive(Clone, Copy)]
struct Noise {
    name: &'static str,
    /// The autocorrelation of neighbours.
    kept: f64,
    /// Student's t of three degrees of freedom instead of normal.
    heavy: bool,
}

const NOISES: [Noise; 7] = [
    Noise { name: "independent", kept: 0.0, heavy: false },
    Noise { name: "independent, heavy tails", kept: 0.0, heavy: true },
    Noise { name: "autocorrelation 0.3", kept: 0.3, heavy: false },
    Noise { name: "0.3, heavy tails", kept: 0.3, heavy: true },
    Noise { name: "autocorrelation 0.6", kept: 0.6, heavy: false },
    Noise { name: "0.6, heavy tails", kept: 0.6, heavy: true },
    Noise { name: "autocorrelation 0.9", kept: 0.9, heavy: false },
];

impl Noise {
    fn series(self, runs: usize, slower: Range<usize>, random: &mut SplitMix64) -> Vec<f64> {
        let mut state = normal(random);
        let mut next = |run| {
            // Over the standard deviation of its distribution, √3.
            let chi = |random: &mut SplitMix64| (0..3).map(|_| normal(random).powi(2)).sum::<f64>().sqrt();
            let shock = if self.heavy { normal(random) / chi(random) } else { normal(random) };
            state = self.kept * state + (1.0 - self.kept * self.kept).sqrt() * shock;
            NOISE * state + if slower.contains(&run) { CHANGE.ln_1p() } else { 0.0 }
        };
        (0..runs).map(&mut next).collect()
    }
}

/// Whether the change points are those, each at most one run off.
fn are(found: &[usize], places: &[usize]) -> bool {
    found.len() == places.len() && found.iter().zip(places).all(|(one, other)| one.abs_diff(*other) <= 1)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("SKIP: `cargo bench` runs this, `cargo test` does not (--bench was not passed)");
        return;
    }
    let sizes: &[(usize, usize)] = if arguments.iter().any(|argument| argument == "--quick") {
        &[(20, 500), (50, 100)]
    } else {
        &[(20, 5000), (50, 1500), (100, 500), (200, 200)]
    };
    println!("runs  noise                     series   false    step    back  last 4  last 8");
    for &(runs, series) in sizes {
        for noise in NOISES {
            println!("{}", row(noise, runs, series));
        }
    }
}

fn row(noise: Noise, runs: usize, series: usize) -> String {
    let mut random = SplitMix64(1);
    let mut places = |slower| -> Vec<usize> {
        change_points(&noise.series(runs, slower, &mut random)).iter().map(|point| point.at).collect()
    };
    let found = (0..series).filter(|_| !places(0..0).is_empty()).count();
    // What is there takes all resamples to be found.
    let changed = series / 5;
    let mut counts = [0; 4];
    for number in 0..changed {
        let at = runs / 4 + number % (runs / 2);
        counts[0] += usize::from(are(&places(at..runs), &[at]));
        let until = at + runs / 4;
        let back: &[usize] = if until < runs { &[at, until] } else { &[at] };
        counts[1] += usize::from(are(&places(at..until), back));
        for (count, last) in counts[2..].iter_mut().zip([4, 8]) {
            *count += usize::from(places(runs - last..runs).iter().any(|place| place.abs_diff(runs - last) <= 1));
        }
    }
    let [step, back, four, eight] = counts.map(|count| 100.0 * count as f64 / changed as f64);
    let found = 100.0 * found as f64 / series as f64;
    let name = noise.name;
    format!("{runs:4}  {name:<25} {series:5}  {found:5.2} %  {step:4.0} %  {back:4.0} %  {four:4.0} %  {eight:4.0} %")
}
