//! The wait between the readiness of the host's targets and its send.

use super::session::Session;
use crate::events::clock::host_tsc;
use vm_memory::GuestMemoryError;

/// The first calls tell how long it takes from the end of a wait to the send. The waits of later ones are shorter by that.
const MEASURED: usize = 3;

/// What the host has to know to send in time. All of it is in TSC cycles, times are on the common clock.
pub(super) struct HostSettle {
    /// From the targets' readiness to the send; where they are halted, from their HLT.
    asked: u64,
    /// All targets are halted when they are ready.
    is_halt: bool,
    /// The shortest time so far from the end of a wait to the send.
    preparation: u64,
    /// When the last wait ended.
    waited: u64,
}

impl HostSettle {
    pub(super) fn new(session: &Session<'_>, asked: u64, is_halt: bool) -> Self {
        Self { asked, is_halt, preparation: u64::MAX, waited: now(session) }
    }

    /// Waits before call number `made`, for which every vCPU is ready. The last call was sent at `sent`, if there was one.
    pub(super) fn wait(
        &mut self,
        session: &Session<'_>,
        made: usize,
        sent: Option<u64>,
    ) -> Result<(), GuestMemoryError> {
        let since = if self.is_halt { self.halted_since(session)? } else { now(session) };
        let mut asked = self.asked;
        if let Some(sent) = sent.filter(|_| self.is_halt) {
            if made <= MEASURED {
                self.preparation = self.preparation.min(sent.saturating_sub(self.waited));
            }
            asked = asked.saturating_sub(self.preparation);
        }
        let until = since.saturating_add(asked);
        while now(session) < until {
            std::hint::spin_loop();
        }
        self.waited = now(session);
        Ok(())
    }

    /// When the last vCPU executed the HLT that it is ready in, by its own stamp. One from before the last send, or from the
    /// future, is an offset's error: then it is now that counts.
    fn halted_since(&self, session: &Session<'_>) -> Result<u64, GuestMemoryError> {
        let now = now(session);
        let mut last = 0;
        for vcpu in 0..session.vcpus() {
            last = last.max(session.vm().tsc().clock.of_vcpu(vcpu, session.halted(vcpu)?));
        }
        Ok(if (self.waited..=now).contains(&last) { last } else { now })
    }
}

fn now(session: &Session<'_>) -> u64 {
    session.vm().tsc().clock.of_host(host_tsc())
}
