//! Where interrupts from outside enter a machine, wherever its local APICs are: devices', the watchdog's, the guest's
//! messages, and calls that the host starts. From any thread.

use super::ApicIds;
use super::create::vcpu_count;
use super::msi::{self, Address, Injection};
use crate::vcpu::user_apic::Board;
use kipi_apic::ipi::{Destination, Ipi};
use kvm_ioctls::VmFd;
use std::sync::Arc;

/// A machine's message bus.
#[derive(Debug)]
pub struct Bus {
    fd: Arc<VmFd>,
    ids: ApicIds,
    vcpus: usize,
    board: Option<Arc<Board>>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// At least one local APIC has taken it.
    Accepted,
    /// None has: switched off, or disabled by software.
    Blocked,
}

impl Bus {
    pub(super) fn new(fd: Arc<VmFd>, ids: ApicIds, vcpus: usize, board: Option<Arc<Board>>) -> Self {
        Self { fd, ids, vcpus, board }
    }

    /// Raises an interrupt on one vCPU.
    ///
    /// # Errors
    /// KVM's, if it does not take the message.
    pub fn raise(&self, vcpu: usize, injection: Injection) -> Result<Delivered, kvm_ioctls::Error> {
        self.send(Address::One(self.id(vcpu)), injection)
    }

    /// Raises an interrupt on all vCPUs, by one message to the broadcast destination.
    ///
    /// # Errors
    /// As [`Bus::raise`].
    pub fn broadcast(&self, injection: Injection) -> Result<Delivered, kvm_ioctls::Error> {
        let wide = self.board.is_none() && !self.ids.fit_xapic(self.vcpus);
        self.send(Address::All { wide }, injection)
    }

    /// How many vCPUs are on it.
    pub fn vcpus(&self) -> usize {
        self.vcpus
    }

    /// The local APICs, if they are in user space.
    pub fn board(&self) -> Option<&Board> {
        self.board.as_deref()
    }

    fn id(&self, vcpu: usize) -> u32 {
        self.ids.of(vcpu_count(vcpu), vcpu_count(self.vcpus))
    }

    fn send(&self, address: Address, injection: Injection) -> Result<Delivered, kvm_ioctls::Error> {
        let accepted = if let Some(board) = &self.board {
            let destination = match address {
                Address::One(id) => Destination::Physical(id),
                Address::All { .. } => Destination::All,
            };
            board.service.send(None, Ipi { delivery: injection.delivery(), destination }).accepted > 0
        } else {
            msi::signal(&self.fd, address, injection)?
        };
        Ok(if accepted { Delivered::Accepted } else { Delivered::Blocked })
    }
}
