//! What the image is to measure: the command line in `kipi measure`'s words, and the cells that come of it.

mod chosen;
mod console;
mod refusals;
mod words;

pub use chosen::Chosen;
pub use console::Console;
pub use refusals::{Offers, refuse};
pub use words::{Error, is_word, parse, passed_over};

use crate::records::Record;
use crate::schedule;
use guest_stub::abi::cell::{Call, CellId, Route};
use guest_stub::abi::{Destination, TargetState, Worker};

/// What is to be measured, and what comes after. Where the command line says nothing, it is what `kipi measure` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// `call=`
    pub calls: Chosen<Call, 2>,
    /// `route=`
    pub routes: Chosen<Route, 14>,
    /// `destination=`; none: each call's usual one.
    pub destinations: Chosen<Destination, 7>,
    /// `target-state=` or `state=`
    pub target_states: Chosen<TargetState, 6>,
    /// `rounds=`: rounds of each cell that count.
    pub rounds: u32,
    /// `warmup=`: rounds before each block that do not count.
    pub warmup: u32,
    /// `blocks=`: how many blocks a cell's rounds are divided into; `None`: as many as on one boot of kipi's VMM.
    pub blocks: Option<u32>,
    /// `vcpus=`: processors that take part; `None`: two to four, as many as there are.
    pub vcpus: Option<u32>,
    /// `worker=`
    pub worker: Worker,
    /// `argument=` or `spin-cycles=`: the worker's argument; `None`: its usual one.
    pub argument: Option<u64>,
    /// `settle=`: time between the targets' readiness and the send, in µs.
    pub settle_us: u32,
    /// `deadline=`: time after which a call is given up, in ms.
    pub deadline_ms: u32,
    /// `end=`
    pub end: End,
    /// `console=`
    pub console: Console,
}

/// What the image does when it is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It resets the machine, by the keyboard controller (8042).
    Reset,
    /// It resets the machine by the register that the FADT names.
    Acpi,
    /// It has QEMU exit, by its device isa-debug-exit at port F4H.
    Qemu,
    /// It halts all processors.
    Halt,
}

impl End {
    /// Every one, in the order of help texts.
    pub const ALL: &[Self] = &[Self::Halt, Self::Reset, Self::Acpi, Self::Qemu];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Acpi => "acpi",
            Self::Qemu => "qemu",
            Self::Halt => "halt",
        }
    }

    /// The one that a command line chooses, whether or not the rest of it is understood: a machine that nothing is measured on ends
    /// as well.
    pub fn chosen_by(command_line: &str) -> Self {
        let of_name = |value| Self::ALL.iter().copied().find(|end| end.name() == value);
        values_of("end=", command_line).filter_map(of_name).next_back().unwrap_or(Self::Halt)
    }
}

/// What a command line gives a word, as often as it is there.
fn values_of<'l>(word: &'static str, command_line: &'l str) -> impl DoubleEndedIterator<Item = &'l str> {
    command_line.split_ascii_whitespace().filter_map(move |each| each.strip_prefix(word))
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            calls: Chosen::of(&[Call::Broadcast]),
            routes: Chosen::of(&[Route::XApic, Route::X2Apic, Route::Memory]),
            destinations: Chosen::of(&[]),
            target_states: Chosen::of(&[TargetState::Spin, TargetState::User, TargetState::Halt]),
            rounds: 500,
            warmup: 3,
            blocks: None,
            vcpus: None,
            worker: Worker::Stamp,
            argument: None,
            settle_us: 10,
            deadline_ms: 4000,
            end: End::Halt,
            console: Console::COM1,
        }
    }
}

/// A combination of the plan's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// It is measured.
    Cell(CellId),
    /// It cannot be, for this reason.
    Skipped(CellId, &'static str),
}

impl Plan {
    /// How many processors take part, of those that there are.
    pub fn vcpus(&self, processors: u32) -> u32 {
        self.vcpus.unwrap_or(processors.clamp(1, 4))
    }

    /// The worker's argument.
    pub fn argument(&self) -> u64 {
        const SPIN_CYCLES: u64 = 10_000;
        self.argument.unwrap_or(if self.worker == Worker::Spin { SPIN_CYCLES } else { 0 })
    }

    /// How many rounds each block of a cell has.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = usize> + Clone {
        let (rounds, warmup) = (self.rounds as usize, self.warmup as usize);
        let wanted = self.blocks.map_or_else(|| schedule::blocks(rounds, warmup, 1).len(), |blocks| blocks as usize);
        schedule::divide(rounds, warmup, wanted)
    }

    /// How many blocks were asked for, and how many there are, if these are others: a block has a round at least, and no more than a
    /// sample ring holds.
    pub fn other_blocks(&self) -> Option<(u32, usize)> {
        self.blocks.map(|asked| (asked, self.blocks().len())).filter(|&(asked, made)| asked as usize != made)
    }

    /// What is the same for all cells, as a record.
    pub fn record(&self, offers: Offers) -> Record<'static> {
        Record::Plan {
            vcpus: self.vcpus(offers.processors),
            rounds: self.rounds,
            warmup: self.warmup,
            blocks: u32::try_from(self.blocks().len()).unwrap_or(u32::MAX),
            worker: self.worker as u32,
            argument: self.argument(),
            settle_ns: u64::from(self.settle_us) * 1000,
            deadline_ms: self.deadline_ms,
        }
    }

    /// Every combination of the choices on a platform, in the order of `kipi measure`'s output.
    pub fn cells(&self, offers: Offers) -> impl Iterator<Item = Planned> + '_ {
        let vcpus = self.vcpus(offers.processors) as usize;
        let addressed =
            move || self.calls.iter().flat_map(|call| self.destinations_of(call).iter().map(move |at| (call, at)));
        let of_route = move |route| {
            addressed().flat_map(move |(call, destination)| {
                let cell = move |state| CellId { call, ..CellId::broadcast(route, destination, state, vcpus) };
                self.target_states.iter().map(cell)
            })
        };
        self.routes.iter().flat_map(of_route).map(move |cell| match refuse(&cell, offers) {
            None => Planned::Cell(cell),
            Some(reason) => Planned::Skipped(cell, reason),
        })
    }

    fn destinations_of(&self, call: Call) -> Chosen<Destination, 7> {
        if !self.destinations.is_empty() {
            return self.destinations;
        }
        Chosen::of(match call {
            Call::Broadcast => &[Destination::AllButSelf],
            Call::Ping => &[Destination::Unicast],
        })
    }
}

#[cfg(test)]
mod tests;
