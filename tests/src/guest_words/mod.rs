//! Whatever a guest writes to ports and to memory, in any order, and what the VMM makes of it, without KVM: as the VMM's own
//! threads do, through the functions that they call.
//!
//! Nothing of it may panic. Each answer is held against what may follow: an interrupt goes to those that the word names and that
//! the machine has, a line for the user is one line without control characters, no more rounds count than a ring holds, each that counts is whole,
//! and the VMM writes nothing into the guest's memory by itself.

pub mod act;
mod answers;
mod machine;

pub use act::Script;

/// How much was done: to be seen, where one has to know that something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Acts of guests.
    pub acts: u64,
    /// Interrupts that guests had the VMM send, each receiver counted.
    pub interrupts: u64,
    /// Doorbells, after which a report was read.
    pub reports: u64,
    /// Reports whose rounds counted, and how many these were.
    pub believed: u64,
    /// Rounds that counted.
    pub rounds: u64,
    /// Lines for the user.
    pub lines: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.acts += other.acts;
        self.interrupts += other.interrupts;
        self.reports += other.reports;
        self.believed += other.believed;
        self.rounds += other.rounds;
        self.lines += other.lines;
    }
}

/// Plays a script.
///
/// # Panics
/// If the VMM does not stand it.
pub fn play(script: &Script) -> Done {
    let mut machine = machine::Machine::new(script);
    for &act in &script.acts {
        machine.act(act);
    }
    machine.done
}
