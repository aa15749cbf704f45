//! A block of rounds: one processor makes measured calls of all processors, which are in a target state.

use crate::activity;
use crate::call::everybody::Everybody;
use crate::call::initiator::Owned;
use crate::call::window::Participants;
use crate::call::worker::WorkerFn;
use crate::call::{Call, Completed, Failed};
use crate::cpu::{irql, port, tsc};
use crate::participant;
use crate::polling;
use crate::processor::{Private, UserWords};
use crate::routes::with_route;
use crate::shared;
use core::sync::atomic::Ordering;
use guest_stub::abi::{
    Destination, GuestRoute, PORT_MARK, RING_SAMPLES, Report, Sample, Status, TargetState, command, sample_flags,
};
use guest_stub::with_destination;

/// A command that has been found valid.
struct Block<'a> {
    command: &'a command::Block,
    route: GuestRoute,
    destination: Destination,
    state: TargetState,
    initiator: usize,
}

impl<'a> Block<'a> {
    fn parse(command: &'a command::Block, processors: usize) -> Option<Self> {
        let block = Self {
            command,
            route: GuestRoute::from_wire(command.route).filter(|&route| route != GuestRoute::Host)?,
            destination: Destination::from_wire(command.destination).filter(|it| it.is_of_broadcasts())?,
            state: TargetState::from_wire(command.target_state)?,
            initiator: command.initiator as usize,
        };
        let fits = command.rounds as usize <= RING_SAMPLES && block.initiator < processors;
        fits.then_some(block)
    }

    fn stay(&self, private: &'static Private) {
        participant::stay(private, self.route, self.destination, self.state);
    }
}

/// vCPU 0's part. `None`: the command is not valid.
pub(crate) fn lead(
    private: &'static Private,
    processors: usize,
    command: &command::Block,
    worker: WorkerFn,
) -> Option<Report> {
    let block = Block::parse(command, processors)?;
    let activity = activity::begin(private, processors);
    let is_idle = |other| other != block.initiator && other != private.index && !activity::is_ready(other, 0);
    let until = tsc::now().wrapping_add(command.deadline);
    let all_are_ready = polling::poll_until(until, || !(0..processors).any(is_idle));
    // Only now: the wake-up went out in the mode that the others were in.
    participant::enter(private, block.route);
    let report = if block.initiator != private.index {
        // Whoever calls sees, and says, who is not ready.
        block.stay(private);
        shared::last_report()
    } else if all_are_ready {
        run_rounds(private, processors, &block, worker)
    } else {
        activity::not_ready(private.index, processors, 0)
    };
    if report.status != Status::Done as u32 {
        // The others stay where they are: the VMM looks at them there.
        return Some(report);
    }
    Some(activity::end(private, processors, activity, command.deadline, report))
}

/// Another processor's part.
pub(crate) fn follow(private: &'static Private, processors: usize, command: &command::Block, worker: WorkerFn) {
    let Some(block) = Block::parse(command, processors) else { return };
    participant::enter(private, block.route);
    if block.initiator == private.index {
        shared::report(run_rounds(private, processors, &block, worker));
        // Release: the report comes first. vCPU 0 leaves its state for it.
        UserWords::of(0).stop().store(1, Ordering::Release);
        activity::wake(private, processors);
        return;
    }
    block.stay(private);
    if command.observe != 0 {
        participant::take_pending_interrupts();
    }
}

/// Makes the block's calls, on its initiator.
fn run_rounds(private: &'static Private, processors: usize, block: &Block<'_>, worker: WorkerFn) -> Report {
    let everybody = Everybody::new(private, processors, block.route, block.destination);
    let call = everybody.call(worker, block.command.argument as usize, block.command.deadline);
    let sends_nothing = || rounds(private, processors, block, &call, &everybody);
    with_route!(block.route, R => with_destination!(
        block.destination,
        D => match everybody.over::<R, D>() {
            Some(everybody) => rounds(private, processors, block, &call, &everybody),
            None => sends_nothing(),
        },
        else sends_nothing()
    ))
}

/// The calls, one after the other, each when everybody is ready: for each route and destination a function of its own, in which
/// nothing is left to be chosen.
#[inline(never)]
fn rounds(
    private: &'static Private,
    processors: usize,
    block: &Block<'_>,
    call: &Call,
    participants: &impl Participants,
) -> Report {
    let command = block.command;
    let owned = Owned::new(private, call, participants);
    let mut resent = 0;
    let mut completed = tsc::now();
    // The shortest time from the end of a wait to the send: the next wait is shorter by it.
    let mut preparation = None;
    for round in 0..command.rounds {
        if round == command.counted_from {
            port::write(PORT_MARK, 0);
        }
        if let Err(report) = activity::wait_until_ready(private.index, processors, round, command.deadline) {
            return report;
        }
        let since = ready_since(block, processors, completed);
        let waited = tsc::wait_until(since.wrapping_add(command.settle.saturating_sub(preparation.unwrap_or(0))));
        match owned.broadcast(waited) {
            Ok(done) => {
                resent += u32::from(done.resent);
                completed = done.t2;
                let prepared = done.t0.wrapping_sub(waited);
                preparation = Some(preparation.map_or(prepared, |shortest: u64| shortest.min(prepared)));
                private.user_page().handled().store(round + 1, Ordering::Relaxed);
                private.record(round, sample(&done));
            }
            Err(Failed::Aborted { generation, missing, resent: again }) => {
                return Report {
                    rounds: round,
                    generation: generation.get(),
                    resent: resent + u32::from(again),
                    missing,
                    ..activity::report(Status::Aborted)
                };
            }
            // Blocks run at IRQL 0 with interrupts on.
            Err(Failed::NotAllowedHere) => panic!("broadcast at IRQL {}", irql::current()),
        }
    }
    if command.counted_from < command.rounds {
        port::write(PORT_MARK, 0);
    }
    Report { rounds: command.rounds, resent, ..activity::report(Status::Done) }
}

/// Since when all targets, which are ready, are in their state: where that is HLT, each has stamped it. A stamp from before the
/// last call was `completed`, or from the future, says that the clocks differ, and then it is now that counts.
fn ready_since(block: &Block<'_>, processors: usize, completed: u64) -> u64 {
    let now = tsc::now();
    match block.state {
        TargetState::Halt => {
            let targets = (0..processors).filter(|&processor| processor != block.initiator);
            let last = targets.map(|target| UserWords::of(target).halted().load(Ordering::Relaxed)).max();
            last.filter(|last| (completed..=now).contains(last)).unwrap_or(now)
        }
        TargetState::Spin | TargetState::User | TargetState::Masked => now,
    }
}

/// The initiator's sample of a call.
fn sample(done: &Completed) -> Sample {
    let &Completed { generation, t0, t1, a, w, x, t2, result, resent } = done;
    let flags = sample_flags::INITIATOR | if resent { sample_flags::RESENT } else { 0 };
    Sample { generation: generation.get(), flags, t0, t1, a, w, x, t2, result: result as u64 }
}
