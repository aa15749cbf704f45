//! Runs that are compared with a base as they come, until it is decided.
//!
//! Each look at what there is could be wrong. When there is one is fixed beforehand, and the probability of an error is shared out among
//! all of them (Bonferroni's bound, which asks nothing of how they depend on each other): together they are wrong as rarely as one
//! comparison.

use super::differences::Factor;
use super::rules::{ERROR_RATE, Rules};

/// New runs at each look.
pub const RUNS: [usize; 5] = [3, 5, 8, 12, 20];

/// The rules of each.
pub fn rules(threshold: f64, expected: &[Factor], judges_times: bool) -> Rules {
    let error_rate = ERROR_RATE / RUNS.len() as f64;
    Rules { threshold, error_rate, expected: expected.to_vec(), judges_times, ..Rules::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_looks_together_are_wrong_as_rarely_as_one_comparison() {
        let each = rules(0.05, &[], true).error_rate;
        assert!((each * RUNS.len() as f64 - ERROR_RATE).abs() < 1e-12);
        assert!(RUNS.is_sorted());
    }
}
