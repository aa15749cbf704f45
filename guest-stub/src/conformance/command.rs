//! The command to make calls, found valid.

use super::devices::Timer;
use super::members::Manner;
use crate::call::worker::WorkerFn;
use guest_stub::abi::{Destination, Fault, GuestRoute, Set, TargetState, Wait, Worker, command};
use guest_stub::mask;

pub(super) struct Calls<'a> {
    pub(super) command: &'a command::Calls,
    pub(super) route: GuestRoute,
    pub(super) destination: Destination,
    pub(super) state: TargetState,
    pub(super) worker: WorkerFn,
    /// Whether the worker looks at the contract, and its results are known.
    pub(super) verifies: bool,
    pub(super) set: Set,
    pub(super) wait: Wait,
    pub(super) manner: Manner,
    pub(super) timer: Timer,
}

impl<'a> Calls<'a> {
    pub(super) fn parse(command: &'a command::Calls, worker: WorkerFn) -> Option<Self> {
        let route = GuestRoute::from_wire(command.route).filter(|&route| route != GuestRoute::Host)?;
        Some(Self {
            command,
            route,
            destination: Destination::from_wire(command.destination).filter(|it| it.is_of_broadcasts())?,
            state: TargetState::from_wire(command.target_state)?,
            worker,
            verifies: Worker::from_wire(command.worker)? == Worker::Verify,
            set: Set::from_wire(command.set)?,
            wait: Wait::from_wire(command.wait)?,
            manner: Manner::new(route, command.stepped != 0, Fault::from_wire(command.fault)?),
            timer: Timer { period: command.timer_period, deadline: command.timer_deadline },
        })
    }

    pub(super) fn has_initiator(&self, index: usize) -> bool {
        mask::contains(&self.command.initiators, index)
    }
}
