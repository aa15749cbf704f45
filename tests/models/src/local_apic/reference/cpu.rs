//! One processor: its state, which interrupt comes next, and which logical destinations are its own.

use super::processor::Execution;
use super::registers::{DFR, LDR, LVT_ERROR, LVT_TIMER, MASKED, REGISTERS, SVR, SVR_ENABLE, TPR};
use std::collections::{BTreeMap, BTreeSet};

/// Of one local APIC, by IA32_APIC_BASE bits 11 and 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 0, 0
    Disabled,
    /// 1, 0
    XApic,
    /// 1, 1
    X2Apic,
}

/// A processor's activity state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// HLT.
    Halted,
    /// Wait-for-SIPI.
    WaitForSipi,
}

/// What the timer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Stopped,
    /// Expires at `at` ns, and every `period` ns after that.
    Counting {
        at: u128,
        period: Option<u128>,
    },
    /// Expires when the TSC reaches this.
    Deadline(u64),
}

/// What CPUID says.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// MAXPHYADDR.
    pub address_bits: u32,
    /// x2APIC mode.
    pub x2apic: bool,
    /// TSC-deadline mode.
    pub tsc_deadline: bool,
    /// ICR bit 12 is reserved in x2APIC mode: AMD.
    pub icr_bit_12_reserved: bool,
}

/// One processor.
#[derive(Debug, Clone)]
pub struct Cpu {
    pub(super) id: u32,
    pub(super) features: Features,
    /// IA32_APIC_BASE.
    pub base: u64,
    pub(super) registers: BTreeMap<u8, u32>,
    /// All of the ICR.
    pub(super) icr: u64,
    /// Interrupts that wait.
    pub irr: BTreeSet<u8>,
    /// Interrupts in service.
    pub isr: BTreeSet<u8>,
    /// Vectors whose last interrupt was triggered by a level.
    pub tmr: BTreeSet<u8>,
    /// Errors since the ESR was written.
    pub(super) errors: u32,
    pub(super) timer: Timer,
    /// NMIs wait.
    pub nmis: u8,
    /// An INIT waits.
    pub init: bool,
    /// A SIPI waits, with this vector.
    pub sipi: Option<u8>,
    /// Its activity state.
    pub state: State,
    /// What it executes.
    pub execution: Execution,
    pub(super) tsc_offset: u64,
}

impl Cpu {
    pub(super) fn new(id: u32, bootstrap: bool, features: Features) -> Self {
        let state = if bootstrap { State::Running } else { State::WaitForSipi };
        let mut cpu = Self {
            id,
            features,
            base: 0xFEE0_0800 | if bootstrap { 0x100 } else { 0 },
            registers: BTreeMap::new(),
            icr: 0,
            irr: BTreeSet::new(),
            isr: BTreeSet::new(),
            tmr: BTreeSet::new(),
            errors: 0,
            timer: Timer::Stopped,
            nmis: 0,
            init: false,
            sipi: None,
            state,
            execution: Execution::reset(),
            tsc_offset: 0,
        };
        cpu.power_up();
        cpu
    }

    /// 12.4.7.1: the registers after power-up. The id, IA32_APIC_BASE and the processor stay.
    pub(super) fn power_up(&mut self) {
        self.registers = REGISTERS.iter().map(|&(number, ..)| (number, 0)).collect();
        self.registers.insert(DFR, 0xFFFF_FFFF);
        self.registers.insert(SVR, 0xFF);
        (LVT_TIMER..=LVT_ERROR).for_each(|number| {
            self.registers.insert(number, MASKED);
        });
        self.icr = 0;
        self.irr.clear();
        self.isr.clear();
        self.tmr.clear();
        self.errors = 0;
        self.timer = Timer::Stopped;
    }

    pub fn mode(&self) -> Mode {
        match self.base >> 10 & 0b11 {
            0b10 => Mode::XApic,
            0b11 => Mode::X2Apic,
            _ => Mode::Disabled,
        }
    }

    pub(super) fn is_software_enabled(&self) -> bool {
        self.mode() != Mode::Disabled && self.registers[&SVR] & SVR_ENABLE != 0
    }

    /// 12.8.3.1.
    pub(super) fn ppr(&self) -> u8 {
        let tpr = self.registers[&TPR].to_le_bytes()[0];
        let isrv = self.isr.last().copied().unwrap_or(0);
        // Of equal classes, the subclass of either may show: the TPR's.
        if tpr / 16 >= isrv / 16 { tpr } else { isrv / 16 * 16 }
    }

    /// 12.8.4: what would be dispatched to the processor.
    pub fn deliverable(&self) -> Option<u8> {
        let highest = self.irr.last().copied()?;
        (self.mode() != Mode::Disabled && highest / 16 > self.ppr() / 16).then_some(highest)
    }

    /// Whether an interrupt waits that the end of no other one stands before: it comes with the TPR, or with IF (12.8.3.1).
    pub fn waits_for_no_eoi(&self) -> bool {
        let in_service = self.isr.last().map_or(0, |vector| vector / 16);
        self.mode() != Mode::Disabled && self.irr.last().is_some_and(|vector| vector / 16 > in_service)
    }

    /// 12.5.3.
    pub(super) fn error(&mut self, bit: u32) {
        if self.errors & 1 << bit == 0 {
            self.errors |= 1 << bit;
            self.local_interrupt(LVT_ERROR);
        }
    }

    pub(super) fn local_interrupt(&mut self, entry: u8) {
        let entry = self.registers[&entry];
        let vector = entry.to_le_bytes()[0];
        if entry & MASKED != 0 || self.mode() == Mode::Disabled {
            return;
        }
        if vector < 16 { self.error(6) } else { self.accept(vector, false) }
    }

    /// 12.8.4: an interrupt goes into the IRR, and how it was triggered into the TMR.
    pub(super) fn accept(&mut self, vector: u8, level: bool) {
        self.irr.insert(vector);
        if level {
            self.tmr.insert(vector);
        } else {
            self.tmr.remove(&vector);
        }
    }

    /// 12.8.5: the highest interrupt in service ends. What I/O APICs are told.
    pub(super) fn end_of_interrupt(&mut self) -> Option<u8> {
        self.isr.pop_last().filter(|vector| self.tmr.contains(vector))
    }

    /// 12.6.2.4: who is lowest takes a lowest-priority interrupt.
    pub(super) fn task_priority_class(&self) -> u32 {
        self.registers[&TPR] >> 4
    }

    /// 12.6.2.2, 12.12.10.2.
    pub(super) fn is_logical(&self, mda: u32) -> bool {
        match self.mode() {
            Mode::Disabled => false,
            Mode::X2Apic if mda == 0xFFFF_FFFF => true,
            // Bits 19 to 4 of the id are the cluster.
            Mode::X2Apic => self.id % 0x10_0000 / 16 == mda >> 16 && (mda & 0xFFFF) & 1 << (self.id % 16) != 0,
            // Eight bits; all of them, or all 32, are everybody.
            Mode::XApic if mda == 0xFF || mda == 0xFFFF_FFFF => true,
            Mode::XApic if mda > 0xFF => false,
            Mode::XApic => {
                let id = self.registers[&LDR] >> 24;
                if self.registers[&DFR] >> 28 == 0xF {
                    id & mda != 0
                } else {
                    mda >> 4 == id >> 4 && id & mda & 0xF != 0
                }
            }
        }
    }
}
