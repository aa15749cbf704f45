//! Random numbers that made-up runs vary by.

use guest_stub::random::SplitMix64;
use std::f64::consts::TAU;

fn uniform(random: &mut SplitMix64) -> f64 {
    ((random.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Normally distributed, by Box and Muller: its tails are those of a normal distribution.
pub(super) fn normal(random: &mut SplitMix64) -> f64 {
    (-2.0 * uniform(random).ln()).sqrt() * (TAU * uniform(random)).cos()
}
