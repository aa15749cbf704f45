//! What follows the end of a stay in the guest: a function of values, without effect.
#![deny(clippy::wildcard_enum_match_arm)]

use super::stop::StopReason;
use crate::config::LocalApics;
use crate::events::exit::{Exit, ExitKind};
use guest_stub::msi::{self, To};
use kipi_kvm_apic::Request;
use std::time::Duration;

/// What a vCPU's thread does before it enters the guest again, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Enter,
    /// Lets another thread have the CPU.
    YieldCpu,
    /// Stays out of the guest for so long.
    StayOut(Duration),
    /// Raises a device's interrupt on its own vCPU.
    InterruptItself(u8),
    /// Sends the guest's interrupt message: a fixed interrupt on this vector.
    Send(u8, To),
    /// Sleeps until the word at this guest-physical address changes.
    Park(u64),
    /// Wakes those who sleep so for this word.
    Unpark(u64),
    /// Reads the CPU clocks, and KVM's counters of wake-ups from HLT.
    Mark,
    /// Tells the machine's owner why it has stopped, and waits for leave to go on.
    Stop(StopReason),
    End,
}

/// What follows `exit` on a vCPU of a machine of `vcpus`, when its thread is asked for `request`.
pub fn next(exit: Exit, request: Request, local_apics: LocalApics, vcpus: usize) -> Next {
    let unhandled = Next::Stop(StopReason::Unhandled(exit));
    match exit.kind {
        // `Out` has been served.
        ExitKind::Observe | ExitKind::Step | ExitKind::Out | ExitKind::NoEffect => Next::Enter,
        ExitKind::Yield => Next::YieldCpu,
        ExitKind::Park => Next::Park(exit.payload),
        ExitKind::Unpark => Next::Unpark(exit.payload),
        ExitKind::Mark => Next::Mark,
        ExitKind::Doorbell => Next::Stop(StopReason::Doorbell),
        ExitKind::Message => message(exit.payload, vcpus).map_or(unhandled, |(vector, to)| Next::Send(vector, to)),
        ExitKind::Interrupted | ExitKind::Again => match request {
            Request::Run => Next::Enter,
            Request::Pause => Next::Stop(StopReason::Paused),
            Request::End => Next::End,
        },
        // The user-space local APIC has served them before its next entry, or does so then.
        ExitKind::Halt
        | ExitKind::ApicRead
        | ExitKind::ApicWrite
        | ExitKind::Msr
        | ExitKind::InterruptWindow
        | ExitKind::Tpr => match local_apics {
            LocalApics::User => Next::Enter,
            LocalApics::Kernel => unhandled,
        },
        ExitKind::BugCheck
        | ExitKind::Port
        | ExitKind::Mmio
        | ExitKind::Shutdown
        | ExitKind::FailedEntry
        | ExitKind::InternalError
        | ExitKind::Failed
        | ExitKind::Other => unhandled,
    }
}

/// The message doorbell's word, if it names an interrupt and vCPUs that the machine has.
fn message(word: u64, vcpus: usize) -> Option<(u8, To)> {
    let message = msi::decode(u32::try_from(word).ok()?)?;
    match message.1 {
        To::All | To::AllButSender => Some(message),
        To::One(vcpu) => (usize::from(vcpu) < vcpus).then_some(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray;

    const VCPUS: usize = 3;

    fn of(exit: impl Into<Exit>, request: Request, local_apics: LocalApics) -> Next {
        next(exit.into(), request, local_apics, VCPUS)
    }

    /// A thread that is in user space anyway looks at the request when it is kicked out of its next entry.
    #[test]
    fn a_request_is_heeded_where_the_guest_was_interrupted_and_nowhere_else() {
        for &kind in ExitKind::VARIANTS {
            let [run, pause, end] =
                [Request::Run, Request::Pause, Request::End].map(|it| of(kind, it, LocalApics::User));
            if matches!(kind, ExitKind::Interrupted | ExitKind::Again) {
                assert_eq!([run, pause, end], [Next::Enter, Next::Stop(StopReason::Paused), Next::End]);
            } else {
                assert_eq!([pause, end], [run; 2], "{kind:?}");
            }
        }
    }

    #[test]
    fn exits_of_the_local_apic_are_handled_where_it_is_in_user_space() {
        for kind in [ExitKind::Halt, ExitKind::ApicRead, ExitKind::ApicWrite, ExitKind::Msr, ExitKind::Tpr] {
            assert_eq!(of(kind, Request::Run, LocalApics::User), Next::Enter);
            let stop = Next::Stop(StopReason::Unhandled(kind.into()));
            assert_eq!(of(kind, Request::Run, LocalApics::Kernel), stop);
        }
    }

    #[test]
    fn a_message_is_sent_if_it_names_vcpus_of_this_machine() {
        let message = |word: u32| of(Exit::with(ExitKind::Message, word.into()), Request::Run, LocalApics::Kernel);
        for to in [To::All, To::AllButSender, To::One(2)] {
            assert_eq!(message(msi::encode(0x51, to)), Next::Send(0x51, to));
        }
        for word in [msi::encode(0x51, To::One(3)), u32::MAX] {
            let exit = Exit::with(ExitKind::Message, word.into());
            assert_eq!(message(word), Next::Stop(StopReason::Unhandled(exit)));
        }
    }

    #[test]
    fn what_the_guest_may_not_do_stops_it() {
        for exit in [Exit::port(0x80, true), Exit::mmio(0xFFFF_0000, false), ExitKind::Shutdown.into()] {
            assert_eq!(of(exit, Request::Run, LocalApics::User), Next::Stop(StopReason::Unhandled(exit)));
        }
    }
}
