//! Why KVM_RUN returned, in the words of this VMM, and one stay in the guest.

use super::clock::host_tsc;

/// Why KVM_RUN returned. Plain data: nothing borrows the vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// vCPU 0 has nothing to do.
    Doorbell,
    /// A worker begins, in the call with this generation.
    Observe(u32),
    /// The guest waits for another vCPU, which may need this CPU.
    Yield,
    /// A step of a stepped call: an [`abi::CallStep`], if the guest is no liar.
    Step(u32),
    /// The guest asks for an interrupt message: [`guest_stub::msi::decode`] knows which.
    Message(u32),
    /// A broken rule: the command page says which.
    BugCheck,
    /// A signal, or `immediate_exit`.
    Interrupted,
    /// KVM wants to be called again (a processor that waits for its SIPI does).
    Again,
    /// A port that is not in the ABI.
    Port {
        /// The port.
        port: u16,
        /// Output, not input.
        write: bool,
    },
    /// An address where there is nothing.
    Mmio {
        /// Guest-physical address.
        address: u64,
        /// A write, not a read.
        write: bool,
    },
    /// HLT, where the local APIC is in user space: an in-kernel one handles it.
    Halt,
    /// A read of this register of the user-space local APIC, by its offset.
    ApicRead(u32),
    /// A write to it.
    ApicWrite(u32),
    /// An MSR that is neither KVM's nor the local APIC's: the guest gets #GP.
    Msr(u32),
    /// The guest can take an interrupt that waits for it.
    InterruptWindow,
    /// The guest has lowered CR8.
    Tpr,
    /// A triple fault, or something else that shuts a processor down.
    Shutdown,
    /// The processor refused to enter the guest (hardware's reason).
    FailedEntry(u64),
    /// KVM cannot go on (`kvm_run.internal.suberror`; 1 is an instruction that its emulator does not know).
    InternalError(u32),
    /// The ioctl failed with this errno.
    Failed(i32),
    /// Another exit reason (KVM_EXIT_*).
    Other(u32),
}

impl Exit {
    /// Every reason that is counted, by [`Exit::reason`]'s index.
    pub const REASONS: [&str; 21] = [
        "doorbell",
        "observe",
        "bug-check",
        "interrupted",
        "again",
        "port",
        "mmio",
        "halt",
        "shutdown",
        "failed-entry",
        "internal-error",
        "failed",
        "other",
        "yield",
        "step",
        "apic-read",
        "apic-write",
        "msr",
        "interrupt-window",
        "tpr",
        "message",
    ];

    /// Index into [`Exit::REASONS`].
    pub const fn reason(self) -> usize {
        match self {
            Self::Doorbell => 0,
            Self::Observe(_) => 1,
            Self::BugCheck => 2,
            Self::Interrupted => 3,
            Self::Again => 4,
            Self::Port { .. } => 5,
            Self::Mmio { .. } => 6,
            Self::Halt => 7,
            Self::Shutdown => 8,
            Self::FailedEntry(_) => 9,
            Self::InternalError(_) => 10,
            Self::Failed(_) => 11,
            Self::Other(_) => 12,
            Self::Yield => 13,
            Self::Step(_) => 14,
            Self::ApicRead(_) => 15,
            Self::ApicWrite(_) => 16,
            Self::Msr(_) => 17,
            Self::InterruptWindow => 18,
            Self::Tpr => 19,
            Self::Message(_) => 20,
        }
    }

    /// What the exit brought along: an observed call's generation, a step, a message, a register or an MSR.
    pub const fn payload(self) -> u32 {
        match self {
            Self::Observe(value)
            | Self::Step(value)
            | Self::Message(value)
            | Self::ApicRead(value)
            | Self::ApicWrite(value)
            | Self::Msr(value) => value,
            _ => 0,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = |write: bool| if write { "writes to" } else { "reads from" };
        match *self {
            Self::Port { port, write } => write!(f, "{} port {port:#x}, where nothing is", direction(write)),
            Self::Mmio { address, write } => write!(f, "{} address {address:#x}, where nothing is", direction(write)),
            Self::Message(word) => write!(f, "asks for {word:#x}, which is no interrupt message"),
            Self::Halt => write!(f, "HLT left the kernel, where the local APIC should be (KVM_EXIT_HLT)"),
            Self::Shutdown => write!(f, "triple fault (KVM_EXIT_SHUTDOWN)"),
            Self::FailedEntry(reason) => write!(f, "the processor refused to enter the guest, reason {reason:#x}"),
            Self::InternalError(1) => write!(f, "KVM cannot emulate an instruction (KVM_INTERNAL_ERROR_EMULATION)"),
            Self::InternalError(suberror) => write!(f, "KVM internal error {suberror}"),
            Self::Failed(errno) => write!(f, "KVM_RUN failed: {}", std::io::Error::from_raw_os_error(errno)),
            Self::Other(reason) => write!(f, "KVM exit reason {reason}"),
            _ => f.write_str(Self::REASONS[self.reason()]),
        }
    }
}

/// One stay in the guest, and how it ended. Times are the host's TSC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Why KVM_RUN returned, or was not called.
    pub exit: Exit,
    /// Right before KVM_RUN; zero if it was not called.
    pub entered: u64,
    /// Right after it.
    pub returned: u64,
}

impl Stay {
    /// The thread was to leave before it called KVM_RUN.
    pub fn none(exit: Exit) -> Self {
        Self { exit, entered: 0, returned: host_tsc() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        let exits = [
            Exit::Doorbell,
            Exit::Observe(1),
            Exit::BugCheck,
            Exit::Interrupted,
            Exit::Again,
            Exit::Port { port: 1, write: true },
            Exit::Mmio { address: 1, write: false },
            Exit::Halt,
            Exit::Shutdown,
            Exit::FailedEntry(1),
            Exit::InternalError(1),
            Exit::Failed(1),
            Exit::Other(1),
            Exit::Yield,
            Exit::Step(1),
            Exit::ApicRead(1),
            Exit::ApicWrite(1),
            Exit::Msr(1),
            Exit::InterruptWindow,
            Exit::Tpr,
            Exit::Message(1),
        ];
        for (index, exit) in exits.iter().enumerate() {
            assert_eq!(exit.reason(), index);
        }
        assert_eq!(exits.len(), Exit::REASONS.len());
    }
}
