//! What happens to happen: which processors call whom, and what becomes of the interrupts.

use guest_stub::rendezvous::{Delivery, Generation};
use proptest::array::uniform6;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The most processors of a scenario.
pub(crate) const CPUS: usize = 6;

/// Some processors. The lowest bit is processor 0's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set(u8);

impl Set {
    pub(crate) const NOBODY: Self = Self(0);

    /// In rising order.
    pub(crate) fn members(self) -> impl Iterator<Item = usize> {
        (0..CPUS).filter(move |cpu| self.contains(*cpu))
    }

    pub(crate) fn contains(self, cpu: usize) -> bool {
        self.0 >> cpu & 1 != 0
    }

    pub(crate) fn with(self, cpu: usize) -> Self {
        Self(self.0 | 1 << cpu)
    }

    pub(crate) fn without(self, cpu: usize) -> Self {
        Self(self.0 & !(1 << cpu))
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn and_not(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn below(self, cpus: usize) -> Self {
        Self(self.0 & ((1 << cpus) - 1))
    }

    pub(crate) fn bits(self) -> u32 {
        self.0.into()
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(u8::try_from(bits).expect("made by `bits`"))
    }
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Participants {
    Nobody,
    Itself,
    Everybody,
    Others,
    /// Two such sets are equal or disjoint.
    OwnHalf,
    These(Set),
}

impl Participants {
    /// Of `cpus` processors, for a call by `initiator`.
    pub(crate) fn set(self, initiator: usize, cpus: usize) -> Set {
        let set = match self {
            Self::Nobody => Set::NOBODY,
            Self::Itself => Set::NOBODY.with(initiator),
            Self::Everybody => Set(u8::MAX),
            Self::Others => Set(u8::MAX).without(initiator),
            Self::OwnHalf => Set(if initiator.is_multiple_of(2) { 0b0101_0101 } else { 0b1010_1010 }),
            Self::These(set) => set,
        };
        set.below(cpus)
    }
}

/// One broadcast call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) participants: Participants,
    pub(crate) by: Delivery,
    /// The initiator interrupts itself, too.
    pub(crate) itself: bool,
    /// The workers meet at a barrier.
    pub(crate) meets: bool,
    /// Whose first interrupt gets lost.
    pub(crate) lost: Set,
    /// Whose interrupt comes only when the call is over, however often it is sent. Only of a hasty call.
    pub(crate) late: Set,
    /// Whose interrupt comes twice: now, and when the call is over.
    pub(crate) twice: Set,
    /// What comes when the call is over, comes during the initiator's next call.
    pub(crate) much_later: bool,
    /// How soon the call is given up, if it may be.
    pub(crate) hasty: Option<Duration>,
    /// How soon the interrupt is sent again.
    pub(crate) resend_after: Duration,
    /// Somebody gets an interrupt, or an NMI, for no reason.
    pub(crate) kick: Option<(usize, Delivery)>,
}

/// Time that passes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delay {
    None,
    Spins(u16),
    Yields(u8),
}

/// What a processor does.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its calls, over and over.
    pub(crate) calls: Vec<Call>,
    /// After each step of a target's way: time that passes, and whether an NMI may come.
    pub(crate) steps: [(Delay, bool); 6],
    /// Where both are waiting, an interrupt comes before an NMI.
    pub(crate) interrupts_first: bool,
}

/// A machine's processors, and where its generations begin.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) programs: Vec<Program>,
    pub(crate) last: Generation,
}

pub(crate) fn scenarios() -> impl Strategy<Value = Scenario> {
    (vec(program(), 2..=CPUS), start())
        .prop_map(|(programs, last)| Scenario { programs, last })
        .prop_filter("somebody calls", |scenario| scenario.programs.iter().any(|it| !it.calls.is_empty()))
}

/// Anywhere, or so that generations begin anew soon.
fn start() -> impl Strategy<Value = Generation> {
    prop_oneof![Just(0), any::<u32>(), u32::MAX - 2000..=u32::MAX].prop_map(Generation::from_stored)
}

fn program() -> impl Strategy<Value = Program> {
    (vec(call(), 0..=4), uniform6((delay(), any::<bool>())), any::<bool>())
        .prop_map(|(calls, steps, interrupts_first)| Program { calls, steps, interrupts_first })
}

fn delay() -> impl Strategy<Value = Delay> {
    prop_oneof![
        4 => Just(Delay::None),
        1 => (0..1000_u16).prop_map(Delay::Spins),
        1 => (1..4_u8).prop_map(Delay::Yields),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let interrupts = (rarely_some(), rarely_some(), rarely_some(), any::<bool>());
    let whom = (participants(), delivery(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let when = (option::weighted(0.15, micros(0..=200)), micros(0..=100));
    let kick = option::weighted(0.3, (0..CPUS, delivery()));
    (whom, interrupts, when, kick).prop_map(
        |((participants, by, itself, meets), (lost, late, twice, much_later), (hasty, resend_after), kick)| {
            let late = if hasty.is_some() { late } else { Set::NOBODY };
            Call { participants, by, itself, meets, lost, late, twice, much_later, hasty, resend_after, kick }
        },
    )
}

fn participants() -> impl Strategy<Value = Participants> {
    prop_oneof![
        1 => Just(Participants::Nobody),
        1 => Just(Participants::Itself),
        3 => Just(Participants::Everybody),
        2 => Just(Participants::Others),
        2 => Just(Participants::OwnHalf),
        4 => any::<u8>().prop_map(|bits| Participants::These(Set(bits))),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![3 => Just(Delivery::Interrupt), 1 => Just(Delivery::Nmi)]
}

fn rarely_some() -> impl Strategy<Value = Set> {
    prop_oneof![4 => Just(Set::NOBODY), 1 => any::<u8>().prop_map(Set)]
}

fn micros(range: RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_micros)
}
