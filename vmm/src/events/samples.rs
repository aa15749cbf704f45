//! What one block of rounds brought: the stamps as they were taken, before any statistics.

use crate::events::cpu_time::CpuTimes;
use crate::events::event::Event;
use crate::events::recording::Recording;
use crate::events::wakeups::Wakeups;
use crate::host::watch::Modes;
use crate::results::disturbance::Disturbance;
use crate::results::integrity::Integrity;
use crate::results::source::Source;
use std::collections::BTreeMap;

/// One participant's stamps of one round, in TSC cycles of the [common clock](super::clock::CommonClock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Participant {
    /// Index of the vCPU.
    pub vcpu: usize,
    /// First instructions of the interrupt entry; `None` for an initiator that interrupted only others.
    pub a: Option<u64>,
    /// When it was about to execute the HLT that the interrupt ended; `None`: it ended none.
    pub halted: Option<u64>,
    /// Of a target whose thread was kept from the guest when the interrupt was sent: when it could enter it again.
    pub back: Option<u64>,
    /// Worker start; `None`: a ping has no worker.
    pub w: Option<u64>,
    /// Worker end.
    pub x: Option<u64>,
    /// When KVM_RUN returned in the vCPU's thread for the worker's observed exit; `None` where the exits are not
    /// observed.
    pub vmm: Option<u64>,
}

/// One measured call: a broadcast call, or a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The call's generation.
    pub generation: u32,
    /// The vCPU that made it; `None`: the host did.
    pub initiator: Option<usize>,
    /// Before the send.
    pub t0: u64,
    /// After the send.
    pub t1: u64,
    /// The initiator has seen every completion.
    pub t2: u64,
    /// The participants in the order of their index.
    pub participants: Vec<Participant>,
    /// Its events by time, where they were recorded.
    pub trace: Vec<Event>,
}

impl Round {
    /// The participants that were interrupted: all that have an arrival stamp.
    pub fn targets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.participants.iter().filter_map(|participant| Some((participant.vcpu, participant.a?)))
    }
}

/// Exits of one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitCount {
    /// On the initiator's vCPU.
    pub initiator: u64,
    /// On all other vCPUs together.
    pub targets: u64,
}

impl ExitCount {
    /// Adds exits of the initiator, or of another vCPU.
    pub fn add(&mut self, is_initiator: bool, count: u64) {
        *if is_initiator { &mut self.initiator } else { &mut self.targets } += count;
    }
}

/// Exits by who counted them and by reason, over a whole block: rounds, and what lies between them; the kernel's, within the
/// rounds that count.
pub type Exits = BTreeMap<(Source, String), ExitCount>;

/// What rounds had of the host's CPUs, those that do not count for their targets' state included: the time of the threads, from
/// before the first of them to after the last, and so with what lies between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    /// How many rounds.
    pub rounds: u64,
    /// Time that passed, ns.
    pub wall_ns: u64,
    /// Time of the thread that made the calls, ns.
    pub initiator_ns: u64,
    /// Time of all targets' threads together, ns.
    pub targets_ns: u64,
    /// Time of the threads of vCPUs that took no part, ns.
    pub others_ns: u64,
    /// What all of these threads spent their time in, in the whole block; `None`: the kernel does not say.
    pub modes: Option<Modes>,
}

impl CpuTime {
    /// Of threads that had none.
    pub fn of_rounds(rounds: u64, wall_ns: u64) -> Self {
        Self { rounds, wall_ns, initiator_ns: 0, targets_ns: 0, others_ns: 0, modes: None }
    }

    /// Of threads that had these times in so many rounds, by what each of them did: the one that `calls` is the thread that read the
    /// clocks, unless that is none of them; others were called (`is_called`), or took no part. `None`: nobody knows what one of these
    /// had.
    pub fn of_threads(
        rounds: u64,
        times: &CpuTimes,
        calls: impl Fn(usize) -> bool,
        is_called: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let mut cpu = Self { initiator_ns: times.reader_ns, ..Self::of_rounds(rounds, times.wall_ns) };
        for (thread, &ns) in times.threads.iter().enumerate().filter(|(thread, _)| !calls(*thread)) {
            *if is_called(thread) { &mut cpu.targets_ns } else { &mut cpu.others_ns } += ns?;
        }
        Some(cpu)
    }

    /// Time of all threads, ns.
    pub fn total_ns(&self) -> u64 {
        self.initiator_ns + self.targets_ns + self.others_ns
    }
}

/// What a block brought.
#[derive(Debug, Clone)]
pub struct Block {
    /// Which boot of its machine it was run on, counted from 0.
    pub boot: u32,
    /// Whether the guest's local APICs were in x2APIC mode.
    pub x2apic: bool,
    /// The calls of the rounds that count, in order: one each, or where several are made at once, [`Self::at_once`] each.
    pub rounds: Vec<Round>,
    /// How many calls make a round: one, or of a mesh, a ping of each vCPU.
    pub at_once: usize,
    /// Rounds that were run but do not count, because a target was not in the state that was asked for.
    pub not_in_state: u64,
    /// What went wrong.
    pub integrity: Integrity,
    /// Exits during the block; empty where nothing counted them.
    pub exits: Exits,
    /// All calls that were made meanwhile.
    pub exit_calls: u64,
    /// How KVM woke the targets in the rounds after the warm-up, those that do not count included; `None`: nobody has counted.
    pub wakeups: Option<Wakeups>,
    /// What they had of the host's CPUs; `None`: nobody has read the clocks.
    pub cpu: Option<CpuTime>,
    /// What was recorded of them.
    pub recording: Recording,
    /// Events of the kernel that found no room.
    pub lost: u64,
    /// Stays in the guest that found no room.
    pub dropped: u64,
    /// Which of its kind of its cell's blocks it is; one that was measured again has the number of the one that it replaces.
    pub number: u32,
    /// What disturbed it.
    pub disturbances: Vec<Disturbance>,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            boot: 0,
            x2apic: false,
            rounds: Vec::new(),
            at_once: 1,
            not_in_state: 0,
            integrity: Integrity::default(),
            exits: Exits::new(),
            exit_calls: 0,
            wakeups: None,
            cpu: None,
            recording: Recording::COUNTS,
            lost: 0,
            dropped: 0,
            number: 0,
            disturbances: Vec::new(),
        }
    }
}

impl Block {
    /// Whether nothing disturbed it.
    pub fn is_quiet(&self) -> bool {
        self.disturbances.is_empty()
    }

    /// How many rounds count.
    pub fn whole_rounds(&self) -> u64 {
        (self.rounds.len() / self.at_once.max(1)) as u64
    }

    /// The calls that `source` has counted exits of.
    pub fn counted_calls(&self, source: Source) -> u64 {
        match source {
            _ if !self.recording.counts(source) => 0,
            Source::Kernel => self.rounds.len() as u64,
            Source::Stats | Source::Vmm => self.exit_calls,
            Source::Guest => 0,
        }
    }
}
