//! What a register shows, and what a write makes of it.

use super::cpu::{Cpu, Mode, Timer};
use super::registers::{
    DFR, DIVIDE, ESR, ICR, ICR_HIGH, INITIAL, LDR, LVT_ERROR, LVT_TIMER, MASKED, REGISTERS, SVR, TPR,
};
use std::collections::BTreeSet;

impl Cpu {
    /// What the register with this number shows, which can be read.
    pub fn read(&self, number: u8, ns: u64) -> u64 {
        let word = |set: &BTreeSet<u8>, first: u8| -> u64 {
            set.iter().filter(|&&vector| vector / 32 == number - first).map(|&vector| 1_u64 << (vector % 32)).sum()
        };
        let x2apic = self.mode() == Mode::X2Apic;
        match number {
            0x02 if x2apic => self.id.into(),
            0x02 => u64::from(self.id) << 24 & 0xFFFF_FFFF,
            // Six LVT entries, version 0x14.
            0x03 => 0x0005_0014,
            0x0A => self.ppr().into(),
            0x0B => 0,
            LDR if x2apic => u64::from(self.id >> 4 & 0xFFFF) << 16 | 1 << (self.id % 16),
            0x10..=0x17 => word(&self.isr, 0x10),
            0x18..=0x1F => word(&self.tmr, 0x18),
            0x20..=0x27 => word(&self.irr, 0x20),
            ICR if x2apic => self.icr,
            ICR => self.icr & 0xFFFF_FFFF,
            ICR_HIGH => self.icr >> 32,
            0x39 => self.current_count(ns).into(),
            _ => self.registers[&number].into(),
        }
    }

    /// Bits of a register that this processor does not have.
    pub(super) fn missing_bits(&self, number: u8) -> u32 {
        if number == LVT_TIMER && !self.features.tsc_deadline { 1 << 18 } else { 0 }
    }

    /// All but EOI, ICR and self IPI.
    pub(super) fn write(&mut self, number: u8, value: u32, ns: u64) {
        let (.., bits) = *REGISTERS.iter().find(|(known, ..)| *known == number).expect("the caller has looked");
        let value = value & bits & !self.missing_bits(number);
        match number {
            LDR | TPR => _ = self.registers.insert(number, value),
            DFR => _ = self.registers.insert(number, value | 0x0FFF_FFFF),
            SVR => {
                self.registers.insert(SVR, value);
                if !self.is_software_enabled() {
                    (LVT_TIMER..=LVT_ERROR).for_each(|entry| *self.registers.entry(entry).or_default() |= MASKED);
                }
            }
            ESR => {
                self.registers.insert(ESR, self.errors);
                self.errors = 0;
            }
            LVT_TIMER..=LVT_ERROR => {
                let mode = |entry: u32| entry >> 17 & 0b11;
                let (was, is) = (mode(self.registers[&number]), mode(value));
                let masked = if self.is_software_enabled() { 0 } else { MASKED };
                self.registers.insert(number, value | masked);
                if number == LVT_TIMER && was != is {
                    self.change_timer_mode(was, is);
                }
            }
            INITIAL if self.timer_mode() < 2 => {
                self.registers.insert(INITIAL, value);
                let time = u128::from(value) * self.divisor();
                let at = u128::from(ns) + time;
                let period = (self.timer_mode() == 1).then_some(time);
                self.timer = if value == 0 { Timer::Stopped } else { Timer::Counting { at, period } };
            }
            DIVIDE => {
                let count = self.current_count(ns);
                self.registers.insert(DIVIDE, value);
                if let Timer::Counting { at, period } = &mut self.timer {
                    let divisor = match value {
                        0b1011 => 1,
                        code => 2 << ((code & 0b11) + (code >> 3) * 4),
                    };
                    *at = u128::from(ns) + u128::from(count) * divisor;
                    *period = period.map(|_| u128::from(self.registers[&INITIAL]) * divisor);
                }
            }
            _ => {}
        }
    }
}
