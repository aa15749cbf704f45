//! Where interrupts from outside enter a machine, wherever its local APICs are: devices', the watchdog's, the guest's
//! messages, and calls that the host starts. From any thread.

use super::ApicIds;
use super::create::vcpu_count;
use super::msi::{self, Address};
use crate::vcpu::interrupt::{Delivered, Injection, InterruptBus};
use kipi_apic::ipi::{Destination, Ipi};
use kipi_kvm_apic::Irqchip;
use kvm_ioctls::VmFd;
use std::io;
use std::sync::Arc;

/// A machine's message bus.
#[derive(Debug)]
pub struct Bus {
    fd: Arc<VmFd>,
    ids: ApicIds,
    vcpus: usize,
    irqchip: Option<Irqchip>,
}

impl Bus {
    pub(super) fn new(fd: Arc<VmFd>, ids: ApicIds, vcpus: usize, irqchip: Option<Irqchip>) -> Self {
        Self { fd, ids, vcpus, irqchip }
    }

    /// KVM's virtual machine.
    pub(super) fn vm(&self) -> &VmFd {
        &self.fd
    }

    /// What the vCPUs share whose local APICs are in user space.
    pub(super) fn irqchip(&self) -> Option<&Irqchip> {
        self.irqchip.as_ref()
    }

    fn send(&self, address: Address, injection: Injection) -> io::Result<Delivered> {
        let accepted = if let Some(irqchip) = &self.irqchip {
            let destination = match address {
                Address::One(id) => Destination::Physical(id),
                Address::All { .. } => Destination::All,
            };
            irqchip.send(Ipi::new(injection.delivery(), destination)).accepted > 0
        } else {
            msi::signal(&self.fd, address, injection)?
        };
        Ok(if accepted { Delivered::Accepted } else { Delivered::Blocked })
    }
}

impl InterruptBus for Bus {
    fn vcpus(&self) -> usize {
        self.vcpus
    }

    fn raise(&self, vcpu: usize, injection: Injection) -> io::Result<Delivered> {
        let id = self.ids.of(vcpu_count(vcpu), vcpu_count(self.vcpus));
        self.send(Address::One(id), injection)
    }

    fn broadcast(&self, injection: Injection) -> io::Result<Delivered> {
        let wide = self.irqchip.is_none() && !self.ids.fit_xapic(self.vcpus);
        self.send(Address::All { wide }, injection)
    }
}
