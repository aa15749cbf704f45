use super::rendezvous::{Generations, Packet, Slot};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use std::cell::Cell;

/// What is wrong with the machine, or with how the algorithm is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// An interrupt may overtake what its sender stored before.
    NoFence,
    /// The IRR bit is cleared when its interrupt has been served, and with it what came meanwhile.
    ClearedAfterServing,
    /// Whoever waits for a slot serves no interrupts.
    DeafWaiter,
    /// The initiator with the highest number acquires slots in falling order.
    FallingOrder,
}

/// How often a waiting processor looks before its time is up. `None`: until it sees what it waits for.
pub(crate) type Patience = Option<u64>;

/// What an initiator says about its call, for the workers to read.
pub(crate) struct Order {
    pub(crate) generation: u32,
    pub(crate) participants: &'static [usize],
}

/// One processor. Its local APIC is a bit for the interrupt, and one for the NMI.
///
/// The model checker finds every access to the cells that is not ordered by the algorithm.
pub(crate) struct Cpu {
    pub(crate) slot: Slot,
    pub(crate) packet: Packet,
    pub(crate) irr: AtomicBool,
    pub(crate) nmi: AtomicBool,
    /// Written by this processor as an initiator, read by the workers.
    pub(crate) order: UnsafeCell<Order>,
    /// The generation that this processor was last ready for; read by every worker.
    pub(crate) ready: UnsafeCell<u32>,
    /// Written by this processor's worker, read by the initiator.
    pub(crate) output: UnsafeCell<u32>,
    /// The calls, by generation and initiator, whose worker ran here.
    pub(crate) ran: UnsafeCell<Vec<(u32, usize)>>,
    /// The generation that this processor, as a target, last gave up.
    pub(crate) gave_up: UnsafeCell<u32>,
    /// Written by whoever owns the slot.
    pub(crate) owned: UnsafeCell<usize>,
}

impl Cpu {
    pub(crate) fn new(last: u32) -> Self {
        Self {
            slot: Slot::new(),
            packet: Packet::new(),
            irr: AtomicBool::new(false),
            nmi: AtomicBool::new(false),
            order: UnsafeCell::new(Order { generation: 0, participants: &[] }),
            ready: UnsafeCell::new(last),
            output: UnsafeCell::new(0),
            ran: UnsafeCell::new(Vec::new()),
            gave_up: UnsafeCell::new(0),
            owned: UnsafeCell::new(0),
        }
    }
}

/// Reads a cell. The model checker fails if somebody else may write it meanwhile.
pub(crate) fn read<T, R>(cell: &UnsafeCell<T>, look: impl FnOnce(&T) -> R) -> R {
    // SAFETY: models run one thread at a time, and `look` makes no call to the checker, which could switch threads.
    cell.with(|value| look(unsafe { &*value }))
}

/// Writes a cell. The model checker fails if somebody else may access it meanwhile.
pub(crate) fn write<T>(cell: &UnsafeCell<T>, change: impl FnOnce(&mut T)) {
    // SAFETY: models run one thread at a time, and `change` makes no call to the checker, which could switch threads.
    cell.with_mut(|value| change(unsafe { &mut *value }));
}

/// Somebody's turns in a loop that ends when somebody else has done something.
pub(crate) struct Waiting(Cell<u64>);

impl Waiting {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Lets the others run. Two that wait for a third could take turns for ever, and the checker would look at each
    /// number of turns. To look in vain changes nothing, so a schedule with a few such turns stands for those with
    /// more: from there on this run goes to its end without alternatives.
    pub(crate) fn turn(&self) {
        const TURNS: u64 = 1;
        self.0.set(self.0.get() + 1);
        if self.0.get() > TURNS {
            loom::skip_branch();
        }
        thread::yield_now();
    }
}

/// Polls until `holds`, for as long as patience lasts.
pub(crate) fn poll(patience: Patience, holds: impl Fn() -> bool) -> bool {
    let waiting = Waiting::new();
    while !holds() {
        if patience == Some(waiting.0.get()) {
            return false;
        }
        waiting.turn();
    }
    true
}

/// What the worker of `generation` returns on `cpu`.
pub(crate) const fn result(cpu: usize, generation: u32) -> usize {
    generation as usize + cpu + 1
}

/// Some processors.
pub(crate) struct Machine {
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) generations: Generations,
    pub(crate) fault: Fault,
}
