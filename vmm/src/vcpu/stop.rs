//! A vCPU's thread has left the guest: why, and where its vCPU is.

use super::state::VcpuState;
use crate::events::exit::Exit;

/// Why a vCPU's thread has stopped running the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The guest rang the doorbell.
    Doorbell,
    /// The thread was asked to pause ([`kipi_kvm_apic::Request::Pause`]).
    Paused,
    /// The guest cannot go on after this exit.
    Unhandled(Exit),
    /// KVM does not take the guest's interrupt message (KVM_SIGNAL_MSI).
    NotSent {
        /// The system's error number.
        errno: i32,
    },
    /// The thread cannot be pinned to this CPU (sched_setaffinity), and has not entered the guest.
    NotPinned {
        /// The CPU.
        cpu: usize,
        /// The system's error number.
        errno: i32,
    },
}

/// A vCPU's thread has stopped: it waits for a [`Resume`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The vCPU's index.
    pub vcpu: usize,
    /// Why.
    pub reason: StopReason,
    /// Where it is, if KVM says; not read at a doorbell.
    pub state: Option<VcpuState>,
}

/// Back into the guest. A closed channel means: end.
#[derive(Debug, Clone, Copy)]
pub struct Resume;
