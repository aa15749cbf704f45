//! Sleep and wake-up by futex(2). A thread that sleeps has left its CPU, and no IPI is sent to it: the kernel makes it runnable, and
//! its CPU, where that is idle, switches to it. What tells that CPU is an interrupt, or where it polls for work, a flag that it reads.

use super::Error;
use super::clock::stamp;
use super::shared::Line;
use super::sleeping;
use std::sync::atomic::{AtomicU32, Ordering};

/// What threads sleep on, and are woken by.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// How often it has rung; the futex.
    rung: Line<AtomicU32>,
}

impl Alarm {
    /// How often it has rung. Whoever sees that it has rung sees what was stored before.
    pub(super) fn rung(&self) -> u32 {
        // Acquire pairs with the release in `ring`.
        self.rung.load(Ordering::Acquire)
    }

    /// Sleeps until it has rung more often than `known` says, and says what the TSC was then: it is read first thing after each
    /// system call.
    pub(super) fn sleep(&self, known: u32) -> u64 {
        loop {
            sleeping::sleep(&self.rung, known, None);
            let woken = stamp();
            if self.rung() != known {
                return woken;
            }
        }
    }

    /// Wakes everybody who sleeps on it.
    ///
    /// # Errors
    /// [`Error::Futex`].
    #[inline]
    pub(super) fn ring(&self) -> Result<(), Error> {
        // Release pairs with the acquire in `rung`.
        self.rung.fetch_add(1, Ordering::Release);
        sleeping::wake(&self.rung).map_err(Error::Futex)
    }
}
