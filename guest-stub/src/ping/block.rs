//! A block of pings: who sends, who is pinged, and who sleeps meanwhile.

use super::LINES;
use super::outcomes;
use super::sender::{self, Ping, Stamps, WindowFn};
use crate::activity;
use crate::cpu::{port, tsc};
use crate::halting;
use crate::participant;
use crate::polling;
use crate::processor::{GENERATIONS, Private, UserWords};
use crate::settle::Settle;
use crate::shared;
use crate::states;
use core::sync::atomic::Ordering;
use guest_stub::abi::{
    Destination, GuestRoute, MASK_WORDS, Mask, PORT_MARK, RING_SAMPLES, Report, Sample, Status, TargetState, command,
    sample_flags,
};
use guest_stub::mask;
use guest_stub::rendezvous::Generation;

/// A command that has been found valid, as one processor sees it.
struct Block<'a> {
    command: &'a command::Pings,
    route: GuestRoute,
    state: TargetState,
    window: WindowFn,
    processors: usize,
    me: usize,
    /// Whom this processor pings, if it does.
    target: Option<usize>,
    is_pinged: bool,
}

impl<'a> Block<'a> {
    fn parse(command: &'a command::Pings, processors: usize, me: usize) -> Option<Self> {
        let route = GuestRoute::from_wire(command.route)?;
        let destination = Destination::from_wire(command.destination)?;
        let initiator = command.initiator as usize;
        if command.rounds as usize > RING_SAMPLES || initiator >= processors {
            return None;
        }
        let window = sender::window_of(route, destination)?;
        destination.pinged_by(initiator, processors)?;
        let mut senders = destination.senders(initiator, processors);
        Some(Self {
            command,
            route,
            state: TargetState::from_wire(command.target_state)?,
            window,
            processors,
            me,
            target: if senders.contains(&me) { destination.pinged_by(me, processors) } else { None },
            is_pinged: senders.any(|sender| destination.pinged_by(sender, processors) == Some(me)),
        })
    }

    /// Sends this processor's pings to `target`.
    fn send_all(&self, private: &'static Private, target: usize) -> Report {
        let &command::Pings { rounds, counted_from, settle, deadline, .. } = self.command;
        let line = &LINES[target];
        let mut resent = 0;
        let mut settle = Settle::new(settle, self.state, deadline);
        for round in 0..rounds {
            if round == counted_from {
                port::write(PORT_MARK, 0);
            }
            if let Err(report) = self.wait_until_ready(private, target, round) {
                return report;
            }
            let now = settle.wait(private, target..target + 1, round);
            let generation = GENERATIONS.issue();
            line.ask(generation);
            let (resend_at, deadline) = (now.wrapping_add(deadline / 2), now.wrapping_add(deadline));
            let stamps = (self.window)(&Ping { target, line, generation, resend_at, deadline });
            resent += u32::from(stamps.resent);
            let missing = if stamps.arrived { self.me } else { target };
            if stamps.arrived && self.own_has_arrived(private, round, deadline) {
                self.record(private, round, generation, &stamps);
                continue;
            }
            let generation = generation.get();
            return Report {
                rounds: round,
                generation,
                resent,
                missing: only(missing),
                ..activity::report(Status::Aborted)
            };
        }
        if counted_from < rounds {
            port::write(PORT_MARK, 0);
        }
        Report { rounds, resent, ..activity::report(Status::Done) }
    }

    /// Waits until the target is in its state, ready for `round`; or where it sends, too, until everybody has come to that round.
    fn wait_until_ready(&self, private: &Private, target: usize, round: u32) -> Result<(), Report> {
        if target == self.me {
            return Ok(());
        }
        let awaited = if self.is_pinged {
            // Release: the sample of the round before is complete.
            private.user_page().ready().store(round, Ordering::Release);
            0..self.processors
        } else {
            target..target + 1
        };
        // Another sender may be a round ahead; one that has not begun is behind.
        let is_behind = |other: usize| {
            let ready = UserWords::of(other).ready().load(Ordering::Acquire);
            ready.wrapping_sub(round).cast_signed() < 0
        };
        let until = tsc::now().wrapping_add(self.command.deadline);
        if polling::poll_until(until, || !awaited.clone().any(is_behind)) {
            return Ok(());
        }
        let missing = activity::others(self.me, self.processors, |other| awaited.contains(&other) && is_behind(other));
        Err(Report { rounds: round, missing, ..activity::report(Status::NotReady) })
    }

    /// Whether others send, too, where this processor sends to `target`.
    fn is_in_mesh(&self, target: usize) -> bool {
        self.is_pinged && target != self.me
    }

    /// vCPU 0, which has sent its pings: waits until the others have, too. The report is that of all.
    fn wait_for_others(&self, own: Report, activity: u32) -> Report {
        // Each has begun the last round that vCPU 0 saw, and comes to the end of its own within these.
        let until = tsc::now().wrapping_add(self.command.settle).wrapping_add(self.command.deadline);
        // Who does not is the error when the activity ends.
        polling::poll_until(until, || (1..self.processors).all(|other| activity::has_finished(other, activity)));
        outcomes::explain(own, self.processors, activity)
    }

    /// Waits for the round's ping of this processor by another one, if there is one.
    fn own_has_arrived(&self, private: &Private, round: u32, deadline: u64) -> bool {
        !self.is_pinged || polling::poll_until(deadline, || private.has_served(round))
    }

    /// Stores the sender's sample, which is the target's, too, where this processor is pinged.
    fn record(&self, private: &Private, round: u32, generation: Generation, stamps: &Stamps) {
        // `own_has_arrived` has seen that it is served.
        let arrival = if self.is_pinged { private.recorded(round) } else { Sample::default() };
        let &Stamps { t0, t1, t2, resent, .. } = stamps;
        let flags = arrival.flags | sample_flags::INITIATOR | if resent { sample_flags::RESENT } else { 0 };
        let (t0, t1, t2) = (t0.value(), t1.value(), t2.value());
        private.record(round, Sample { generation: generation.get(), flags, t0, t1, t2, ..arrival });
        if !self.is_pinged {
            // Or else the handler has counted it.
            private.user_page().handled().store(round + 1, Ordering::Relaxed);
        }
    }
}

/// The set of this one processor.
fn only(processor: usize) -> Mask {
    let mut only = [0; MASK_WORDS];
    mask::insert(&mut only, processor);
    only
}

/// vCPU 0's part. `None`: the command is not valid.
pub(crate) fn lead(private: &'static Private, processors: usize, command: &command::Pings) -> Option<Report> {
    let block = Block::parse(command, processors, private.index)?;
    let activity = activity::begin(private, processors);
    // Only now: the wake-up went out in the mode that the others were in.
    participant::enter(private, block.route);
    let report = if let Some(target) = block.target {
        let report = block.send_all(private, target);
        if block.is_in_mesh(target) { block.wait_for_others(report, activity) } else { report }
    } else {
        if block.is_pinged {
            states::stay(private, block.state);
        } else {
            halting::halt_until_stopped(private.user_page());
        }
        shared::last_report()
    };
    if report.status != Status::Done as u32 {
        // The others stay where they are: the VMM looks at them there.
        return Some(report);
    }
    Some(activity::end(private, processors, activity, command.deadline, report))
}

/// Another processor's part. Who neither sends nor is pinged goes back to sleep.
pub(crate) fn follow(private: &'static Private, processors: usize, command: &command::Pings) {
    let Some(block) = Block::parse(command, processors, private.index) else { return };
    participant::enter(private, block.route);
    match block.target {
        // vCPU 0 sends, too, and reads it.
        Some(target) if block.is_in_mesh(target) => outcomes::store(private, block.send_all(private, target)),
        Some(target) => {
            shared::report(block.send_all(private, target));
            // Release: the report comes first. vCPU 0 leaves its state for it.
            UserWords::of(0).stop().store(1, Ordering::Release);
            activity::wake(private, processors);
        }
        None if block.is_pinged => states::stay(private, block.state),
        None => {}
    }
}
