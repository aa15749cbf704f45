//! Many tests at once: Holm's correction ("A Simple Sequentially Rejective Multiple Test Procedure", 1979).
//!
//! It bounds the probability that any of the tests finds what is not there, however they depend on each other, and cells of one run
//! do. Benjamini and Hochberg's bounds the share of false ones among what is found: with one of twenty findings false, a CI job that
//! fails at any would be wrong far too often.

/// The level at which each of these p-values is tested so that, with the probability 1 − `error_rate` or more, none is found where nothing
/// is: the smallest at the level for all, the next for all but that one, and so on; those from the first on that is not found at that
/// one's.
pub fn levels(p: &[f64], error_rate: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&one, &other| p[one].total_cmp(&p[other]));
    let mut levels = vec![error_rate; p.len()];
    let mut left = p.len();
    for which in order {
        levels[which] = error_rate / left.max(1) as f64;
        if p[which] < levels[which] {
            left -= 1;
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_about(levels: &[f64], expected: &[f64]) -> bool {
        levels.len() == expected.len() && levels.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-12)
    }

    #[test]
    fn what_is_found_makes_it_easier_for_the_rest() {
        assert!(is_about(&levels(&[0.5, 0.001, 0.004], 0.01), &[0.01, 0.01 / 3.0, 0.005]));
        assert!(is_about(&levels(&[0.006, 0.5, 0.001], 0.01), &[0.005, 0.005, 0.01 / 3.0]), "the second fails");
        assert!(is_about(&levels(&[0.02], 0.01), &[0.01]));
        assert_eq!(levels(&[], 0.01), [0.0; 0]);
    }

    proptest! {
        /// As Holm has it: the smallest p-values, as long as each is below the rate over how many are left.
        #[test]
        fn what_is_found_is_what_steps_down_find(p in prop::collection::vec(0.0..0.05_f64, 1..12)) {
            let levels = levels(&p, 0.01);
            let mut sorted = p.clone();
            sorted.sort_by(f64::total_cmp);
            let steps = sorted.iter().enumerate().take_while(|(rank, p)| **p < 0.01 / (sorted.len() - rank) as f64);
            let found = p.iter().zip(&levels).filter(|(p, level)| p < level).count();
            prop_assert_eq!(found, steps.count());
        }
    }
}
