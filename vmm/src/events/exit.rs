//! Why a stay in the guest ended, in the words of this VMM.

use kipi_kvm_apic::{Error, Operation};
use strum::{EnumCount, IntoStaticStr, VariantArray};

/// The kind of an [`Exit`]. Their order is that of every list in output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
#[repr(u8)]
pub enum ExitKind {
    /// vCPU 0 has finished its command.
    Doorbell,
    /// A worker begins, in the call with this generation.
    Observe,
    /// The guest found a broken rule, which the command page describes.
    BugCheck,
    /// KVM_RUN returned EINTR, or was not called, since this thread was kicked.
    Interrupted,
    /// KVM_RUN returned EAGAIN, as it does for a vCPU that waits for its SIPI.
    Again,
    /// An access to a port that is not in the ABI.
    Port,
    /// An access to a guest-physical address without memory or device.
    Mmio,
    /// HLT. KVM handles it itself where it has the local APIC.
    Halt,
    /// A triple fault, or another condition that shuts a processor down.
    Shutdown,
    /// The processor refused to enter the guest, for this reason of the hardware's.
    FailedEntry,
    /// KVM cannot go on, for this reason (`kvm_run.internal.suberror`).
    InternalError,
    /// An ioctl failed.
    Failed,
    /// Any other exit reason (KVM_EXIT_*).
    Other,
    /// The guest waits for another vCPU, which may need this CPU.
    Yield,
    /// A stepped call has taken this step ([`guest_stub::abi::CallStep`]).
    Step,
    /// A read of this register of the user-space local APIC, by its offset.
    ApicRead,
    /// A write of this register of the user-space local APIC, by its offset.
    ApicWrite,
    /// An access to this MSR: of the local APIC's or the TSC's, or one that nobody has, for which the guest gets #GP.
    Msr,
    /// The guest can take the interrupt that waits for it.
    InterruptWindow,
    /// The guest has lowered CR8.
    Tpr,
    /// The guest asks for this interrupt message ([`guest_stub::msi::decode`]).
    Message,
    /// The rounds of a block that count begin, or have ended.
    Mark,
    /// State `out`: the guest asks to be kept out for so many TSC cycles.
    Out,
    /// An access to the port or the address that has no effect.
    NoEffect,
    /// A vCPU waits until somebody changes the word at this guest-physical address.
    Park,
    /// Somebody has changed the word at this guest-physical address.
    Unpark,
}

impl ExitKind {
    /// The name in output.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The kind that `self as u8` was made from.
    pub(super) fn from_stored(stored: u8) -> Self {
        Self::VARIANTS[usize::from(stored)]
    }
}

/// Why a stay in the guest ended. Plain data: nothing borrows the vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Of which kind.
    pub kind: ExitKind,
    /// What the exit brought along, by kind; zero where the kind says all.
    pub payload: u64,
}

impl From<ExitKind> for Exit {
    fn from(kind: ExitKind) -> Self {
        Self { kind, payload: 0 }
    }
}

impl Exit {
    /// In the payload of a port's or an address's access: a write. Guest-physical addresses have at most 52 bits.
    const WRITE: u64 = 1 << 63;

    /// An exit of `kind` that brought `payload` along: a generation, a step, a message, a register, an MSR, a reason.
    pub const fn with(kind: ExitKind, payload: u64) -> Self {
        Self { kind, payload }
    }

    /// An access to a port that is not in the ABI.
    pub const fn port(port: u16, is_write: bool) -> Self {
        Self::access(ExitKind::Port, port as u64, is_write)
    }

    /// An access to a guest-physical address without memory or device.
    pub const fn mmio(address: u64, is_write: bool) -> Self {
        Self::access(ExitKind::Mmio, address, is_write)
    }

    const fn access(kind: ExitKind, place: u64, is_write: bool) -> Self {
        Self { kind, payload: place | if is_write { Self::WRITE } else { 0 } }
    }

    /// What failed.
    pub const fn failed(error: Error) -> Self {
        let payload = (error.operation as u64) << 32 | error.errno.cast_unsigned() as u64;
        Self { kind: ExitKind::Failed, payload }
    }

    /// The error number of what failed; `None`: nothing did.
    pub fn errno(self) -> Option<i32> {
        self.failure().map(|failure| failure.errno)
    }

    /// What failed; `None`: nothing did ([`Exit::failed`] has not made it).
    fn failure(self) -> Option<Error> {
        if self.kind != ExitKind::Failed {
            return None;
        }
        let [e0, e1, e2, e3, operation, ..] = self.payload.to_le_bytes();
        let operation = *Operation::ALL.get(usize::from(operation))?;
        Some(Error { operation, errno: i32::from_le_bytes([e0, e1, e2, e3]) })
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const KVM_INTERNAL_ERROR_EMULATION: u64 = 1;
        let payload = self.payload;
        let access = if payload & Self::WRITE == 0 { "reads from" } else { "writes to" };
        let place = payload & !Self::WRITE;
        match self.kind {
            ExitKind::Port => write!(f, "{access} port {place:#x}, where nothing is"),
            ExitKind::Mmio => write!(f, "{access} address {place:#x}, where nothing is"),
            ExitKind::Park | ExitKind::Unpark => write!(f, "waits for a word at {payload:#x}, where none is"),
            ExitKind::Message => write!(f, "asks for {payload:#x}, which is no interrupt message"),
            ExitKind::Halt => write!(f, "HLT left the kernel, where the local APIC should be (KVM_EXIT_HLT)"),
            ExitKind::Shutdown => write!(f, "triple fault (KVM_EXIT_SHUTDOWN)"),
            ExitKind::FailedEntry => write!(f, "the processor refused to enter the guest, reason {payload:#x}"),
            ExitKind::InternalError if payload == KVM_INTERNAL_ERROR_EMULATION => {
                write!(f, "KVM cannot emulate an instruction (KVM_INTERNAL_ERROR_EMULATION)")
            }
            ExitKind::InternalError => write!(f, "KVM internal error {payload}"),
            ExitKind::Failed => match self.failure() {
                Some(error) => error.fmt(f),
                None => f.write_str("an ioctl failed"),
            },
            ExitKind::Other => write!(f, "KVM exit reason {payload}"),
            ExitKind::Doorbell
            | ExitKind::Observe
            | ExitKind::BugCheck
            | ExitKind::Interrupted
            | ExitKind::Again
            | ExitKind::Yield
            | ExitKind::Step
            | ExitKind::ApicRead
            | ExitKind::ApicWrite
            | ExitKind::Msr
            | ExitKind::InterruptWindow
            | ExitKind::Tpr
            | ExitKind::Mark
            | ExitKind::Out
            | ExitKind::NoEffect => f.write_str(self.kind.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents and tables carry these names, in this order.
    #[test]
    fn the_names_in_output_are_these() {
        let names: Vec<_> = ExitKind::VARIANTS.iter().map(|kind| kind.name()).collect();
        let expected = "doorbell observe bug-check interrupted again port mmio halt shutdown failed-entry internal-error \
                        failed other yield step apic-read apic-write msr interrupt-window tpr message mark out no-effect park unpark";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn a_stored_kind_comes_back() {
        for &kind in ExitKind::VARIANTS {
            assert_eq!(ExitKind::from_stored(kind as u8), kind);
        }
    }

    #[test]
    fn an_access_says_where_and_which_way() {
        let says = |exit: Exit| exit.to_string();
        assert_eq!(says(Exit::port(0x80, true)), "writes to port 0x80, where nothing is");
        assert_eq!(says(Exit::mmio(0xF_FFFF_FFFF_FFFF, false)), "reads from address 0xfffffffffffff, where nothing is");
    }

    #[test]
    fn a_failure_names_the_operation_and_the_errno() {
        let says = |operation, errno| Exit::failed(Error { operation, errno }).to_string();
        assert_eq!(says(Operation::Run, libc::EFAULT), "KVM_RUN failed: Bad address (os error 14)");
        assert_eq!(
            says(Operation::SetVcpuEvents, libc::EINVAL),
            "KVM_SET_VCPU_EVENTS failed: Invalid argument (os error 22)"
        );
    }
}
