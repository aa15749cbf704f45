//! Which interrupt comes next: the processor's priority, and what the local APIC raises itself.

use super::state::LocalApic;
use crate::addressing::Mode;
use crate::icr::FIRST_LEGAL_VECTOR;
use crate::registers::{LVT_MASKED, errors};
use crate::timer::{Deadline, Now};
use crate::vectors::Vectors;

impl LocalApic {
    /// CR8: the TPR's class.
    pub fn cr8(&self) -> u64 {
        u64::from(self.tpr >> 4)
    }

    /// CR8 was written: the TPR's class is this, its subclass zero (SDM Vol. 3A 12.8.6). A CR8 that says what the TPR says
    /// changes nothing.
    pub fn set_cr8(&mut self, cr8: u64) {
        if cr8 != self.cr8() {
            let [class, ..] = cr8.to_le_bytes();
            self.tpr = class << 4;
        }
    }

    /// The highest vector in service.
    pub(super) fn in_service(&self) -> Option<u8> {
        (0..8_u8).zip(self.isr).rev().find_map(|(word, bits)| {
            let [highest, ..] = bits.checked_ilog2()?.to_le_bytes();
            Some(word * 32 + highest)
        })
    }

    /// The processor priority register (SDM Vol. 3A 12.8.3.1).
    pub fn ppr(&self) -> u8 {
        let in_service = self.in_service().unwrap_or(0);
        if self.tpr >> 4 >= in_service >> 4 { self.tpr } else { in_service & 0xF0 }
    }

    /// The interrupt that the processor would be given now: the highest in the IRR, if it is above the processor's
    /// priority.
    pub fn pending(&self, irr: &Vectors) -> Option<u8> {
        irr.highest().filter(|vector| vector >> 4 > self.ppr() >> 4 && self.mode() != Mode::Disabled)
    }

    /// Whether it is the TPR alone that holds an interrupt back.
    pub fn held_by_tpr(&self, irr: &Vectors) -> bool {
        let in_service = self.in_service().unwrap_or(0) >> 4;
        irr.highest().is_some_and(|vector| vector >> 4 > in_service && vector >> 4 <= self.tpr >> 4)
    }

    /// The processor takes the pending interrupt: it goes from the IRR to the ISR.
    pub fn acknowledge(&mut self, irr: &Vectors) -> Option<u8> {
        let vector = self.pending(irr)?;
        irr.take(vector);
        self.isr[usize::from(vector) / 32] |= 1 << (vector % 32);
        Some(vector)
    }

    /// Notes an error, and raises the error interrupt for one that is new.
    pub(super) fn error(&mut self, bit: u32, irr: &Vectors) {
        let new = self.errors & bit == 0;
        self.errors |= bit;
        if new {
            let [.., entry] = self.lvt;
            self.raise(entry, irr);
        }
    }

    /// A local interrupt, by its LVT entry.
    fn raise(&mut self, entry: u32, irr: &Vectors) {
        let [vector, ..] = entry.to_le_bytes();
        if entry & LVT_MASKED != 0 {
            return;
        }
        if vector < FIRST_LEGAL_VECTOR {
            // The error interrupt's own vector may be the illegal one: then this is an error that is not new.
            self.error(errors::RECEIVE_ILLEGAL_VECTOR, irr);
        } else {
            irr.set(vector);
        }
    }

    /// Raises the timer's interrupt, if it has expired. Every access does so first: it finds, and changes, a local APIC that
    /// is up to date.
    pub fn tick(&mut self, now: &dyn Fn() -> Now, irr: &Vectors) {
        if self.timer.next().is_some() && self.timer.expire(now()) {
            self.raise(self.lvt[0], irr);
        }
    }

    /// When [`LocalApic::tick`] has to be called next.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timer.next()
    }
}
