//! Messages: what a command sends, and whom it reaches.

use super::cpu::{Cpu, Mode};
use super::machine::Machine;

/// Who a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// This APIC id.
    Physical(u32),
    /// This logical destination.
    Logical(u32),
    /// The sender.
    Itself,
    /// Everybody.
    All,
    /// All others.
    Others,
}

/// A message on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Bits 8 to 10 of the ICR.
    pub delivery_mode: u8,
    /// Bits 0 to 7.
    pub vector: u8,
    /// It is triggered by a level. IPIs never are (12.6.1: the ICR's trigger mode is for INIT level de-assert).
    pub level: bool,
    /// Who it is for.
    pub whom: Whom,
}

/// A lowest-priority message: the manual leaves to the processor which of these gets this vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Of these processors,
    pub candidates: Vec<usize>,
    /// one gets this.
    pub vector: u8,
    /// How it is triggered.
    pub level: bool,
}

impl Machine {
    /// 12.6.1. `everybody` is the destination that means all.
    pub(super) fn command(&mut self, cpu: usize, icr: u64, destination: u32, everybody: u32) -> Option<Choice> {
        self.cpus[cpu].icr = icr;
        let delivery_mode = (icr >> 8 & 0b111).to_le_bytes()[0];
        let shorthand = icr >> 18 & 0b11;
        let (logical, asserted, level) = (icr >> 11 & 1 == 1, icr >> 14 & 1 == 1, icr >> 15 & 1 == 1);
        let whom = match shorthand {
            0 if destination == everybody => Whom::All,
            0 if logical => Whom::Logical(destination),
            0 => Whom::Physical(destination),
            1 => Whom::Itself,
            2 => Whom::All,
            _ => Whom::Others,
        };
        // Table 12-3: the shorthands that include the sender are for fixed interrupts. An INIT de-assert is of old.
        let reserved = delivery_mode == 3 || delivery_mode == 7;
        let not_fixed_to_itself = matches!(shorthand, 1 | 2) && delivery_mode != 0;
        let illegal_vector = delivery_mode < 2 && icr & 0xFF < 16;
        if !illegal_vector && (reserved || not_fixed_to_itself || delivery_mode == 5 && level && !asserted) {
            return None;
        }
        self.send(Some(cpu), Message { delivery_mode, vector: icr.to_le_bytes()[0], level: false, whom })
    }

    /// A processor accepts an interrupt.
    pub fn accept(&mut self, cpu: usize, vector: u8, level: bool) {
        self.cpus[cpu].accept(vector, level);
    }

    /// A message reaches its destinations.
    pub fn send(&mut self, sender: Option<usize>, message: Message) -> Option<Choice> {
        let Message { delivery_mode, vector, level, whom } = message;
        if delivery_mode < 2 && vector < 16 {
            if let Some(sender) = sender {
                self.cpus[sender].error(5);
            }
            return None;
        }
        let is_meant = |index: usize, cpu: &Cpu| match whom {
            Whom::Physical(id) => cpu.id == id,
            Whom::Logical(mda) => cpu.is_logical(mda),
            Whom::Itself => Some(index) == sender,
            Whom::All => true,
            Whom::Others => Some(index) != sender,
        };
        let accepts =
            |cpu: &Cpu| if delivery_mode < 2 { cpu.is_software_enabled() } else { cpu.mode() != Mode::Disabled };
        let indices = 0..self.cpus.len();
        let meant: Vec<usize> =
            indices.filter(|&index| is_meant(index, &self.cpus[index]) && accepts(&self.cpus[index])).collect();
        if delivery_mode == 1 {
            let priority = |&index: &usize| self.cpus[index].task_priority_class();
            let lowest = meant.iter().map(priority).min()?;
            let candidates = meant.into_iter().filter(|index| priority(index) == lowest).collect();
            return Some(Choice { candidates, vector, level });
        }
        for index in meant {
            let cpu = &mut self.cpus[index];
            match delivery_mode {
                0 => cpu.accept(vector, level),
                // 7.7.1: one is taken, one is latched. While one is in service, the latch is all there is.
                4 => {
                    let in_service = cpu.execution.in_nmi && !cpu.init;
                    cpu.nmis = (cpu.nmis + 1).min(if in_service { 1 } else { 2 });
                }
                // What has come before is forgotten.
                5 => (cpu.init, cpu.sipi, cpu.nmis) = (true, None, 0),
                // The first one starts the processor.
                6 => _ = cpu.sipi.get_or_insert(vector),
                // SMI and ExtINT: there is nothing that could serve them.
                _ => {}
            }
        }
        None
    }
}
