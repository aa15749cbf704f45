//! One block of rounds, as the threads are told of it, and what each brings back.

use super::membarrier::Barrier;
use crate::events::cpu_time::CpuTimes;
use std::time::Duration;

/// What a call consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Every thread runs the worker, all at once.
    Broadcast {
        /// TSC cycles that the worker is busy.
        busy: u64,
    },
    /// An interrupt that its target marks as arrived.
    Ping,
    /// An interrupt that only the kernel sees.
    Bare,
}

/// Rounds that are all alike.
#[derive(Debug, Clone)]
pub struct Block {
    /// What is called.
    pub call: Call,
    /// Who calls.
    pub caller: usize,
    /// Who is called, by rising number; the caller is none of them. A ping and a unicast bare interrupt have one.
    pub targets: Vec<usize>,
    /// Each target gets a send of its own, instead of all one. Not with [`Call::Bare`], whose interrupt the kernel sends to every
    /// CPU that runs a thread of this process: who is no target sleeps.
    pub one_by_one: bool,
    /// Targets sleep until they are called, and are woken by futex(2) instead of interrupted. Not with [`Call::Bare`].
    pub asleep: bool,
    /// How many rounds.
    pub rounds: u32,
    /// The first of them that counts, from 0: what the threads had of the CPUs is read before it, and after the last one.
    pub counted_from: u32,
    /// TSC cycles between the targets' readiness and the send; of targets that sleep, since the last one has begun to.
    pub settle: u64,
    /// After which time a call is given up.
    pub deadline: Duration,
}

impl Block {
    /// The interrupt that its calls are made by; `None`: targets are woken.
    pub fn barrier(&self) -> Option<Barrier> {
        match self.call {
            Call::Broadcast { .. } | Call::Ping => (!self.asleep).then_some(Barrier::Rseq),
            Call::Bare => Some(Barrier::Plain),
        }
    }
}

/// What a block brought.
#[derive(Debug, Default)]
pub struct Rounds {
    /// The caller's stamps of the calls that were completed.
    pub sent: Vec<Sent>,
    /// Each target's stamps of the calls that it has served, by rising number of the target.
    pub taken: Vec<(usize, Vec<Taken>)>,
    /// What the threads had of the CPUs in the rounds that count; `None`: not all of these were made.
    pub cpu: Option<CpuTimes>,
    /// Why the next call was given up, and the block with it.
    pub silent: Option<Silent>,
}

/// A thread did not do its part of a call in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("thread {thread} did not {what} within {} ms: something else keeps its CPU", .deadline.as_millis())]
pub struct Silent {
    /// Which.
    pub thread: usize,
    /// What it was waited for.
    pub what: &'static str,
    /// How long.
    pub deadline: Duration,
}

/// What the caller has stamped of a round.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The call's generation.
    pub generation: u32,
    /// Before the send.
    pub t0: u64,
    /// After it.
    pub t1: u64,
    /// Every completion was seen.
    pub t2: u64,
    /// Its own worker's start and end, if it ran one.
    pub worker: Option<[u64; 2]>,
    /// Somebody had not arrived after half the deadline, and it was sent twice.
    pub resent: bool,
}

/// What a target has stamped of a round.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// When the kernel let it go on; `None`: the interrupt found it in no sequence.
    pub a: Option<u64>,
    /// When it began to sleep, if it was to.
    pub slept: Option<u64>,
    /// Its worker's start and end, if it ran one.
    pub worker: Option<[u64; 2]>,
    /// It left its CPU between its readiness and the end of its part of the round; or if it was to sleep, did not do so just once
    /// and of its own will.
    pub was_switched: bool,
}
