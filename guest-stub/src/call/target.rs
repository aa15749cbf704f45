//! Serving a call in Rust: by NMI, by polling, in steps. The broadcast vector's own entry does the same in assembly.

use super::{check_restored, worker};
use crate::cpu::{flags, irql, tsc};
use crate::polling;
use crate::processor::Private;
use core::cell::Cell;
use guest_stub::rendezvous::{self, Delivery, Served, Step, Target, Work};

/// Serves what this processor is asked for, and says what it was, with the stamps around the worker. IRQL is as before; IF is
/// clear if there was a call.
pub(crate) fn serve(private: &'static Private, by: Delivery) -> (Served, [u64; 2]) {
    serve_in_steps(private, by, |_| ())
}

/// As [`serve`], with a function to be called after each step.
pub(crate) fn serve_in_steps(private: &'static Private, by: Delivery, reached: impl Fn(Step)) -> (Served, [u64; 2]) {
    let before = irql::current();
    let serving = Serving::new(private, reached);
    let served = rendezvous::serve(&serving, private.slot, by);
    match served {
        Served::Ran(..) => check_restored(),
        Served::Late => private.count_late(),
        Served::Nothing => {}
    }
    irql::set(before);
    (served, serving.stamps())
}

/// A target that polls while it waits.
pub(super) struct Serving<F> {
    private: &'static Private,
    reached: F,
    w: Cell<u64>,
    x: Cell<u64>,
}

impl<F> Serving<F> {
    pub(super) fn new(private: &'static Private, reached: F) -> Self {
        Self { private, reached, w: Cell::new(0), x: Cell::new(0) }
    }

    /// Those around the worker.
    pub(super) fn stamps(&self) -> [u64; 2] {
        [self.w.get(), self.x.get()]
    }
}

impl<F: Fn(Step)> Target for Serving<F> {
    fn raise(&self) {
        irql::set(irql::IPI);
        // Workers run with interrupts off, on whichever processor: of those who serve, only one that polls has them on, and
        // sets IF again.
        flags::disable_interrupts();
    }

    fn wait(&self, deadline: u64, holds: impl Fn() -> bool) -> bool {
        polling::poll_until(deadline, holds)
    }

    fn work(&self, work: Work) -> usize {
        debug_assert!(self.private.in_worker());
        self.w.set(tsc::stamp_after_loads().value());
        let result = worker::run(work);
        self.x.set(tsc::stamp_after_loads().value());
        result
    }

    fn reached(&self, step: Step) {
        (self.reached)(step);
    }
}
