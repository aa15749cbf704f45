//! A block of rounds: one processor makes measured calls of all processors, which are in a target state.

use crate::activity;
use crate::call::delayed;
use crate::call::everybody::Everybody;
use crate::call::initiator::Owned;
use crate::call::window::{Parked, Participants};
use crate::call::worker::WorkerFn;
use crate::call::{Aborted, Call};
use crate::cpu::{irql, port, tsc};
use crate::participant;
use crate::polling;
use crate::processor::{GENERATIONS, Private, UserWords};
use crate::routes::with_route;
use crate::settle::Settle;
use crate::shared;
use crate::vectors;
use core::sync::atomic::Ordering;
use guest_stub::abi::{Destination, GuestRoute, PORT_MARK, RING_SAMPLES, Report, Status, TargetState, Wait, command};
use guest_stub::with_destination;

/// A command that has been found valid.
struct Block<'a> {
    command: &'a command::Block,
    route: GuestRoute,
    destination: Destination,
    state: TargetState,
    wait: Wait,
    initiator: usize,
}

impl<'a> Block<'a> {
    fn parse(command: &'a command::Block, processors: usize) -> Option<Self> {
        let block = Self {
            command,
            route: GuestRoute::from_wire(command.route).filter(|&route| route != GuestRoute::Host)?,
            destination: Destination::from_wire(command.destination).filter(|it| it.is_of_broadcasts())?,
            state: TargetState::from_wire(command.target_state)?,
            wait: Wait::from_wire(command.wait)?,
            initiator: command.initiator as usize,
        };
        let fits = command.rounds as usize <= RING_SAMPLES && block.initiator < processors;
        fits.then_some(block)
    }

    fn stay(&self, private: &'static Private) {
        participant::stay(private, self.route, self.destination, self.state, self.wait);
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
    // SAFETY: this is vCPU 0, between two commands.
    unsafe { vectors::set_wait(block.wait) };
    let activity = activity::begin(private, processors);
    let is_idle = |other| other != block.initiator && other != private.index && !activity::is_in_state(other, 0);
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
    let worker = delayed::delay(worker, block.command.delay_instructions);
    let call = everybody.call(worker, block.command.argument as usize, block.command.deadline);
    if block.wait == Wait::Park {
        return rounds(private, processors, block, &call, &Parked(&everybody));
    }
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
    // Blocks run at IRQL 0 with interrupts on.
    let Some(owned) = Owned::new(private, call, participants) else { panic!("broadcast at IRQL {}", irql::current()) };
    let others = activity::Others::new(private.index, processors, command.deadline);
    let mut settle = Settle::new(command.settle, block.state, command.deadline);
    let is_marked = command.counted_from < command.rounds;
    let counted_from = command.counted_from.min(command.rounds);
    let handled = private.user_page().handled();
    let mut generation = GENERATIONS.issue_row(command.rounds);
    let (mut round, mut record) = (0, private.place(0));
    for (end, is_counted) in [(counted_from, false), (command.rounds, true)] {
        if is_marked && is_counted {
            port::write(PORT_MARK, 0);
        }
        while round != end {
            if let Err(report) = others.wait_until_ready(round) {
                return report;
            }
            let now = settle.wait(private, 0..processors, round);
            if let Err(Aborted { generation, missing, .. }) = owned.broadcast(now, generation, record) {
                let (generation, resent) = (generation.get(), owned.resent());
                return Report { rounds: round, generation, resent, missing, ..activity::report(Status::Aborted) };
            }
            round += 1;
            handled.store(round, Ordering::Relaxed);
            generation = generation.next();
            // SAFETY: there are no more rounds than samples in the ring, which `Block::parse` has seen to.
            record = unsafe { record.next() };
        }
    }
    if is_marked {
        port::write(PORT_MARK, 0);
    }
    Report { rounds: command.rounds, resent: owned.resent(), ..activity::report(Status::Done) }
}
