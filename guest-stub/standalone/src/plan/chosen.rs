//! A few of the values that there are, without an allocator.

/// Different values, in the order in which they were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen<T, const ALL: usize>([Option<T>; ALL]);

impl<T: Copy + PartialEq, const ALL: usize> Chosen<T, ALL> {
    /// These, the first time that each is there.
    pub fn of(values: &[T]) -> Self {
        let mut chosen = Self([None; ALL]);
        for &value in values {
            chosen.insert(value);
        }
        chosen
    }

    /// Adds a value that is not there yet. One that there is no room for is not added: `ALL` is the number of different values.
    pub(super) fn insert(&mut self, value: T) {
        if !self.0.contains(&Some(value))
            && let Some(free) = self.0.iter_mut().find(|slot| slot.is_none())
        {
            *free = Some(value);
        }
    }

    /// Whether none was chosen.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The values.
    pub fn iter(self) -> impl Iterator<Item = T> {
        self.0.into_iter().flatten()
    }
}
