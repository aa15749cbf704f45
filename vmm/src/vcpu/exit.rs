//! Why KVM_RUN returned, in the words of this VMM.

use crate::events::clock::host_tsc;
use guest_stub::abi;
use kvm_ioctls::{VcpuExit, VcpuFd};

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

/// Runs the guest until it exits.
pub fn run(vcpu: &mut VcpuFd) -> Stay {
    run_with(vcpu, |_| None)
}

/// Runs the guest until it exits. `serve` comes first: it may answer an exit while KVM's data is at hand. `None`: the guest
/// was interrupted.
pub fn run_with(vcpu: &mut VcpuFd, serve: impl FnOnce(Option<&mut VcpuExit<'_>>) -> Option<Exit>) -> Stay {
    let entered = host_tsc();
    let outcome = vcpu.run();
    let returned = host_tsc();
    let exit = match outcome {
        Ok(mut exit) => serve(Some(&mut exit)).unwrap_or_else(|| convert(&exit)),
        Err(error) => serve(None).unwrap_or_else(|| match error.errno() {
            libc::EINTR => Exit::Interrupted,
            libc::EAGAIN => Exit::Again,
            errno => Exit::Failed(errno),
        }),
    };
    let exit = match exit {
        Exit::InternalError(_) => {
            // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, for which this is the union's member; any bits are
            // a number.
            Exit::InternalError(unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal.suberror })
        }
        exit => exit,
    };
    Stay { exit, entered, returned }
}

fn convert(exit: &VcpuExit<'_>) -> Exit {
    match exit {
        VcpuExit::IoOut(abi::PORT_DOORBELL, _) => Exit::Doorbell,
        VcpuExit::IoOut(abi::PORT_OBSERVE, data) => Exit::Observe(little_endian(data)),
        VcpuExit::IoOut(abi::PORT_BUG_CHECK, _) => Exit::BugCheck,
        VcpuExit::IoOut(abi::PORT_YIELD, _) => Exit::Yield,
        VcpuExit::IoOut(abi::PORT_STEP, data) => Exit::Step(little_endian(data)),
        VcpuExit::IoOut(abi::PORT_MSI, data) => Exit::Message(little_endian(data)),
        VcpuExit::IoOut(port, _) => Exit::Port { port: *port, write: true },
        VcpuExit::IoIn(port, _) => Exit::Port { port: *port, write: false },
        VcpuExit::MmioRead(address, _) => Exit::Mmio { address: *address, write: false },
        VcpuExit::MmioWrite(address, _) => Exit::Mmio { address: *address, write: true },
        VcpuExit::Hlt => Exit::Halt,
        VcpuExit::Shutdown => Exit::Shutdown,
        VcpuExit::FailEntry(reason, _) => Exit::FailedEntry(*reason),
        VcpuExit::InternalError => Exit::InternalError(0),
        VcpuExit::Intr => Exit::Interrupted,
        VcpuExit::Unsupported(reason) => Exit::Other(*reason),
        VcpuExit::Unknown => Exit::Other(kvm_bindings::KVM_EXIT_UNKNOWN),
        VcpuExit::Exception => Exit::Other(kvm_bindings::KVM_EXIT_EXCEPTION),
        VcpuExit::Hypercall(_) => Exit::Other(kvm_bindings::KVM_EXIT_HYPERCALL),
        VcpuExit::Debug(_) => Exit::Other(kvm_bindings::KVM_EXIT_DEBUG),
        VcpuExit::IrqWindowOpen => Exit::InterruptWindow,
        VcpuExit::SetTpr => Exit::Tpr,
        VcpuExit::SystemEvent(..) => Exit::Other(kvm_bindings::KVM_EXIT_SYSTEM_EVENT),
        VcpuExit::IoapicEoi(_) => Exit::Other(kvm_bindings::KVM_EXIT_IOAPIC_EOI),
        VcpuExit::X86Rdmsr(_) => Exit::Other(kvm_bindings::KVM_EXIT_X86_RDMSR),
        VcpuExit::X86Wrmsr(_) => Exit::Other(kvm_bindings::KVM_EXIT_X86_WRMSR),
        // What x86 has no use for.
        _ => Exit::Other(u32::MAX),
    }
}

/// A port write's value; a guest may write one, two or four bytes, or many at once.
pub(super) fn little_endian(data: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    for (byte, &value) in bytes.iter_mut().zip(data) {
        *byte = value;
    }
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_abis_ports_have_their_meaning_and_others_do_not() {
        assert_eq!(convert(&VcpuExit::IoOut(abi::PORT_OBSERVE, &[4, 3, 2, 1])), Exit::Observe(0x0102_0304));
        assert_eq!(convert(&VcpuExit::IoOut(abi::PORT_DOORBELL, &[])), Exit::Doorbell);
        assert_eq!(convert(&VcpuExit::IoOut(0x80, &[1])), Exit::Port { port: 0x80, write: true });
    }

    #[test]
    fn a_write_of_any_width_has_a_value() {
        assert_eq!(little_endian(&[]), 0);
        assert_eq!(little_endian(&[7]), 7);
        assert_eq!(little_endian(&[1, 2, 3, 4, 5, 6]), 0x0403_0201);
    }

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
