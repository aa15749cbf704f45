//! Stamps that two threads send each other, to bound how far the TSCs of their CPUs are apart.

use super::clock::{poll_until, stamp, stamp_after_loads};
use super::shared::Line;
use crate::events::clock::Exchange;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What they pass each other.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// The number of the question.
    asked: Line<AtomicU32>,
    /// The last answer: the answering thread's TSC, which is never the same twice.
    answered: Line<AtomicU64>,
}

impl Letters {
    /// Asks so often, or until the TSC is at `limit`.
    pub(super) fn ask(&self, count: u32, limit: u64) -> Vec<Exchange> {
        let mut exchanges = Vec::with_capacity(count as usize);
        let mut last = 0;
        for number in 1..=count {
            let sent = stamp();
            // Release pairs with the load in `answer`: x86 lets no later store pass the stamp, which has retired by then.
            self.asked.store(number, Ordering::Release);
            // Acquire pairs with the store in `answer`.
            if !poll_until(limit, || self.answered.load(Ordering::Acquire) != last) {
                break;
            }
            let received = stamp_after_loads();
            last = self.answered.load(Ordering::Relaxed);
            exchanges.push(Exchange { sent, answered: last, received });
        }
        exchanges
    }

    /// Answers so often, or until the TSC is at `limit`.
    pub(super) fn answer(&self, count: u32, limit: u64) {
        for number in 1..=count {
            // Acquire pairs with the store in `ask`.
            if !poll_until(limit, || self.asked.load(Ordering::Acquire) == number) {
                break;
            }
            // Release pairs with the load in `ask`.
            self.answered.store(stamp_after_loads(), Ordering::Release);
        }
    }
}
