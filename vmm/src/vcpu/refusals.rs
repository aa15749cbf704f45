//! KVM_RUN that returns EAGAIN, time and again.
//!
//! Once, it is how a vCPU's wait for its start-up ends. Again and again without any other exit, KVM lacks what it needs to enter
//! the guest: a machine's first KVM_RUN starts a kernel thread, kvm-nx-lpage-recovery, which a limit of processes may forbid
//! (arch/x86/kvm/mmu/mmu.c, `kvm_mmu_post_init_vm`).

use crate::events::exit::{Exit, ExitKind};
use kipi_kvm_apic::{Error, Operation};
use std::time::Duration;

/// How often KVM_RUN has returned EAGAIN since it last returned anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals(u32);

/// What is done about an EAGAIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// The guest is entered again at once.
    Enter,
    /// The thread stays out for so long: what is lacking may be had then.
    StayOut(Duration),
    /// It is not going to be had.
    GiveUp(Exit),
}

impl Refusals {
    /// An exit of this kind has come.
    pub(super) fn note(&mut self, kind: ExitKind) {
        self.0 = if kind == ExitKind::Again { self.0.saturating_add(1) } else { 0 };
    }

    /// What is done about the last exit, if it was EAGAIN.
    pub(super) fn patience(self) -> Patience {
        /// EAGAINs in a row, more than an INIT and two SIPIs bring.
        const OF_STARTS: u32 = 8;
        /// With [`PAUSE`] between them, half a second.
        const MOST: u32 = 500;
        const PAUSE: Duration = Duration::from_millis(1);
        if self.0 <= OF_STARTS {
            Patience::Enter
        } else if self.0 < MOST {
            Patience::StayOut(PAUSE)
        } else {
            Patience::GiveUp(Exit::failed(Error { operation: Operation::Run, errno: libc::EAGAIN }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eagain_is_patiently_tried_again_and_then_named() {
        let mut refusals = Refusals::default();
        let mut stayed_out = Duration::ZERO;
        let given_up = loop {
            refusals.note(ExitKind::Again);
            match refusals.patience() {
                Patience::Enter => assert_eq!(stayed_out, Duration::ZERO, "at once only at first"),
                Patience::StayOut(time) => stayed_out += time,
                Patience::GiveUp(exit) => break exit.to_string(),
            }
        };
        assert!(given_up.contains("KVM_RUN") && given_up.contains("os error 11"), "{given_up}");
        assert!((Duration::from_millis(100)..Duration::from_secs(1)).contains(&stayed_out), "{stayed_out:?}");
    }

    #[test]
    fn any_other_exit_begins_anew() {
        let mut refusals = Refusals(400);
        assert!(matches!(refusals.patience(), Patience::StayOut(_)));
        refusals.note(ExitKind::Doorbell);
        assert_eq!((refusals, refusals.patience()), (Refusals::default(), Patience::Enter));
    }
}
