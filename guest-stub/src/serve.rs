//! Serving a call in Rust: by NMI, by polling, in steps. The broadcast vector's own entry does the same in assembly.

use crate::fault;
use crate::ipi;
use crate::irql;
use crate::processor::Private;
use crate::tsc;
use crate::workers;
use core::arch::asm;
use core::cell::Cell;
use guest_stub::abi::CallStep;
use guest_stub::rendezvous::{self, Delivery, Served, Step, Target, Work};

/// Serves what this processor is asked for, and says what it was, with the stamps around the worker. With `stepped`, each
/// step is an exit. IRQL is as before; IF is clear if there was a call.
pub(crate) fn serve(private: &'static Private, by: Delivery, stepped: bool) -> (Served, [u64; 2]) {
    let before = irql::current();
    let serving = Serving { private, stepped, w: Cell::new(0), x: Cell::new(0) };
    let served = rendezvous::serve(&serving, private.slot, by);
    match served {
        Served::Ran(..) => ipi::check_restored(private),
        Served::Late => private.count_late(),
        Served::Nothing => {}
    }
    irql::set(before);
    (served, [serving.w.get(), serving.x.get()])
}

struct Serving {
    private: &'static Private,
    stepped: bool,
    w: Cell<u64>,
    x: Cell<u64>,
}

impl Target for Serving {
    fn raise(&self) {
        irql::set(irql::IPI);
        // Workers run with interrupts off, on whichever processor: of those who serve, only one that polls has them on.
        // SAFETY: whoever had them on sets IF again.
        unsafe { asm!("cli", options(nostack)) };
    }

    fn wait(&self, deadline: u64, holds: impl Fn() -> bool) -> bool {
        tsc::poll_until(deadline, holds)
    }

    fn work(&self, work: Work) -> usize {
        debug_assert!(self.private.in_worker());
        self.w.set(tsc::stamp_after_loads().value());
        let result = workers::run(work);
        self.x.set(tsc::stamp_after_loads().value());
        result
    }

    fn reached(&self, step: Step) {
        if self.stepped {
            fault::step(CallStep::from_wire(step as u32).unwrap_or(CallStep::Entered));
        }
    }
}
