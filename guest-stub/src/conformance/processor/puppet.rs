//! vCPU 1 as a puppet: it executes one access after the other that vCPU 0 asks for, and polls memory in between. So nothing but the
//! access leaves the guest.

use super::Stuck;
use super::bsp::Bsp;
use super::handlers;
use crate::conformance::faulting;
use crate::cpu::{apic, flags};
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use guest_stub::abi::Observation;

/// What vCPU 1 can be asked for.
#[derive(Clone, Copy)]
pub(super) enum Access {
    ReadMsr(u32),
    WriteMsr(u32, u64),
    /// A register of the local APIC's page, by its offset.
    ReadPage(u32),
    WritePage(u32, u32),
    /// CPUID.01H:EDX.
    Features,
    /// Clears IF.
    Mask,
    /// Sets IF.
    Unmask,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) value: u64,
    pub(super) faulted: bool,
}

impl Access {
    /// As it is passed: which, the register, the value.
    fn to_words(self) -> [u64; 3] {
        match self {
            Self::ReadMsr(msr) => [0, msr.into(), 0],
            Self::WriteMsr(msr, value) => [1, msr.into(), value],
            Self::ReadPage(offset) => [2, offset.into(), 0],
            Self::WritePage(offset, value) => [3, offset.into(), value.into()],
            Self::Features => [4, 0, 0],
            Self::Mask => [5, 0, 0],
            Self::Unmask => [6, 0, 0],
        }
    }

    fn of_words([which, register, value]: [u64; 3]) -> Option<Self> {
        Some(match which {
            0 => Self::ReadMsr(register as u32),
            1 => Self::WriteMsr(register as u32, value),
            2 => Self::ReadPage(register as u32),
            3 => Self::WritePage(register as u32, value as u32),
            4 => Self::Features,
            5 => Self::Mask,
            6 => Self::Unmask,
            _ => return None,
        })
    }

    fn execute(self) -> Answer {
        let good = |value| Answer { value, faulted: false };
        let of_msr = |result: Result<u64, _>| result.map_or(Answer { value: 0, faulted: true }, good);
        match self {
            Self::ReadMsr(msr) => of_msr(faulting::read_msr(msr)),
            Self::WriteMsr(msr, value) => of_msr(faulting::write_msr(msr, value).map(|()| 0)),
            Self::ReadPage(offset) => good(apic::xapic::read(offset).into()),
            Self::WritePage(offset, value) => {
                apic::xapic::write(offset, value);
                good(0)
            }
            Self::Features => good(__cpuid(1).edx.into()),
            Self::Mask => {
                flags::disable_interrupts();
                good(0)
            }
            Self::Unmask => {
                // SAFETY: the tables are loaded.
                unsafe { flags::enable_interrupts() };
                good(0)
            }
        }
    }
}

/// A request, counted, and its answer.
struct Requests {
    asked: AtomicU32,
    answered: AtomicU32,
    words: [AtomicU64; 3],
    value: AtomicU64,
    faulted: AtomicU32,
}

static REQUESTS: Requests = Requests {
    asked: AtomicU32::new(0),
    answered: AtomicU32::new(0),
    words: [const { AtomicU64::new(0) }; 3],
    value: AtomicU64::new(0),
    faulted: AtomicU32::new(0),
};

/// vCPU 1's turn: executes what it is asked for, if it is.
pub(super) fn serve() {
    // Acquire pairs with the Release of `Bsp::ask`: the request comes with its number.
    let asked = REQUESTS.asked.load(Ordering::Acquire);
    if asked == REQUESTS.answered.load(Ordering::Relaxed) {
        return;
    }
    let words = [0, 1, 2].map(|index: usize| REQUESTS.words[index].load(Ordering::Relaxed));
    let Some(access) = Access::of_words(words) else { return };
    let answer = access.execute();
    REQUESTS.value.store(answer.value, Ordering::Relaxed);
    REQUESTS.faulted.store(answer.faulted.into(), Ordering::Relaxed);
    // Release pairs with the Acquire of `Bsp::ask`.
    REQUESTS.answered.store(asked, Ordering::Release);
}

impl Bsp<'_> {
    /// Lets vCPU 1, whose job this is, execute an access.
    pub(super) fn ask(&mut self, access: Access) -> Result<Answer, Stuck> {
        for (word, value) in REQUESTS.words.iter().zip(access.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        let number = REQUESTS.asked.load(Ordering::Relaxed).wrapping_add(1);
        REQUESTS.asked.store(number, Ordering::Release);
        if !self.happens(|| REQUESTS.answered.load(Ordering::Acquire) == number) {
            return Err(self.stuck(Observation::Progress));
        }
        let faulted = REQUESTS.faulted.load(Ordering::Relaxed) != 0;
        Ok(Answer { value: REQUESTS.value.load(Ordering::Relaxed), faulted })
    }

    /// As [`Bsp::ask`], of an access that must not fault: its value.
    pub(super) fn ask_value(&mut self, access: Access) -> Result<u64, Stuck> {
        let answer = self.ask(access)?;
        self.expect(Observation::Faults, 0_u32, answer.faulted);
        Ok(answer.value)
    }

    /// The register of vCPU 1's local APIC, in the mode that the test is about.
    pub(super) fn read_register(&mut self, register: u32) -> Result<u64, Stuck> {
        self.ask_value(if self.is_x2apic() {
            Access::ReadMsr(apic::x2apic::number(register))
        } else {
            Access::ReadPage(register)
        })
    }

    /// As [`Bsp::read_register`].
    pub(super) fn write_register(&mut self, register: u32, value: u32) -> Result<(), Stuck> {
        self.ask_value(if self.is_x2apic() {
            Access::WriteMsr(apic::x2apic::number(register), value.into())
        } else {
            Access::WritePage(register, value)
        })?;
        Ok(())
    }

    /// Starts vCPU 1 as a puppet.
    pub(super) fn start_puppet(&mut self, vector: u8) -> Result<(), Stuck> {
        self.start(vector)?;
        self.wait_for_job()?;
        handlers::HANDLERS.count_anew(handlers::RETURN);
        Ok(())
    }
}
