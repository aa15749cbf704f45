//! What came of something that a vCPU did again and again.

use crate::results::disturbance::Disturbance;

/// What became of an act on a machine.
#[derive(Debug, Clone)]
pub enum Acted {
    /// It was done.
    Done(ActBlock),
    /// It cannot be done there, for this reason.
    Absent(String),
}

/// So many times the same act, one after the other.
#[derive(Debug, Clone, Default)]
pub struct ActBlock {
    /// Which boot of its machine it was run on, counted from 0.
    pub boot: u32,
    /// The turn that it was measured in.
    pub number: u32,
    /// What each of them took, in TSC cycles.
    pub cycles: Vec<i64>,
    /// How many more were made that do not count, since each was not what it should have been: a sleep that began too late.
    pub missed: u64,
    /// What one more of them brought about, and the exit that ended it.
    pub counts: ActCounts,
    /// What disturbed it.
    pub disturbances: Vec<Disturbance>,
}

/// What was counted of an act on its vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActCounts {
    /// KVM's `exits`; `None`: this KVM does not tell.
    pub exits: Option<u64>,
    /// KVM's `insn_emulation`.
    pub emulated: Option<u64>,
    /// Returns of KVM_RUN.
    pub returns: u64,
}

impl ActCounts {
    /// What has been counted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            exits: difference(self.exits, before.exits),
            emulated: difference(self.emulated, before.emulated),
            returns: self.returns.saturating_sub(before.returns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_of_two_readings_lacks_is_not_known() {
        let before = ActCounts { exits: Some(3), emulated: None, returns: 4 };
        let after = ActCounts { exits: Some(5), emulated: Some(9), returns: 6 };
        assert_eq!(after.since(before), ActCounts { exits: Some(2), emulated: None, returns: 2 });
    }
}
