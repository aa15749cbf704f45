//! Hyper-V's hypercalls, as a Windows guest of KVM makes them: by a mask where all virtual processors have a bit in one, by a sparse
//! set elsewhere.

use super::{Mode, Route};
use crate::bugcheck;
use crate::cpu::hyperv::{self, vp_index};
use crate::processor::{self, Private};
use guest_stub::destinations::{Kind, Sender, To};
use guest_stub::hyperv::{BANK, FAST, Input, SEND_IPI, SUCCESS, control};
use guest_stub::rendezvous::Generation;

/// HvCallSendSyntheticClusterIpi, with its parameters in registers: up to 64 virtual processors.
#[derive(Clone, Copy)]
pub(crate) struct HyperVMask {
    vector: u64,
    /// Of everybody who is to be interrupted, if that is one send.
    mask: u64,
    kind: Kind,
}

/// HvCallSendSyntheticClusterIpiEx, with its parameters in memory.
#[derive(Clone, Copy)]
pub(crate) struct HyperVSet {
    vector: u8,
    input: *mut Input,
    control: u64,
    kind: Kind,
}

impl Route for HyperVMask {
    const MODE: Mode = Mode::Best;

    fn encode(_: u8, to: To) -> Option<u32> {
        encode(to)
    }

    fn encode_all(private: &'static Private, sender: Sender, vector: u8, to: To, add: &mut dyn FnMut(u32)) {
        encode_all(private, sender, vector, to, add);
    }

    #[inline]
    fn prepare(_: Generation, vector: u8, kind: Kind) -> Self {
        // SAFETY: this processor's own, which nothing writes now. One bank has everybody.
        let mask = unsafe { (*processor::current().hyperv_input()).banks[0] };
        Self { vector: vector.into(), mask, kind }
    }

    #[inline]
    fn send(&self, encoded: u32) {
        send_to_mask(
            self.vector,
            match self.kind {
                Kind::AllButSelf | Kind::All => self.mask,
                Kind::One | Kind::Logical => 1 << encoded,
            },
        );
    }
}

impl Route for HyperVSet {
    const MODE: Mode = Mode::Best;

    fn encode(_: u8, to: To) -> Option<u32> {
        encode(to)
    }

    fn encode_all(private: &'static Private, sender: Sender, vector: u8, to: To, add: &mut dyn FnMut(u32)) {
        encode_all(private, sender, vector, to, add);
    }

    #[inline]
    fn prepare(_: Generation, vector: u8, kind: Kind) -> Self {
        let input = processor::current().hyperv_input();
        // SAFETY: this processor's own, which nothing writes now.
        let banks = unsafe { (*input).valid_banks.count_ones() };
        Self { vector, input, control: control(banks), kind }
    }

    #[inline]
    fn send(&self, encoded: u32) {
        match self.kind {
            Kind::AllButSelf | Kind::All => send_to_set(self.input, self.control),
            Kind::One | Kind::Logical => send_to_one(self.input, self.vector, encoded),
        }
    }
}

/// The VP index of one; [`encode_all`] keeps whom a shorthand stands for.
#[inline]
fn encode(to: To) -> Option<u32> {
    match to {
        To::One(index) => Some(vp_index(index)),
        To::AllButSelf | To::All => Some(0),
        // The VMM refuses it.
        To::Logical(_) => None,
    }
}

/// Keeps whom a shorthand stands for in the sender's page.
fn encode_all(private: &'static Private, sender: Sender, vector: u8, to: To, add: &mut dyn FnMut(u32)) {
    if let Some(members) = sender.reached_by(to) {
        let input = Input::new(vector, &members.map(|index| vp_index(index) as usize));
        // SAFETY: this processor's own, which nothing reads now.
        unsafe { private.hyperv_input().write(input) };
    }
    encode(to).into_iter().for_each(add);
}

/// To virtual processors of the first bank.
#[inline]
pub(crate) fn send_to_mask(vector: u64, mask: u64) {
    check(hyperv::call(SEND_IPI | FAST, vector, mask));
}

/// To the set in `input`, which is this processor's.
#[inline]
fn send_to_set(input: *mut Input, control: u64) {
    check(hyperv::call(control, input as u64, 0));
}

/// To one virtual processor of any bank, by `input`, which is this processor's.
#[inline]
pub(crate) fn send_to_one(input: *mut Input, vector: u8, vp: u32) {
    // SAFETY: nobody else writes or reads it but KVM, in the hypercall. The other parameters are zero in every input.
    unsafe {
        (*input).vector = vector.into();
        (*input).valid_banks = 1 << (vp / BANK as u32);
        (*input).banks[0] = 1 << (vp % BANK as u32);
    }
    send_to_set(input, const { control(1) });
}

#[inline]
fn check(answer: u64) {
    if answer != SUCCESS {
        refused(answer);
    }
}

#[cold]
#[inline(never)]
fn refused(answer: u64) -> ! {
    bugcheck::refused(format_args!("HvCallSendSyntheticClusterIpi answered status {answer:#x}"))
}
