//! What the VMM asks of the guest: a header that names the operation, and that operation's payload.

#[cfg(doc)]
use super::{
    Destination, Fault, GuestRoute, Job, PORT_MARK, Question, RING_SAMPLES, Set, TargetState, VECTOR_DEVICE, Wait,
    Worker,
};
use super::{Mask, Operation};
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One thing to do: an operation, and room for the largest payload.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Command {
    /// [`Operation`].
    operation: u32,
    /// Zero.
    reserved: u32,
    /// The payload of that operation, then zeroes.
    payload: [u64; PAYLOAD_WORDS],
}

/// Words of the largest payload.
const PAYLOAD_WORDS: usize = size_of::<Calls>() / 8;

/// What an operation has to know. It can be read under its own operation only.
pub trait Payload: FromBytes + IntoBytes + Immutable + KnownLayout {
    /// The operation.
    const OPERATION: Operation;
}

impl Command {
    /// The operation of `P`, with its payload.
    pub fn new<P: Payload>(payload: &P) -> Self {
        const { assert!(size_of::<P>() <= PAYLOAD_WORDS * 8) };
        let mut command = Self { operation: P::OPERATION as u32, reserved: 0, payload: [0; PAYLOAD_WORDS] };
        command.payload.as_mut_bytes()[..size_of::<P>()].copy_from_slice(payload.as_bytes());
        command
    }

    /// What is to be done; `None` for a number that the ABI does not know.
    pub const fn operation(&self) -> Option<Operation> {
        Operation::from_wire(self.operation)
    }

    /// The payload, if it is one of `P`'s operation.
    pub fn payload<P: Payload>(&self) -> Option<P> {
        if self.operation != P::OPERATION as u32 {
            return None;
        }
        P::read_from_prefix(self.payload.as_bytes()).ok().map(|(payload, _)| payload)
    }
}

/// Ties each payload to its operation, of the same name.
macro_rules! payloads {
    ($($name:ident),+) => { $(impl Payload for $name { const OPERATION: Operation = Operation::$name; })+ };
}

payloads!(Block, Pings, Calibrate, ClockExchange, Calls, Serve, Spray, Processor, Acts);

/// A block of rounds: one processor makes as many measured calls of all processors.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Block {
    /// [`GuestRoute`], but not [`GuestRoute::Host`].
    pub route: u32,
    /// [`Destination`].
    pub destination: u32,
    /// [`TargetState`].
    pub target_state: u32,
    /// [`Worker`].
    pub worker: u32,
    /// 1 if the worker's first act is to be an exit to the VMM.
    pub observe: u32,
    /// The vCPU that makes the calls.
    pub initiator: u32,
    /// Calls: at most [`RING_SAMPLES`].
    pub rounds: u32,
    /// The first of them that counts: a write to [`PORT_MARK`] comes before it, and another one after the last call. If it is
    /// not less than `rounds`, there is neither.
    pub counted_from: u32,
    /// [`Wait`].
    pub wait: u32,
    /// Instructions that every participant executes before its worker, to lengthen the calls; zero: none.
    pub delay_instructions: u32,
    /// The worker's argument.
    pub argument: u64,
    /// TSC cycles between the targets' readiness and the send, at least; in state `halt`, between the last target's HLT and the
    /// send.
    pub settle: u64,
    /// TSC cycles after which a call is given up; it is sent again after half of them.
    pub deadline: u64,
}

/// A block of pings: a processor interrupts another one, or itself, and sees it arrive; so many times.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Pings {
    /// [`GuestRoute`], one that sends a vector.
    pub route: u32,
    /// [`Destination`], one that pings have.
    pub destination: u32,
    /// [`TargetState`] of a target that sends nothing itself.
    pub target_state: u32,
    /// The vCPU that sends; with [`Destination::Mesh`], zero: all do.
    pub initiator: u32,
    /// Pings of each sender: at most [`RING_SAMPLES`].
    pub rounds: u32,
    /// As [`Block::counted_from`], where there is one sender.
    pub counted_from: u32,
    /// As [`Block::settle`].
    pub settle: u64,
    /// TSC cycles after which a ping is given up; it is sent again after half of them.
    pub deadline: u64,
}

/// Guest instructions at CPL0 that each sample of [`Calibrate`] times.
pub const TIMED_INSTRUCTIONS: u32 = 32;

/// Measurements of the instruments, on vCPU 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Calibrate {
    /// How many of each: at most [`RING_SAMPLES`].
    pub samples: u32,
    /// 1 if each has an exit to the VMM, too.
    pub observed: u32,
}

/// One thing that is done again and again, on vCPU 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Acts {
    /// [`Act`](super::act::Act).
    pub act: u32,
    /// How often: at most [`RING_SAMPLES`]. The report has none if this processor has not got what the act is about.
    pub samples: u32,
    /// TSC cycles that the processor is in HLT before the deadline, of [`Act::HltTimer`](super::act::Act::HltTimer).
    pub sleep: u64,
}

/// An exchange of time stamps between vCPU 0 and another one.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ClockExchange {
    /// The other vCPU.
    pub partner: u32,
    /// Zero.
    pub reserved: u32,
    /// TSC cycles after which it ends, if the ring of samples is not full before.
    pub duration: u64,
    /// TSC cycles that the partner may take to come back.
    pub deadline: u64,
}

/// Calls that several processors make at once, each in a tally of its own.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Calls {
    /// [`GuestRoute`], but not [`GuestRoute::Host`].
    pub route: u32,
    /// [`Destination`], where everybody is called.
    pub destination: u32,
    /// [`TargetState`] of those who make no calls.
    pub target_state: u32,
    /// [`Worker`].
    pub worker: u32,
    /// 1 if the worker's first act is to be an exit to the VMM.
    pub observe: u32,
    /// Calls of each initiator.
    pub calls: u32,
    /// [`Set`].
    pub set: u32,
    /// [`Fault`].
    pub fault: u32,
    /// 1 if calls have a setup and a teardown phase around the worker.
    pub phases: u32,
    /// 1 if every step of a call is an exit to the VMM.
    pub stepped: u32,
    /// Where generations go on from, if not zero.
    pub last_generation: u32,
    /// Seed of random sets and pauses.
    pub seed: u32,
    /// Period of each processor's local APIC timer, in its ticks; zero: it is not periodic. Its interrupt is
    /// [`VECTOR_DEVICE`].
    pub timer_period: u32,
    /// [`Wait`].
    pub wait: u32,
    /// TSC cycles from each timer interrupt to the next, where each is armed by TSC deadline; zero: none is.
    pub timer_deadline: u64,
    /// TSC cycles that [`Worker::Verify`] is busy.
    pub work: u64,
    /// TSC cycles that an initiator waits between two calls, at most; a random part of them.
    pub pause: u64,
    /// TSC cycles after which a call is given up; it is sent again after half of them.
    pub deadline: u64,
    /// The vCPUs that make calls.
    pub initiators: Mask,
    /// The vCPUs that are called, with [`Set::Mask`].
    pub members: Mask,
}

/// All processors stay in a target state, where the host calls them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Serve {
    /// [`TargetState`].
    pub target_state: u32,
    /// 1 if the host's workers begin with an exit to the VMM.
    pub observe: u32,
    /// [`Fault`].
    pub fault: u32,
    /// Where generations go on from, if not zero.
    pub last_generation: u32,
    /// As [`Calls::timer_period`].
    pub timer_period: u32,
    /// [`Wait`].
    pub wait: u32,
    /// As [`Calls::timer_deadline`].
    pub timer_deadline: u64,
    /// TSC cycles that [`Worker::Verify`] is busy.
    pub work: u64,
    /// TSC cycles that the processors may take to get into their state, and out of it.
    pub deadline: u64,
}

/// Random acts of every processor. The machine is of no more use afterwards.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Spray {
    /// [`GuestRoute`]: whether the local APIC is in xAPIC or x2APIC mode.
    pub route: u32,
    /// Seed of the random acts.
    pub seed: u32,
    /// TSC cycles that they go on for.
    pub duration: u64,
}

/// A test of what a processor does with INIT, SIPI, NMI, its local APIC's base and its clock: vCPU 0 does it to vCPU 1. The machine
/// is of no more use afterwards.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Processor {
    /// [`Question`].
    pub question: u32,
    /// [`Job`]: what vCPU 1 does meanwhile.
    pub job: u32,
    /// [`GuestRoute`]: whether the local APICs are in xAPIC or x2APIC mode.
    pub route: u32,
    /// How often.
    pub rounds: u32,
    /// Seed of random delays.
    pub seed: u32,
    /// [`Fault`].
    pub fault: u32,
    /// TSC cycles after which what has not happened will not happen.
    pub patience: u64,
    /// TSC cycles in which what must not happen would have happened.
    pub quiet: u64,
}

const _: () = assert!(size_of::<Processor>() == 40);
const _: () = assert!(size_of::<Command>() == 352 && size_of::<Calls>() == 344);
const _: () = assert!(size_of::<Block>() == 64 && size_of::<Pings>() == 40 && size_of::<Serve>() == 48);
const _: () = assert!(size_of::<ClockExchange>() == 24 && size_of::<Spray>() == 16 && size_of::<Calibrate>() == 8);
const _: () = assert!(size_of::<Acts>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_under_its_own_operation_only() {
        let exchange = ClockExchange { partner: 3, duration: 7, deadline: u64::MAX, ..ClockExchange::default() };
        let command = Command::new(&exchange);
        assert_eq!(command.operation(), Some(Operation::ClockExchange));
        assert_eq!(command.payload(), Some(exchange));
        assert_eq!(command.payload::<Block>(), None);
        assert_eq!(command.payload::<Calls>(), None);
    }

    #[test]
    fn a_number_that_is_no_operation_has_no_payload() {
        let command = Command { operation: 99, ..Command::new(&Calibrate { samples: 1, observed: 0 }) };
        assert_eq!(command.operation(), None);
        assert_eq!(command.payload::<Calibrate>(), None);
    }
}
