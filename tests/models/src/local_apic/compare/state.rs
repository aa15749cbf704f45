//! What is to be equal.

use super::Pair;
use crate::local_apic::hypervisor::Guest;
use crate::local_apic::operation::Operation;
use crate::local_apic::reference::Access::{Ro, Rw};
use crate::local_apic::reference::{Execution, Mode, REGISTERS, State};
use kipi_apic::inbox::Events;
use kipi_apic::processor::Activity;
use kipi_apic::vectors::Vectors;
use std::collections::BTreeSet;

impl Pair {
    /// All processors but those whose timer has yet to be looked at.
    pub(super) fn expect_equal(&self, after: Operation) {
        for (index, processor) in self.processors.iter().enumerate().filter(|&(index, _)| !self.is_overdue(index)) {
            let manual = &self.manual.cpus[index];
            assert_eq!(set(self.service.inbox(index).irr()), manual.irr, "IRR of processor {index} after {after:x?}");
            assert_eq!(processor.local().base(), manual.base, "base of processor {index} after {after:x?}");
            let pending = processor.is_interrupted(&self.service);
            assert_eq!(pending, manual.deliverable().is_some(), "processor {index} after {after:x?}");
            let (state, interruptible) = match processor.activity() {
                Activity::Running => (State::Running, None),
                Activity::Halted { interruptible } => (State::Halted, Some(interruptible)),
                Activity::WaitForSipi => (State::WaitForSipi, None),
            };
            assert_eq!(state, manual.state, "processor {index} after {after:x?}");
            if let Some(interruptible) = interruptible {
                assert_eq!(interruptible, manual.execution.interruptible, "IF of processor {index} after {after:x?}");
            }
            let Events { init, sipi, .. } = self.service.inbox(index).events();
            assert_eq!((init, sipi), (manual.init, manual.sipi), "events of processor {index} after {after:x?}");
        }
    }

    /// What the guest has executed.
    pub(super) fn expect_equal_execution(&self, cpu: usize) {
        let Guest { rip, rax, interruptible, shadow, in_nmi, handlers } = self.vcpus[cpu].guest();
        let guest = Execution { rip, rax, interruptible, shadow, in_nmi, handlers };
        let manual = &self.manual.cpus[cpu];
        assert_eq!(guest, manual.execution, "what processor {cpu} executes");
    }

    /// Reads every register of `cpu` that can be read.
    pub(super) fn expect_equal_registers(&mut self, cpu: usize) {
        let manual = &self.manual.cpus[cpu];
        let mode = manual.mode();
        for &(number, xapic, x2apic, _) in REGISTERS {
            let access = match mode {
                Mode::X2Apic => x2apic,
                Mode::XApic => xapic,
                Mode::Disabled => return,
            };
            if matches!(access, Ro | Rw) {
                let expected = manual.read(number, self.manual.ns);
                assert_eq!(self.peek(cpu, number), expected, "register {number:#x} of processor {cpu} in {mode:?}");
            }
        }
    }

    /// What a register shows that can be read. Reading it changes nothing.
    fn peek(&self, cpu: usize, number: u8) -> u64 {
        let (now, mut processor) = (self.now(cpu), self.processors[cpu].clone());
        if self.manual.cpus[cpu].mode() == Mode::X2Apic {
            return processor.read_msr(&self.service, 0x800 + u32::from(number), &|| now).expect("it can be read");
        }
        let mut data = [0; 4];
        let address = processor.local().page() + u64::from(number) * 16;
        processor.read_mmio(&self.service, address, &mut data, &|| now).expect("in the page");
        u32::from_le_bytes(data).into()
    }

    /// Whether the last interrupt on `vector` was triggered by a level.
    pub(super) fn is_level(&self, cpu: usize, vector: u8) -> bool {
        let register = usize::from(vector) / 32;
        let tmr = self.processors[cpu].clone().save(&self.service, self.now(cpu)).tmr;
        tmr[register] >> (vector % 32) & 1 == 1
    }
}

fn set(vectors: &Vectors) -> BTreeSet<u8> {
    (0..=u8::MAX).filter(|&vector| vectors.contains(vector)).collect()
}
