//! By how much two settings differ that were measured in pairs, one after the other.
//!
//! What a host does meanwhile is the same for both of a pair but for chance, and which of the two came first alternates: where
//! the settings do not differ, a pair's difference is as likely to be positive as negative, and so is each of its sizes. That is all
//! that Wilcoxon's signed-rank test asks for ("Individual Comparisons by Ranking Methods", 1945): its error is exact for any number of
//! pairs, whatever the tails, where Student's t is right for many pairs only. Next to it, it loses one twentieth of the pairs at most
//! where the differences are normal, and gains many where a neighbour strikes now and then. The estimate is Hodges and Lehmann's
//! ("Estimates of Location Based on Rank Tests", 1963): the median of the means of every two differences.

use statrs::distribution::{ContinuousCDF, Normal};

/// The most pairs whose test is exact; with more, the normal distribution is as good.
const MOST_EXACT: usize = 200;

/// Differences of pairs, compared with none.
#[derive(Debug, Clone, PartialEq)]
pub struct Paired {
    pairs: usize,
    /// The means of every two differences, and each difference, by rising size.
    means: Vec<f64>,
    ranks: Ranks,
}

impl Paired {
    /// Of finite differences; `None`: there are none.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let pairs = differences.len();
        let mut means = Vec::with_capacity(pairs * (pairs + 1) / 2);
        for (index, &one) in differences.iter().enumerate() {
            means.extend(differences[index..].iter().map(|&other| f64::midpoint(one, other)));
        }
        means.sort_unstable_by(f64::total_cmp);
        (pairs > 0).then(|| Self { pairs, means, ranks: Ranks::of(pairs) })
    }

    /// How many pairs.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// The difference.
    pub fn estimate(&self) -> f64 {
        let middle = self.means.len() / 2;
        let upper = self.means[middle];
        if self.means.len().is_multiple_of(2) { f64::midpoint(self.means[middle - 1], upper) } else { upper }
    }

    /// The probability of differences that are as far from none as these, or farther, where there is none. Those that are equal, as
    /// those of a coarse clock may be, speak against it.
    pub fn p(&self) -> f64 {
        let negative = self.means.partition_point(|&mean| mean < 0.0);
        let positive = self.means.len() - self.means.partition_point(|&mean| mean <= 0.0);
        let beyond = self.means.len() - negative.max(positive);
        (2.0 * self.ranks.at_most(beyond)).min(1.0)
    }

    /// The interval that misses the difference with this probability at most; `None`: so few pairs have none.
    pub fn interval(&self, miss: f64) -> Option<[f64; 2]> {
        // `p` is less than `miss` where, and only where, zero lies outside.
        let rank = (0..self.means.len() / 2).take_while(|&rank| 2.0 * self.ranks.at_most(rank) < miss).last()?;
        Some([self.means[rank], self.means[self.means.len() - 1 - rank]])
    }
}

/// The distribution of the sum of the ranks of positive differences, where there is no difference.
#[derive(Debug, Clone, PartialEq)]
enum Ranks {
    /// The probability of at most each sum.
    Exact(Vec<f64>),
    /// Mean and standard deviation.
    Normal { mean: f64, deviation: f64 },
}

impl Ranks {
    fn of(pairs: usize) -> Self {
        let n = pairs as f64;
        if pairs > MOST_EXACT {
            let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0;
            return Self::Normal { mean: n * (n + 1.0) / 4.0, deviation: variance.sqrt() };
        }
        let mut probability = vec![0.0; pairs * (pairs + 1) / 2 + 1];
        probability[0] = 1.0;
        for rank in 1..=pairs {
            // Each rank is that of a positive difference, or of a negative one.
            for sum in (0..=rank * (rank + 1) / 2).rev() {
                let with = if sum >= rank { probability[sum - rank] } else { 0.0 };
                probability[sum] = f64::midpoint(probability[sum], with);
            }
        }
        let mut total = 0.0;
        for probability in &mut probability {
            total += *probability;
            *probability = total;
        }
        Self::Exact(probability)
    }

    /// The probability of at most that sum.
    fn at_most(&self, sum: usize) -> f64 {
        match self {
            Self::Exact(at_most) => at_most.get(sum).copied().unwrap_or(1.0),
            Self::Normal { mean, deviation } => Normal::standard().cdf((sum as f64 + 0.5 - mean) / deviation),
        }
    }
}

#[cfg(test)]
mod tests;
