//! Those registers of a local APIC that its senders write, too.

use crate::ipi::Trigger;
use crate::vectors::Vectors;

/// What waits at a local APIC, and how it was triggered (SDM Vol. 3A 12.8.4).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requests<'a> {
    pub(crate) irr: &'a Vectors,
    pub(crate) tmr: &'a Vectors,
}

impl Requests<'_> {
    /// Accepts an edge-triggered interrupt of the local APIC's own.
    pub(crate) fn accept(self, vector: u8) {
        self.set_trigger(vector, Trigger::Edge);
        self.irr.set(vector);
    }

    /// Notes how the interrupt is triggered that comes next on this vector.
    pub(crate) fn set_trigger(self, vector: u8, trigger: Trigger) {
        match trigger {
            Trigger::Level => _ = self.tmr.set(vector),
            // Only where there is something to clear: most often no line is written here.
            Trigger::Edge if self.tmr.contains(vector) => _ = self.tmr.take(vector),
            Trigger::Edge => {}
        }
    }
}
