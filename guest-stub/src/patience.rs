//! For how long an initiator waits until its targets are away.

/// How long the next wait may take, in TSC cycles. On a host where targets are never away, each wait in vain is half as long as the one
/// before, down to a least time; one that was not in vain restores the patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    most: u64,
    least: u64,
    now: u64,
}

impl Patience {
    /// `deadline` is that of a call, of which a wait takes a small part.
    pub const fn new(deadline: u64) -> Self {
        let most = deadline / 16;
        Self { most, least: deadline / 4096, now: most }
    }

    /// Whether a wait that has taken so long is in vain.
    #[inline]
    pub const fn is_over(&self, waited: u64) -> bool {
        waited > self.now
    }

    /// A wait has ended with all targets away, or in vain.
    pub fn learn(&mut self, are_away: bool) {
        self.now = if are_away { self.most } else { (self.now / 2).max(self.least) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_in_vain_get_shorter_and_a_good_one_restores_them() {
        const DEADLINE: u64 = 4096 << 10;
        let mut patience = Patience::new(DEADLINE);
        assert!(!patience.is_over(DEADLINE / 16) && patience.is_over(DEADLINE / 16 + 1));
        patience.learn(false);
        assert!(!patience.is_over(DEADLINE / 32) && patience.is_over(DEADLINE / 32 + 1));
        (0..100).for_each(|_| patience.learn(false));
        assert!(!patience.is_over(DEADLINE / 4096), "there is a least one");
        assert!(patience.is_over(DEADLINE / 4096 + 1));
        patience.learn(true);
        assert_eq!(patience, Patience::new(DEADLINE));
    }
}
