//! The host's own processors as a machine: blocks of the native routes, on threads in the vCPUs' places.

use super::machine::{Error, GivenUp, Machine};
use crate::config::routes::{self, Delivery};
use crate::config::{self, Call, CellId};
use crate::events::clock::cycles;
use crate::events::cpu_time::CpuTimes;
use crate::events::recording::Recording;
use crate::events::samples::{Block, CpuTime, Participant, Round};
use crate::guest::blocks::BlockSpec;
use crate::guest::calibration::Calibration;
use crate::guest::session::Limits;
use crate::host::Sources;
use crate::host::watch::{Baseline, Thread, Watch};
use crate::native::{self, Rounds, Sent, Taken, Threads};
use crate::results::disturbance::Kind;
use crate::results::integrity::Integrity;
use crate::results::ran_on::RanOn;
use crate::statistics::clock_error::{self, Ahead, ClockError, Comparisons};
use guest_stub::abi::{Destination, Worker};
use rustix::thread::gettid;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Threads on the host's own processors.
pub struct NativeMachine<'a> {
    threads: Threads,
    count: usize,
    is_pinned: bool,
    limits: Limits,
    interrupted: &'a AtomicBool,
    watch: Watch,
    start_time: Duration,
}

impl<'a> NativeMachine<'a> {
    /// Starts `count` threads, pinned to the CPUs of `pin` in turn, if there are any.
    ///
    /// # Errors
    /// As [`Threads::start`].
    pub fn start(
        count: usize,
        pin: &[usize],
        limits: Limits,
        interrupted: &'a AtomicBool,
    ) -> Result<Self, native::Error> {
        // Measured once in a process, it is no part of the first machine's start.
        native::frequency();
        let start = Instant::now();
        let threads = Threads::start(count, pin)?;
        let start_time = start.elapsed();
        let of_thread = |(number, id)| Thread { vcpu: Some(number), id, pin: config::cpu_of(pin, number) };
        let watched = threads.ids().enumerate().map(of_thread);
        let host = Thread { vcpu: None, id: gettid().as_raw_nonzero().get().unsigned_abs(), pin: None };
        let watch = Watch::open(&Sources::system(), &watched.chain([host]).collect::<Vec<_>>());
        Ok(Self { threads, count, is_pinned: !pin.is_empty(), limits, interrupted, watch, start_time })
    }

    fn cycles(&self, time: Duration) -> u64 {
        cycles(time, self.tsc_khz())
    }

    fn block(&self, spec: &BlockSpec) -> native::Block {
        native::Block {
            call: call(spec),
            caller: spec.initiator,
            targets: targets(spec),
            one_by_one: spec.cell.destination == Destination::Unicast,
            asleep: sleeps(&spec.cell),
            rounds: u32::try_from(spec.warmup + spec.rounds).unwrap_or(u32::MAX),
            counted_from: u32::try_from(spec.warmup).unwrap_or(u32::MAX),
            settle: self.cycles(settle(spec, self.limits)),
            deadline: self.limits.deadline,
        }
    }
}

impl Machine for NativeMachine<'_> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, Error> {
        debug_assert_eq!(spec.cell.vcpus, self.count, "the machine's cell");
        let block = self.block(spec);
        self.watch.begin();
        let rounds = self.threads.run(block, self.interrupted)?;
        let disturbances = self.watch.end(Some(spec.initiator));
        let cpu = rounds.cpu.as_ref().and_then(|times| cpu_time(spec, times));
        let cpu = cpu.map(|cpu| CpuTime { modes: self.watch.modes(), ..cpu });
        let block = Block { cpu, disturbances, ..assess(spec, &rounds) };
        match rounds.silent {
            None => Ok(block),
            Some(silent) => Err(Error::GivenUp(Box::new(GivenUp { silence: silent.to_string(), block }))),
        }
    }

    fn calibrate(&mut self, count: usize) -> Result<Calibration, Error> {
        Ok(Calibration { stamp: self.threads.stamps(count)?, ..Calibration::default() })
    }

    fn tsc_khz(&self) -> u64 {
        self.threads.frequency().khz
    }

    /// By exchanges of stamps, as between vCPUs, but that there are no TSC offsets.
    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, Error> {
        const EXCHANGES: u32 = 1024;
        const TIME: Duration = Duration::from_millis(50);
        // Of threads that are pinned, it is the difference of their CPUs' TSCs.
        let mut comparisons =
            Comparisons { ahead: Vec::new(), exchanges: earlier.exchanges, is_of_every_boot: self.is_pinned };
        for partner in 1..self.count {
            let made = self.threads.exchange(partner, EXCHANGES, TIME)?;
            let looks = [earlier.ahead.get(partner - 1).copied().flatten(), Ahead::of(&made)];
            comparisons.exchanges += made.len();
            comparisons.ahead.push(looks.into_iter().flatten().reduce(Ahead::and));
        }
        let bounds = comparisons.ahead.iter().map(|ahead| ahead.map(Ahead::bound)).chain([Some(0)]);
        // A thread that is not pinned may go to a CPU that it was not compared on.
        let bounds = bounds.collect::<Option<Vec<u64>>>().filter(|_| self.is_pinned);
        let native::Frequency { khz, error_ppm } = self.threads.frequency();
        let method = format!(
            "the host's TSC, at {:.3} MHz ± {error_ppm:.1} ppm by CLOCK_MONOTONIC_RAW; {} exchanges of stamps between {} \
             threads{}",
            khz as f64 / 1000.0,
            comparisons.exchanges,
            self.count,
            if self.is_pinned { "" } else { ", which are not pinned" }
        );
        let subtracted = vec![0; self.count];
        Ok(ClockError { vcpus: bounds.map(clock_error::skew_error), host: 0, subtracted, comparisons, method })
    }

    fn boot_time(&self) -> Duration {
        self.start_time
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        Some(self.watch.unknown())
    }

    fn ran_on(&self) -> Vec<RanOn> {
        self.watch.ran_on().to_vec()
    }

    fn compare_with(&mut self, baseline: &mut Baseline) {
        self.watch.compare_with(baseline);
    }
}

/// Whether a target's own stamp shows that the interrupt has come; else it has only not left its CPU.
fn stamps_arrivals(cell: &CellId) -> bool {
    match routes::of(cell.route).delivery {
        Delivery::Restart | Delivery::WakeUp => true,
        Delivery::Fixed | Delivery::Nmi | Delivery::Polled | Delivery::HostIpi => false,
    }
}

/// Whether targets sleep until they are called.
fn sleeps(cell: &CellId) -> bool {
    routes::of(cell.route).delivery == Delivery::WakeUp
}

/// How long targets are left alone before a send.
fn settle(spec: &BlockSpec, limits: Limits) -> Duration {
    /// From a thread's last stamp until it is asleep, and its CPU idle: some µs.
    const FALLING_ASLEEP: Duration = Duration::from_micros(20);
    let asked = spec.settle(limits.settle);
    if sleeps(&spec.cell) { asked.max(FALLING_ASLEEP) } else { asked }
}

fn call(spec: &BlockSpec) -> native::Call {
    match spec.cell.call {
        Call::Ping if stamps_arrivals(&spec.cell) => native::Call::Ping,
        Call::Ping => native::Call::Bare,
        Call::Broadcast => {
            native::Call::Broadcast { busy: if spec.worker == Worker::Spin { spec.argument } else { 0 } }
        }
    }
}

/// Whom a block's calls interrupt.
fn targets(spec: &BlockSpec) -> Vec<usize> {
    let CellId { call, destination, vcpus, .. } = spec.cell;
    match (call, destination.pinged_by(spec.initiator, vcpus)) {
        (Call::Ping, Some(target)) => vec![target],
        (Call::Ping, None) | (Call::Broadcast, _) => destination.targets(Some(spec.initiator), vcpus).collect(),
    }
}

/// What the rounds that count had of the CPUs.
fn cpu_time(spec: &BlockSpec, times: &CpuTimes) -> Option<CpuTime> {
    let targets = targets(spec);
    let calls = |thread| thread == spec.initiator;
    CpuTime::of_threads(spec.rounds as u64, times, calls, |thread| targets.contains(&thread))
}

/// The rounds that count: without the warm-up, and without those of which it is not shown that every target was on its CPU,
/// uninterrupted but by the call, which restarted it where the route does that; or asleep until the call.
fn assess(spec: &BlockSpec, rounds: &Rounds) -> Block {
    let resent = rounds.sent.iter().filter(|sent| sent.resent).count() as u64;
    let timed_out = rounds.silent.is_some().into();
    let integrity = Integrity { lost: resent, timed_out, ..Integrity::default() };
    let mut block = Block { integrity, recording: Recording::NOTHING, ..Block::default() };
    for (number, sent) in rounds.sent.iter().enumerate().skip(spec.warmup) {
        let taken = rounds.taken.iter().map(|(target, taken)| Some((*target, *taken.get(number)?)));
        let in_state =
            |(_, taken): &(usize, Taken)| !taken.was_switched && (taken.a.is_some() || !stamps_arrivals(&spec.cell));
        match taken.collect::<Option<Vec<_>>>().filter(|taken| taken.iter().all(in_state)) {
            Some(taken) => block.rounds.push(round(spec.initiator, sent, taken)),
            None => block.not_in_state += 1,
        }
    }
    block
}

fn round(initiator: usize, sent: &Sent, taken: Vec<(usize, Taken)>) -> Round {
    let participant = |vcpu, a, halted, worker: Option<[u64; 2]>| Participant {
        vcpu,
        a,
        halted,
        back: None,
        w: worker.map(|[start, _]| start),
        x: worker.map(|[_, end]| end),
        vmm: None,
    };
    let target = |(target, Taken { a, slept, worker, .. })| participant(target, a, slept, worker);
    let own = participant(initiator, None, None, sent.worker);
    let mut participants: Vec<Participant> = taken.into_iter().map(target).chain([own]).collect();
    participants.sort_by_key(|participant| participant.vcpu);
    let Sent { generation, t0, t1, t2, .. } = *sent;
    Round { generation, initiator: Some(initiator), t0, t1, t2, participants, trace: Vec::new() }
}

#[cfg(test)]
mod tests;
