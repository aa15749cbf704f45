//! The wait between the readiness of the host's targets and its send.

use super::session::Session;
use crate::events::clock::host_tsc;
use guest_stub::abi::TargetState;
use guest_stub::patience::Patience;
use vm_memory::GuestMemoryError;

/// The first calls tell how long it takes from the end of a wait to the send. The waits of later ones are shorter by that.
const MEASURED: usize = 3;

/// What the host has to know to send in time. All of it is in TSC cycles, times are on the common clock.
pub(super) struct HostSettle {
    /// From the targets' readiness to the send; where they are halted, from their HLT.
    asked: u64,
    state: TargetState,
    /// How long a wait for targets that are away may take, at most.
    patience: Patience,
    /// The shortest time so far from the end of a wait to the send.
    preparation: u64,
    /// When the last wait ended.
    waited: u64,
}

impl HostSettle {
    pub(super) fn new(session: &Session<'_>, asked: u64, state: TargetState) -> Self {
        let patience = Patience::new(session.cycles(session.limits().deadline));
        Self { asked, state, patience, preparation: u64::MAX, waited: now(session) }
    }

    /// Waits before call number `made`, for which every vCPU is ready. The last call was sent at `sent`, if there was one.
    pub(super) fn wait(
        &mut self,
        session: &Session<'_>,
        made: usize,
        sent: Option<u64>,
    ) -> Result<(), GuestMemoryError> {
        if self.state.is_away() {
            return self.wait_until_away(session);
        }
        let is_halt = self.state == TargetState::Halt;
        let since = if is_halt { self.halted_since(session)? } else { now(session) };
        let mut asked = self.asked;
        if let Some(sent) = sent.filter(|_| is_halt) {
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

    /// Waits until each vCPU has been away for the time, in an absence that began after the last send; or in vain: the call is
    /// made all the same, and does not count.
    fn wait_until_away(&mut self, session: &Session<'_>) -> Result<(), GuestMemoryError> {
        let start = now(session);
        loop {
            let now = now(session);
            let mut are_away = true;
            for vcpu in 0..session.vcpus() {
                let (since, until) = session.away(vcpu)?;
                are_away &= since > self.waited && now >= since.saturating_add(self.asked) && now <= until;
            }
            if are_away || self.patience.is_over(now.saturating_sub(start)) {
                self.waited = now;
                self.patience.learn(are_away);
                return Ok(());
            }
            std::hint::spin_loop();
        }
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
