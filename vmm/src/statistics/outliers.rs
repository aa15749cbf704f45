//! Which values of a group do not belong to it: the generalized extreme Studentized deviate test (Rosner, "Percentage Points for a
//! Generalized ESD Many-Outlier Procedure", 1983), as MongoDB finds outliers among runs with it.
//!
//! The value that is furthest from the mean, in standard deviations, is set aside, and so on; of those set aside, the last one counts
//! that exceeds what Student's t allows the furthest of so many normal values to be, and all before it. So several outliers do not hide
//! each other by what they add to the deviation.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Fewest values of a group that an outlier is told from; of fewer, Rosner's approximation is too coarse.
pub const FEWEST: usize = 10;

/// At most one value in so many is an outlier: if there are more, they are a second group.
const MOST: usize = 4;

/// The outliers among finite `values`, by their places. `level` is the probability that a group of normal values without any has one.
pub fn outliers(values: &[f64], level: f64) -> Vec<usize> {
    if values.len() < FEWEST {
        return Vec::new();
    }
    let mut left: Vec<usize> = (0..values.len()).collect();
    let mut set_aside = Vec::new();
    let mut count = 0;
    for _ in 0..values.len() / MOST {
        let n = left.len() as f64;
        let mean = left.iter().map(|&place| values[place]).sum::<f64>() / n;
        let squares: f64 = left.iter().map(|&place| (values[place] - mean).powi(2)).sum();
        let distance = |place: usize| (values[place] - mean).abs();
        let furthest = (0..left.len()).max_by(|&one, &other| distance(left[one]).total_cmp(&distance(left[other])));
        let Some(furthest) = furthest else { break };
        let deviation = distance(left[furthest]) / (squares / (n - 1.0)).sqrt();
        set_aside.push(left.swap_remove(furthest));
        // NaN of equal values is not beyond anything.
        if deviation > critical(n, level) {
            count = set_aside.len();
        }
    }
    set_aside.truncate(count);
    set_aside.sort_unstable();
    set_aside
}

/// How many standard deviations from the mean the furthest of `n` normal values is, with this probability at most.
fn critical(n: f64, level: f64) -> f64 {
    let degrees = n - 2.0;
    let t =
        StudentsT::new(0.0, 1.0, degrees).map_or(f64::INFINITY, |student| student.inverse_cdf(1.0 - level / (2.0 * n)));
    (n - 1.0) * t / ((degrees + t * t) * n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::chance::normal;
    use guest_stub::random::SplitMix64;

    fn group(size: usize, random: &mut SplitMix64) -> Vec<f64> {
        (0..size).map(|_| 5.0 + 0.02 * normal(random)).collect()
    }

    /// Rosner's own example (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.17.3): 54 values, of which three are outliers.
    #[test]
    fn rosners_example_has_its_three() {
        let values = [
            -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58, 1.65, 1.69,
            1.70, 1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15, 2.23, 2.24, 2.26, 2.35, 2.37,
            2.40, 2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21, 3.26, 3.30, 3.59, 3.68, 4.30, 4.64, 5.34, 5.42,
            6.01,
        ];
        assert_eq!(outliers(&values, 0.05), [51, 52, 53]);
        assert!((critical(54.0, 0.05) - 3.158).abs() < 0.001);
    }

    #[test]
    fn a_group_without_one_seldom_has_one() {
        let mut random = SplitMix64(1);
        for size in [FEWEST, 20, 60] {
            let wrong = (0..1000).filter(|_| !outliers(&group(size, &mut random), 0.01).is_empty()).count();
            assert!(wrong <= 20, "{wrong} of 1000 groups of {size}");
        }
    }

    #[test]
    fn outliers_do_not_hide_each_other() {
        let mut random = SplitMix64(2);
        let found = (0..100).filter(|_| {
            let mut values = group(20, &mut random);
            for place in [3, 11, 17] {
                values[place] += 0.2;
            }
            outliers(&values, 0.01) == [3, 11, 17]
        });
        let found = found.count();
        assert!(found >= 95, "{found}");
    }

    #[test]
    fn few_values_and_equal_ones_have_none() {
        assert_eq!(outliers(&[1.0, 1.0, 1.0, 9.0], 0.01), [0; 0]);
        assert_eq!(outliers(&[1.0; 30], 0.01), [0; 0]);
        assert_eq!(outliers(&[], 0.01), [0; 0]);
    }
}
