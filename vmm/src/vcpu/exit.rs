//! KVM_RUN, and what its return means in the words of this VMM.

use crate::events::clock::host_tsc;
use crate::events::exit::{Exit, Stay};
use guest_stub::abi;
use kvm_ioctls::{VcpuExit, VcpuFd};

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
}
