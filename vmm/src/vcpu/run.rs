//! KVM_RUN, and the one place where its return becomes an [`Exit`].

use crate::config::LocalApics;
use crate::events::clock::host_tsc;
use crate::events::exit::{Exit, ExitKind};
use crate::events::stays::Stay;
use guest_stub::abi;
use kipi_kvm_apic::{Error, Operation, Served, Step};
use kvm_ioctls::{VcpuExit, VcpuFd};

/// A vCPU, by where its local APIC is.
#[derive(Debug)]
pub enum Vcpu {
    /// In the kernel.
    Kernel(VcpuFd),
    /// In user space.
    User(Box<kipi_kvm_apic::Vcpu>),
}

impl Vcpu {
    /// KVM's vCPU.
    pub fn fd(&self) -> &VcpuFd {
        match self {
            Self::Kernel(fd) => fd,
            Self::User(vcpu) => vcpu.fd(),
        }
    }

    /// Where its local APIC is.
    pub(super) fn local_apics(&self) -> LocalApics {
        match self {
            Self::Kernel(_) => LocalApics::Kernel,
            Self::User(_) => LocalApics::User,
        }
    }

    /// Runs the guest until it exits, or until the thread is asked for something.
    pub(super) fn run(&mut self) -> Stay {
        match self {
            Self::Kernel(fd) => run_in_kernel(fd),
            Self::User(vcpu) => run_in_user(vcpu),
        }
    }
}

fn run_in_kernel(vcpu: &mut VcpuFd) -> Stay {
    let entered = host_tsc();
    let outcome = vcpu.run();
    let returned = host_tsc();
    let exit = match outcome {
        Ok(exit) => exit_of(exit),
        Err(error) => match error.errno() {
            libc::EINTR => ExitKind::Interrupted.into(),
            libc::EAGAIN => ExitKind::Again.into(),
            errno => Exit::failed(Error { operation: Operation::Run, errno }),
        },
    };
    Stay { exit: with_suberror(exit, vcpu), entered, returned, served: host_tsc() }
}

/// As above; what the local APIC has served is an exit, too. `entered` is zero if the guest was not entered.
fn run_in_user(vcpu: &mut kipi_kvm_apic::Vcpu) -> Stay {
    let (mut entered, mut returned) = (0, 0);
    let step = vcpu.step(
        |vcpu| {
            entered = host_tsc();
            let outcome = vcpu.run();
            returned = host_tsc();
            outcome
        },
        exit_of,
    );
    let exit = match step {
        Ok(Step::Exit(exit)) => exit,
        Ok(Step::Served(served)) => of_local_apic(served),
        Ok(Step::Interrupted | Step::Asked(_)) => ExitKind::Interrupted.into(),
        Ok(Step::Again) => ExitKind::Again.into(),
        Err(error) => Exit::failed(error),
    };
    let exit = with_suberror(exit, vcpu.fd_mut());
    let served = host_tsc();
    Stay { exit, entered, returned: if entered == 0 { served } else { returned }, served }
}

fn of_local_apic(served: Served) -> Exit {
    match served {
        Served::Read(offset) => Exit::with(ExitKind::ApicRead, offset.into()),
        Served::Write(offset, _) => Exit::with(ExitKind::ApicWrite, offset.into()),
        Served::Msr(index) => Exit::with(ExitKind::Msr, index.into()),
        Served::Halt => ExitKind::Halt.into(),
        Served::Window => ExitKind::InterruptWindow.into(),
        Served::Tpr => ExitKind::Tpr.into(),
    }
}

/// kvm-ioctls leaves the suberror out of its exit.
fn with_suberror(exit: Exit, vcpu: &mut VcpuFd) -> Exit {
    if exit.kind != ExitKind::InternalError {
        return exit;
    }
    // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, for which this is the union's member; any bits are a number.
    let suberror = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal.suberror };
    Exit::with(ExitKind::InternalError, suberror.into())
}

/// An exit as a value. Nobody here has an MSR that neither KVM nor a local APIC has: the guest gets #GP.
pub fn exit_of(exit: VcpuExit<'_>) -> Exit {
    let with = |kind, data: &[u8]| Exit::with(kind, little_endian(data).into());
    let other = |reason: u32| Exit::with(ExitKind::Other, reason.into());
    match exit {
        VcpuExit::IoOut(abi::PORT_DOORBELL, _) => ExitKind::Doorbell.into(),
        VcpuExit::IoOut(abi::PORT_OBSERVE, data) => with(ExitKind::Observe, data),
        VcpuExit::IoOut(abi::PORT_BUG_CHECK, _) => ExitKind::BugCheck.into(),
        VcpuExit::IoOut(abi::PORT_YIELD, _) => ExitKind::Yield.into(),
        VcpuExit::IoOut(abi::PORT_STEP, data) => with(ExitKind::Step, data),
        VcpuExit::IoOut(abi::PORT_MARK, _) => ExitKind::Mark.into(),
        VcpuExit::IoOut(abi::PORT_OUT, data) => with(ExitKind::Out, data),
        VcpuExit::IoOut(abi::PORT_PARK, data) => with(ExitKind::Park, data),
        VcpuExit::IoOut(abi::PORT_UNPARK, data) => with(ExitKind::Unpark, data),
        VcpuExit::IoOut(abi::PORT_MSI, data) => with(ExitKind::Message, data),
        VcpuExit::IoOut(abi::PORT_NO_EFFECT | abi::PORT_IN_KVM, _) | VcpuExit::MmioWrite(abi::NO_EFFECT, _) => {
            ExitKind::NoEffect.into()
        }
        VcpuExit::IoIn(abi::PORT_NO_EFFECT, data) | VcpuExit::MmioRead(abi::NO_EFFECT, data) => {
            data.fill(0);
            ExitKind::NoEffect.into()
        }
        VcpuExit::IoOut(port, _) => Exit::port(port, true),
        VcpuExit::IoIn(port, _) => Exit::port(port, false),
        VcpuExit::MmioRead(address, _) => Exit::mmio(address, false),
        VcpuExit::MmioWrite(address, _) => Exit::mmio(address, true),
        VcpuExit::Hlt => ExitKind::Halt.into(),
        VcpuExit::Shutdown => ExitKind::Shutdown.into(),
        VcpuExit::FailEntry(reason, _) => Exit::with(ExitKind::FailedEntry, reason),
        VcpuExit::InternalError => ExitKind::InternalError.into(),
        VcpuExit::Intr => ExitKind::Interrupted.into(),
        VcpuExit::IrqWindowOpen => ExitKind::InterruptWindow.into(),
        VcpuExit::SetTpr => ExitKind::Tpr.into(),
        VcpuExit::Unsupported(reason) => other(reason),
        VcpuExit::Unknown => other(kvm_bindings::KVM_EXIT_UNKNOWN),
        VcpuExit::Exception => other(kvm_bindings::KVM_EXIT_EXCEPTION),
        VcpuExit::Hypercall(_) => other(kvm_bindings::KVM_EXIT_HYPERCALL),
        VcpuExit::Debug(_) => other(kvm_bindings::KVM_EXIT_DEBUG),
        VcpuExit::SystemEvent(..) => other(kvm_bindings::KVM_EXIT_SYSTEM_EVENT),
        VcpuExit::IoapicEoi(_) => other(kvm_bindings::KVM_EXIT_IOAPIC_EOI),
        VcpuExit::X86Rdmsr(read) => {
            *read.error = 1;
            Exit::with(ExitKind::Msr, read.index.into())
        }
        VcpuExit::X86Wrmsr(write) => {
            *write.error = 1;
            Exit::with(ExitKind::Msr, write.index.into())
        }
        // kvm-ioctls' enumeration has other architectures' exits too.
        _ => other(u32::MAX),
    }
}

/// A port write's value; a guest may write one, two or four bytes, or many at once.
fn little_endian(data: &[u8]) -> u32 {
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
            exit_of(VcpuExit::IoOut(abi::PORT_OBSERVE, &[4, 3, 2, 1])),
            Exit::with(ExitKind::Observe, 0x0102_0304)
        );
        assert_eq!(exit_of(VcpuExit::IoOut(abi::PORT_DOORBELL, &[])), ExitKind::Doorbell.into());
        assert_eq!(exit_of(VcpuExit::IoOut(0x80, &[1])), Exit::port(0x80, true));
    }

    #[test]
    fn what_has_no_effect_reads_as_zero_and_its_neighbours_do_not_exist() {
        let no_effect = Exit::from(ExitKind::NoEffect);
        for port in [abi::PORT_NO_EFFECT, abi::PORT_IN_KVM] {
            assert_eq!(exit_of(VcpuExit::IoOut(port, &[1, 2, 3, 4])), no_effect);
        }
        assert_eq!(exit_of(VcpuExit::MmioWrite(abi::NO_EFFECT, &[1; 8])), no_effect);
        let mut data = [0xFF; 8];
        assert_eq!(exit_of(VcpuExit::MmioRead(abi::NO_EFFECT, &mut data)), no_effect);
        assert_eq!(data, [0; 8]);
        let mut data = [0xFF; 2];
        assert_eq!(exit_of(VcpuExit::IoIn(abi::PORT_NO_EFFECT, &mut data)), no_effect);
        assert_eq!(data, [0; 2]);
        assert_eq!(exit_of(VcpuExit::IoIn(abi::PORT_IN_KVM, &mut data)), Exit::port(abi::PORT_IN_KVM, false));
        let next = abi::NO_EFFECT + 4;
        assert_eq!(exit_of(VcpuExit::MmioRead(next, &mut data)), Exit::mmio(next, false));
    }

    #[test]
    fn a_write_of_any_width_has_a_value() {
        assert_eq!(little_endian(&[]), 0);
        assert_eq!(little_endian(&[7]), 7);
        assert_eq!(little_endian(&[1, 2, 3, 4, 5, 6]), 0x0403_0201);
    }
}
