//! A hypercall of KVM's own interface: KVM_HC_SEND_IPI.

use super::{Mode, Route};
use crate::bugcheck;
use crate::cpu::hypercall::Instruction;
use crate::processor::Private;
use crate::shared;
use core::marker::PhantomData;
use guest_stub::destinations::{Kind, Sender, To};
use guest_stub::icr;
use guest_stub::kvm_pv::{self, Batch, SEND_IPI};
use guest_stub::rendezvous::Generation;

/// KVM finds local APICs by the ids that they have in their mode: x2APIC mode, where there is one, has ids for all of them.
#[derive(Clone, Copy)]
pub(crate) struct KvmPv<I> {
    command: u32,
    kind: Kind,
    instruction: PhantomData<I>,
}

impl<I: Instruction> Route for KvmPv<I> {
    const MODE: Mode = Mode::Best;

    /// The APIC id.
    #[inline]
    fn encode(_: u8, to: To) -> Option<u32> {
        match to {
            To::One(index) => Some(shared::apic_id(index)),
            // The VMM refuses logical ids. A shorthand is as many hypercalls as `encode_all` makes of it.
            To::AllButSelf | To::All | To::Logical(_) => None,
        }
    }

    /// Of a shorthand, the addresses of its batches.
    fn encode_all(private: &'static Private, sender: Sender, vector: u8, to: To, add: &mut dyn FnMut(u32)) {
        let Some(members) = sender.reached_by(to) else {
            return Self::encode(vector, to).into_iter().for_each(add);
        };
        let mut rooms = private.batches();
        kvm_pv::batches(&members.map(sender.apic_id), |batch| {
            let Some(room) = rooms.next() else { panic!("APIC ids are too far apart") };
            add(room.put(batch));
        });
    }

    #[inline]
    fn prepare(_: Generation, vector: u8, kind: Kind) -> Self {
        Self { command: icr::fixed(vector, icr::To::One(0)), kind, instruction: PhantomData }
    }

    #[inline]
    fn send(&self, encoded: u32) {
        let batch = match self.kind {
            // SAFETY: the address of a batch of this processor's, which `encode_all` has written; nothing writes it now.
            Kind::AllButSelf | Kind::All => unsafe { *(encoded as usize as *const Batch) },
            Kind::One | Kind::Logical => Batch::one(encoded),
        };
        send::<I>(batch, self.command);
    }
}

/// Interrupts the local APICs of a batch, all of which have to accept it. `command` is an ICR's low word without destination.
#[inline]
pub(crate) fn send<I: Instruction>(batch: Batch, command: u32) {
    let answer = I::call(SEND_IPI.into(), [batch.low, batch.high, batch.lowest.into(), command.into()]);
    if answer != batch.targets.into() {
        refused(answer, batch.targets);
    }
}

#[cold]
#[inline(never)]
fn refused(answer: u64, targets: u32) -> ! {
    let answer = answer.cast_signed();
    bugcheck::refused(format_args!("KVM_HC_SEND_IPI to {targets} local APICs answered {answer}"))
}
