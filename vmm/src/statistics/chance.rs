//! Random numbers for tests of statistics.

use guest_stub::random::SplitMix64;

/// Uniform in 0 to 1.
pub(super) fn uniform(random: &mut SplitMix64) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// About normal, mean 0, variance 1: the sum of twelve uniform ones less its mean.
pub(super) fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0
}
