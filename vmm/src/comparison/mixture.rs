//! Values that the runs of a side have of one thing: one, unless its hosts differ.

use std::collections::BTreeMap;

/// Values, with how many runs have each.
#[derive(Debug)]
pub(super) struct Mixture<V>(BTreeMap<V, usize>);

impl<V> Default for Mixture<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V: Ord> FromIterator<V> for Mixture<V> {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        let mut mixture = Self::default();
        mixture.extend(values);
        mixture
    }
}

impl<V: Ord> Extend<V> for Mixture<V> {
    fn extend<I: IntoIterator<Item = V>>(&mut self, values: I) {
        for value in values {
            *self.0.entry(value).or_default() += 1;
        }
    }
}

impl<V: Ord + AsRef<str>> Mixture<V> {
    fn runs(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn has(&self, value: &str) -> bool {
        self.0.keys().any(|own| own.as_ref() == value)
    }

    /// Whether all runs have this value.
    pub(super) fn is_only(&self, value: &str) -> bool {
        self.0.keys().all(|own| own.as_ref() == value)
    }

    /// Whether both have the same values, each in as many runs as it may be.
    pub(super) fn has_same_values(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }

    /// Whether both have the same values in the same proportions: nothing differs.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let [own, others] = [self.runs(), other.runs()];
        let is_as_often = |(one, another): (&usize, &usize)| one * others == another * own;
        self.has_same_values(other) && self.0.values().zip(other.0.values()).all(is_as_often)
    }

    /// The values; where `other` has the same ones, and the proportions are what differs, with how many runs have each.
    pub(super) fn told_beside(&self, other: &Self) -> Vec<String> {
        let runs = self.runs();
        let is_by_proportions = self.has_same_values(other) && !self.is_same(other);
        let told = |(value, count): (&V, &usize)| {
            let value = value.as_ref();
            if is_by_proportions { format!("{value} ({count} of {runs})") } else { value.to_owned() }
        };
        self.0.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixture(values: &[&'static str]) -> Mixture<&'static str> {
        values.iter().copied().collect()
    }

    #[test]
    fn proportions_are_told_where_they_are_all_that_differs() {
        let [even, as_even] = [mixture(&["a", "b"]), mixture(&["b", "a", "a", "b"])];
        assert!(even.is_same(&as_even) && as_even.is_same(&even));
        let mostly_a = mixture(&["a", "a", "b"]);
        assert!(!even.is_same(&mostly_a) && even.has_same_values(&mostly_a));
        assert_eq!(mostly_a.told_beside(&even), ["a (2 of 3)", "b (1 of 3)"]);
        assert_eq!(even.told_beside(&mostly_a), ["a (1 of 2)", "b (1 of 2)"]);
        assert_eq!(mostly_a.told_beside(&mixture(&["a"])), ["a", "b"]);
    }
}
