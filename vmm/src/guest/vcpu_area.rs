//! What each vCPU writes into its area of guest memory, and what its thread has recorded.

use super::session::{Error, Session};
use crate::events::absences::Absence;
use crate::events::stays::Stay;
use crate::vm::wire;
use guest_stub::abi::{self, Sample, Tally, UserPage, area};
use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

impl Session<'_> {
    /// The sample of this number in a vCPU's ring.
    pub(super) fn sample(&self, vcpu: usize, number: usize) -> Result<Sample, Error> {
        let address = abi::vcpu_area(vcpu) + area::RING + (number * size_of::<Sample>()) as u64;
        Ok(wire::read(self.vm().memory(), GuestAddress(address))?)
    }

    /// A vCPU's tally, and the completed calls that it took part in.
    pub(super) fn tally(&self, vcpu: usize) -> Result<(Tally, u32), Error> {
        let place = GuestAddress(abi::vcpu_area(vcpu) + area::TALLY);
        let tally = wire::read(self.vm().memory(), place)?;
        Ok((tally, self.user_word(vcpu, offset_of!(UserPage, asked))?))
    }

    /// A word of a vCPU's user page, by its offset in it. Acquire: the vCPU's own store of the word is a Release.
    pub(super) fn user_word(&self, vcpu: usize, offset: usize) -> Result<u32, Error> {
        Ok(self.vm().memory().load(user_address(vcpu, offset), Ordering::Acquire)?)
    }

    /// The TSC of a vCPU that is halted and ready, right before its HLT ([`UserPage::halted`]).
    pub(super) fn halted(&self, vcpu: usize) -> Result<u64, GuestMemoryError> {
        // Relaxed: the load of `ready` has acquired it.
        self.vm().memory().load(user_address(vcpu, offset_of!(UserPage, halted)), Ordering::Relaxed)
    }

    /// Since when a vCPU is kept from the guest, and until when at least, on the common clock ([`UserPage::away_since`]).
    pub(super) fn away(&self, vcpu: usize) -> Result<(u64, u64), GuestMemoryError> {
        let load = |offset, ordering| self.vm().memory().load(user_address(vcpu, offset), ordering);
        // Acquire pairs with the writer's Release: the end is that of this absence, or later.
        let since = load(offset_of!(UserPage, away_since), Ordering::Acquire)?;
        Ok((since, load(offset_of!(UserPage, away_until), Ordering::Relaxed)?))
    }

    /// Writes such a word. Release: the vCPU loads it with Acquire.
    pub(super) fn set_user_word(&self, vcpu: usize, offset: usize, value: u32) -> Result<(), Error> {
        Ok(self.vm().memory().store(value, user_address(vcpu, offset), Ordering::Release)?)
    }

    /// Takes what each vCPU's thread has recorded of its stays in the guest.
    pub(super) fn take_stays(&self) -> Vec<Vec<Stay>> {
        (0..self.vcpus()).map(|vcpu| self.vm().ring(vcpu).drain()).collect()
    }

    /// When each vCPU was out of the guest in state `out`, on the common clock, since they were taken last.
    pub(super) fn take_outs(&self) -> Vec<Vec<Absence>> {
        let clock = &self.vm().tsc().clock;
        let of_vcpu = |vcpu| self.vm().ring(vcpu).outs().take().into_iter().map(|out| out.of_host(clock)).collect();
        (0..self.vcpus()).map(of_vcpu).collect()
    }
}

fn user_address(vcpu: usize, offset: usize) -> GuestAddress {
    GuestAddress(abi::vcpu_area(vcpu) + area::USER + offset as u64)
}
