//! KVM_RUN, and the one place where its return becomes an [`Exit`].

use crate::events::clock::host_tsc;
use crate::events::exit::{Exit, ExitKind, Ioctl};
use crate::events::stays::Stay;
use guest_stub::abi;
use kvm_ioctls::{VcpuExit, VcpuFd};

/// Runs the guest until it exits.
pub(super) fn run(vcpu: &mut VcpuFd) -> Stay {
    run_with(vcpu, |_| None)
}

/// Runs the guest until it exits. `serve` may answer the exit while KVM's data is borrowed from the vCPU, and says then which
/// exit it was; it gets `None` where KVM_RUN returned an error.
pub(super) fn run_with(vcpu: &mut VcpuFd, serve: impl FnOnce(Option<&mut VcpuExit<'_>>) -> Option<Exit>) -> Stay {
    let entered = host_tsc();
    let outcome = vcpu.run();
    let returned = host_tsc();
    let exit = match outcome {
        Ok(mut exit) => serve(Some(&mut exit)).unwrap_or_else(|| convert(&exit)),
        Err(error) => serve(None).unwrap_or_else(|| match error.errno() {
            libc::EINTR => ExitKind::Interrupted.into(),
            libc::EAGAIN => ExitKind::Again.into(),
            errno => Exit::failed(Ioctl::Run, errno),
        }),
    };
    let exit = if exit.kind == ExitKind::InternalError { internal_error(vcpu) } else { exit };
    Stay { exit, entered, returned, served: host_tsc() }
}

/// This thread is not to enter the guest, as `exit` says.
pub(super) fn without_entry(exit: Exit) -> Stay {
    let now = host_tsc();
    Stay { exit, entered: 0, returned: now, served: now }
}

/// kvm-ioctls leaves the suberror out of its exit.
fn internal_error(vcpu: &mut VcpuFd) -> Exit {
    // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, for which this is the union's member; any bits are a number.
    let suberror = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal.suberror };
    Exit::with(ExitKind::InternalError, suberror.into())
}

fn convert(exit: &VcpuExit<'_>) -> Exit {
    let with = |kind, data: &[u8]| Exit::with(kind, little_endian(data).into());
    let other = |reason: u32| Exit::with(ExitKind::Other, reason.into());
    match exit {
        VcpuExit::IoOut(abi::PORT_DOORBELL, _) => ExitKind::Doorbell.into(),
        VcpuExit::IoOut(abi::PORT_OBSERVE, data) => with(ExitKind::Observe, data),
        VcpuExit::IoOut(abi::PORT_BUG_CHECK, _) => ExitKind::BugCheck.into(),
        VcpuExit::IoOut(abi::PORT_YIELD, _) => ExitKind::Yield.into(),
        VcpuExit::IoOut(abi::PORT_STEP, data) => with(ExitKind::Step, data),
        VcpuExit::IoOut(abi::PORT_MSI, data) => with(ExitKind::Message, data),
        VcpuExit::IoOut(port, _) => Exit::port(*port, true),
        VcpuExit::IoIn(port, _) => Exit::port(*port, false),
        VcpuExit::MmioRead(address, _) => Exit::mmio(*address, false),
        VcpuExit::MmioWrite(address, _) => Exit::mmio(*address, true),
        VcpuExit::Hlt => ExitKind::Halt.into(),
        VcpuExit::Shutdown => ExitKind::Shutdown.into(),
        VcpuExit::FailEntry(reason, _) => Exit::with(ExitKind::FailedEntry, *reason),
        VcpuExit::InternalError => ExitKind::InternalError.into(),
        VcpuExit::Intr => ExitKind::Interrupted.into(),
        VcpuExit::IrqWindowOpen => ExitKind::InterruptWindow.into(),
        VcpuExit::SetTpr => ExitKind::Tpr.into(),
        VcpuExit::Unsupported(reason) => other(*reason),
        VcpuExit::Unknown => other(kvm_bindings::KVM_EXIT_UNKNOWN),
        VcpuExit::Exception => other(kvm_bindings::KVM_EXIT_EXCEPTION),
        VcpuExit::Hypercall(_) => other(kvm_bindings::KVM_EXIT_HYPERCALL),
        VcpuExit::Debug(_) => other(kvm_bindings::KVM_EXIT_DEBUG),
        VcpuExit::SystemEvent(..) => other(kvm_bindings::KVM_EXIT_SYSTEM_EVENT),
        VcpuExit::IoapicEoi(_) => other(kvm_bindings::KVM_EXIT_IOAPIC_EOI),
        VcpuExit::X86Rdmsr(_) => other(kvm_bindings::KVM_EXIT_X86_RDMSR),
        VcpuExit::X86Wrmsr(_) => other(kvm_bindings::KVM_EXIT_X86_WRMSR),
        // kvm-ioctls' enumeration has other architectures' exits too.
        _ => other(u32::MAX),
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
        assert_eq!(
            convert(&VcpuExit::IoOut(abi::PORT_OBSERVE, &[4, 3, 2, 1])),
            Exit::with(ExitKind::Observe, 0x0102_0304)
        );
        assert_eq!(convert(&VcpuExit::IoOut(abi::PORT_DOORBELL, &[])), ExitKind::Doorbell.into());
        assert_eq!(convert(&VcpuExit::IoOut(0x80, &[1])), Exit::port(0x80, true));
    }

    #[test]
    fn a_write_of_any_width_has_a_value() {
        assert_eq!(little_endian(&[]), 0);
        assert_eq!(little_endian(&[7]), 7);
        assert_eq!(little_endian(&[1, 2, 3, 4, 5, 6]), 0x0403_0201);
    }
}
