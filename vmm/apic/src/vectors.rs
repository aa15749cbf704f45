//! A set of interrupt vectors that any thread may add to: the IRR and the TMR (SDM Vol. 3A 12.8.4).

use super::atomics::{AtomicU32, Ordering};

/// As many as the local APIC has registers for a set.
pub(crate) const WORDS: usize = 8;

/// 256 bits, one a vector.
#[derive(Debug, Default)]
pub struct Vectors([AtomicU32; WORDS]);

impl Vectors {
    /// No vectors.
    pub fn new() -> Self {
        Self::default()
    }

    const fn place(vector: u8) -> (usize, u32) {
        (vector as usize / 32, 1 << (vector % 32))
    }

    /// Adds `vector`. `false`: it was in already, and the two are one.
    #[inline]
    pub fn set(&self, vector: u8) -> bool {
        let (word, bit) = Self::place(vector);
        // SeqCst: the sender looks next where the receiver is (`presence`). Pairs with `take`, too: what the sender wrote
        // before, the receiver sees.
        self.0[word].fetch_or(bit, Ordering::SeqCst) & bit == 0
    }

    /// Takes `vector` out. `false`: it was not in.
    pub fn take(&self, vector: u8) -> bool {
        let (word, bit) = Self::place(vector);
        // Acquire pairs with `set`.
        self.0[word].fetch_and(!bit, Ordering::Acquire) & bit != 0
    }

    /// Whether `vector` is in.
    pub fn contains(&self, vector: u8) -> bool {
        let (word, bit) = Self::place(vector);
        self.0[word].load(Ordering::Relaxed) & bit != 0
    }

    /// The highest vector, if there is one.
    pub fn highest(&self) -> Option<u8> {
        (0..8_u8).zip(&self.0).rev().find_map(|(word, bits)| {
            // SeqCst: the look that follows what the receiver says of itself (`presence`).
            let [highest, ..] = bits.load(Ordering::SeqCst).checked_ilog2()?.to_le_bytes();
            Some(word * 32 + highest)
        })
    }

    /// The 32 vectors from `32 * register`, as the local APIC's registers show them.
    ///
    /// # Panics
    /// If there is no such register: there are eight.
    pub fn register(&self, register: usize) -> u32 {
        self.0[register].load(Ordering::Relaxed)
    }

    /// All registers, the lowest vectors' first.
    pub fn registers(&self) -> [u32; WORDS] {
        core::array::from_fn(|register| self.register(register))
    }

    /// Sets all registers. Whatever another thread adds meanwhile may be lost.
    pub fn set_registers(&self, registers: [u32; WORDS]) {
        self.0.iter().zip(registers).for_each(|(word, bits)| word.store(bits, Ordering::Relaxed));
    }

    /// Takes all out, but for what another thread adds meanwhile.
    pub fn clear(&self) {
        self.set_registers([0; WORDS]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_vector_is_in_once() {
        let vectors = Vectors::new();
        assert!(vectors.set(0xE1));
        assert!(!vectors.set(0xE1), "one bit a vector");
        assert!(vectors.contains(0xE1) && !vectors.contains(0xE0));
        assert!(vectors.take(0xE1));
        assert!(!vectors.take(0xE1));
    }

    #[test]
    fn the_highest_comes_first_across_words() {
        let vectors = Vectors::new();
        assert_eq!(vectors.highest(), None);
        for vector in [0, 31, 32, 63, 64, 191, 192, 255] {
            vectors.set(vector);
            assert_eq!(vectors.highest(), Some(vector));
        }
        assert!(vectors.take(255));
        assert_eq!(vectors.highest(), Some(192));
        vectors.clear();
        assert_eq!(vectors.highest(), None);
    }

    #[test]
    fn registers_show_32_vectors_each() {
        let vectors = Vectors::new();
        assert_eq!([0, 33, 255].map(|vector| vectors.set(vector)), [true; 3]);
        let registers: Vec<u32> = (0..8).map(|register| vectors.register(register)).collect();
        assert_eq!(registers, [1, 2, 0, 0, 0, 0, 0, 1 << 31]);
    }
}
