//! Which interrupt comes next: the processor's priority, and what the local APIC raises itself.

use super::state::LocalApic;
use crate::addressing::Mode;
use crate::icr::FIRST_LEGAL_VECTOR;
use crate::registers::{LVT_MASKED, errors};
use crate::requests::Requests;
use crate::timer::{Deadline, Now};

/// The highest interrupt in the IRR, by what it waits for besides IF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Highest {
    /// There is none, or it waits for the EOI of one in service.
    Nothing,
    /// The TPR alone holds it back.
    Held,
    /// Nothing: the processor would be given this vector.
    Pending(u8),
}

impl LocalApic {
    /// CR8: the TPR's class.
    pub fn cr8(&self) -> u64 {
        u64::from(self.tpr >> 4)
    }

    /// MOV to CR8: this is the TPR's class, and its subclass is zero (SDM Vol. 3A 12.8.6).
    pub(crate) fn set_cr8(&mut self, cr8: u64) {
        let [class, ..] = cr8.to_le_bytes();
        self.tpr = class << 4;
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
    pub(crate) fn pending(&self, requests: Requests<'_>) -> Option<u8> {
        match self.highest(requests) {
            Highest::Pending(vector) => Some(vector),
            Highest::Nothing | Highest::Held => None,
        }
    }

    /// What comes next (SDM Vol. 3A 12.8.3.1).
    pub(crate) fn highest(&self, requests: Requests<'_>) -> Highest {
        let highest = requests.irr.highest().filter(|_| self.was_enabled && self.mode() != Mode::Disabled);
        let in_service = self.in_service().unwrap_or(0) >> 4;
        match highest {
            Some(vector) if vector >> 4 <= in_service => Highest::Nothing,
            Some(vector) if vector >> 4 <= self.tpr >> 4 => Highest::Held,
            Some(vector) => Highest::Pending(vector),
            None => Highest::Nothing,
        }
    }

    /// The processor takes the interrupt on `vector`: it goes from the IRR to the ISR.
    pub(crate) fn acknowledge(&mut self, vector: u8, requests: Requests<'_>) {
        requests.irr.take(vector);
        self.isr[usize::from(vector) / 32] |= 1 << (vector % 32);
    }

    /// Notes an error, and raises the error interrupt for one that is new.
    pub(super) fn error(&mut self, bit: u32, requests: Requests<'_>) {
        let new = self.errors & bit == 0;
        self.errors |= bit;
        if new {
            let [.., entry] = self.lvt;
            self.raise(entry, requests);
        }
    }

    /// A local interrupt, by its LVT entry. From a local APIC that is switched off none comes.
    fn raise(&mut self, entry: u32, requests: Requests<'_>) {
        let [vector, ..] = entry.to_le_bytes();
        if entry & LVT_MASKED != 0 || self.mode() == Mode::Disabled {
            return;
        }
        if vector < FIRST_LEGAL_VECTOR {
            // The error interrupt's own vector may be the illegal one: then this is an error that is not new.
            self.error(errors::RECEIVE_ILLEGAL_VECTOR, requests);
        } else {
            requests.accept(vector);
        }
    }

    /// Raises the timer's interrupt, if it has expired. Every access does so first: it finds, and changes, a local APIC that
    /// is up to date.
    pub(crate) fn tick(&mut self, now: &dyn Fn() -> Now, requests: Requests<'_>) {
        if self.timer.next().is_some() && self.timer.expire(now()) {
            self.raise(self.lvt[0], requests);
        }
    }

    /// When the timer expires next.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timer.next()
    }
}
