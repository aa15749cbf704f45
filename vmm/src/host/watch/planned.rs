//! What a block's own plan does to its threads: it disturbs nothing.

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Threads that compete with vCPUs'.
    pub competitors: Vec<Planned>,
    /// The vCPU that makes the calls sleeps while it waits for the others.
    pub initiator_sleeps: bool,
}

/// A thread of kipi's that has competed with a vCPU's thread for its CPU, as target state `preempted` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// The CPU.
    pub cpu: usize,
    /// For how long it ran.
    pub ran_ns: u64,
    /// How often it got the CPU.
    pub slices: u64,
}

impl Planned {
    /// What was planned on one CPU, in all.
    pub(super) fn on(planned: &[Self], cpu: Option<usize>) -> (u64, u64) {
        let here = planned.iter().filter(|planned| Some(planned.cpu) == cpu);
        here.fold((0, 0), |(ran_ns, slices), planned| (ran_ns + planned.ran_ns, slices + planned.slices))
    }
}
