//! The local APIC as the manual has it (SDM Vol. 3A chapter 12), for several processors at once, written to be read next to
//! it: sets are sets, registers are a table, time is counted, and nothing is fast. It shares no code with kipi's.

use std::collections::{BTreeMap, BTreeSet};

/// What software may do with a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// There is none.
    No,
    /// Read.
    Ro,
    /// Write.
    Wo,
    /// Both.
    Rw,
}
use Access::{No, Ro, Rw, Wo};

/// Tables 12-1 and 12-6: number (offset / 16), access in xAPIC mode, access in x2APIC mode, bits that can be written.
#[rustfmt::skip]
pub const REGISTERS: &[(u8, Access, Access, u32)] = &[
    (0x02, Ro, Ro, 0), // ID; whether it can be written in xAPIC mode depends on the model
    (0x03, Ro, Ro, 0), // version
    (0x08, Rw, Rw, 0xFF), // TPR
    (0x0A, Ro, Ro, 0), // PPR
    (0x0B, Wo, Wo, 0), // EOI
    (0x0D, Rw, Ro, 0xFF00_0000), // LDR
    (0x0E, Rw, No, 0xF000_0000), // DFR
    (0x0F, Rw, Rw, 0x1FF), // SVR
    (0x10, Ro, Ro, 0), (0x11, Ro, Ro, 0), (0x12, Ro, Ro, 0), (0x13, Ro, Ro, 0), // ISR
    (0x14, Ro, Ro, 0), (0x15, Ro, Ro, 0), (0x16, Ro, Ro, 0), (0x17, Ro, Ro, 0),
    (0x18, Ro, Ro, 0), (0x19, Ro, Ro, 0), (0x1A, Ro, Ro, 0), (0x1B, Ro, Ro, 0), // TMR
    (0x1C, Ro, Ro, 0), (0x1D, Ro, Ro, 0), (0x1E, Ro, Ro, 0), (0x1F, Ro, Ro, 0),
    (0x20, Ro, Ro, 0), (0x21, Ro, Ro, 0), (0x22, Ro, Ro, 0), (0x23, Ro, Ro, 0), // IRR
    (0x24, Ro, Ro, 0), (0x25, Ro, Ro, 0), (0x26, Ro, Ro, 0), (0x27, Ro, Ro, 0),
    (0x28, Rw, Rw, 0), // ESR
    (0x30, Rw, Rw, 0x000C_CFFF), // ICR
    (0x31, Rw, No, 0xFF00_0000), // ICR, high half
    (0x32, Rw, Rw, 0x0007_00FF), // LVT timer
    (0x33, Rw, Rw, 0x0001_07FF), // LVT thermal sensor
    (0x34, Rw, Rw, 0x0001_07FF), // LVT performance counters
    (0x35, Rw, Rw, 0x0001_A7FF), // LVT LINT0
    (0x36, Rw, Rw, 0x0001_A7FF), // LVT LINT1
    (0x37, Rw, Rw, 0x0001_00FF), // LVT error
    (0x38, Rw, Rw, 0xFFFF_FFFF), // initial count
    (0x39, Ro, Ro, 0), // current count
    (0x3E, Rw, Rw, 0b1011), // divide configuration
    (0x3F, No, Wo, 0xFF), // self IPI
];

const TPR: u8 = 0x08;
const LDR: u8 = 0x0D;
const DFR: u8 = 0x0E;
const SVR: u8 = 0x0F;
const ESR: u8 = 0x28;
const ICR: u8 = 0x30;
const ICR_HIGH: u8 = 0x31;
const LVT_TIMER: u8 = 0x32;
const LVT_ERROR: u8 = 0x37;
const INITIAL: u8 = 0x38;
const DIVIDE: u8 = 0x3E;
const MASKED: u32 = 1 << 16;
const SVR_ENABLE: u32 = 1 << 8;

/// A #GP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gp;

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

/// What a processor is activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// HLT, with IF or without.
    Halted(bool),
    /// Wait-for-SIPI.
    WaitForSipi,
}

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
}

/// What the timer is activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Stopped,
    /// Expires at `at` ns, and every `period` ns after that.
    Counting {
        at: u128,
        period: Option<u128>,
    },
    /// Expires when the TSC reaches this.
    Deadline(u64),
}

/// One processor.
#[derive(Debug, Clone)]
pub struct Cpu {
    id: u32,
    /// IA32_APIC_BASE.
    pub base: u64,
    registers: BTreeMap<u8, u32>,
    /// All of the ICR.
    icr: u64,
    /// Interrupts that wait.
    pub irr: BTreeSet<u8>,
    /// Interrupts in service.
    pub isr: BTreeSet<u8>,
    /// Errors since the ESR was written.
    errors: u32,
    timer: Timer,
    /// An NMI waits.
    pub nmi: bool,
    /// An INIT waits.
    pub init: bool,
    /// A SIPI waits, with this vector.
    pub sipi: Option<u8>,
    /// What it is activity.
    pub state: State,
}

impl Cpu {
    fn new(id: u32, bootstrap: bool) -> Self {
        let state = if bootstrap { State::Running } else { State::WaitForSipi };
        let mut cpu = Self {
            id,
            base: 0xFEE0_0800 | if bootstrap { 0x100 } else { 0 },
            registers: BTreeMap::new(),
            icr: 0,
            irr: BTreeSet::new(),
            isr: BTreeSet::new(),
            errors: 0,
            timer: Timer::Stopped,
            nmi: false,
            init: false,
            sipi: None,
            state,
        };
        cpu.power_up();
        cpu
    }

    /// 12.4.7.1: the registers after power-up. The id, IA32_APIC_BASE and the processor stay.
    fn power_up(&mut self) {
        self.registers = REGISTERS.iter().map(|&(number, ..)| (number, 0)).collect();
        self.registers.insert(DFR, 0xFFFF_FFFF);
        self.registers.insert(SVR, 0xFF);
        (LVT_TIMER..=LVT_ERROR).for_each(|number| {
            self.registers.insert(number, MASKED);
        });
        self.icr = 0;
        self.irr.clear();
        self.isr.clear();
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

    fn is_software_enabled(&self) -> bool {
        self.mode() != Mode::Disabled && self.registers[&SVR] & SVR_ENABLE != 0
    }

    /// 12.8.3.1.
    fn ppr(&self) -> u8 {
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

    fn divisor(&self) -> u128 {
        match self.registers[&DIVIDE] {
            0b0000 => 2,
            0b0001 => 4,
            0b0010 => 8,
            0b0011 => 16,
            0b1000 => 32,
            0b1001 => 64,
            0b1010 => 128,
            _ => 1,
        }
    }

    fn current_count(&self, ns: u64) -> u32 {
        let Timer::Counting { at, .. } = self.timer else { return 0 };
        let left = at.saturating_sub(ns.into()).div_ceil(self.divisor());
        u32::try_from(left).expect("no more than the initial count")
    }

    /// 12.5.3.
    fn error(&mut self, bit: u32) {
        if self.errors & 1 << bit == 0 {
            self.errors |= 1 << bit;
            self.local_interrupt(LVT_ERROR);
        }
    }

    fn local_interrupt(&mut self, entry: u8) {
        let entry = self.registers[&entry];
        let vector = entry.to_le_bytes()[0];
        if entry & MASKED != 0 {
            return;
        }
        if vector < 16 { self.error(6) } else { _ = self.irr.insert(vector) }
    }

    /// The timer, up to this moment.
    fn run_timer(&mut self, ns: u64, tsc: u64) {
        match self.timer {
            Timer::Counting { at, period } if at <= ns.into() => {
                self.timer = match period {
                    None => Timer::Stopped,
                    Some(period) => {
                        let beats = (u128::from(ns) - at) / period + 1;
                        Timer::Counting { at: at + beats * period, period: Some(period) }
                    }
                };
                self.local_interrupt(LVT_TIMER);
            }
            Timer::Deadline(deadline) if deadline <= tsc => {
                self.timer = Timer::Stopped;
                self.local_interrupt(LVT_TIMER);
            }
            _ => {}
        }
    }

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
            LDR if x2apic => u64::from(self.id >> 4) << 16 | 1 << (self.id % 16),
            0x10..=0x17 => word(&self.isr, 0x10),
            // No interrupt is level-triggered.
            0x18..=0x1F => 0,
            0x20..=0x27 => word(&self.irr, 0x20),
            ICR if x2apic => self.icr,
            ICR => self.icr & 0xFFFF_FFFF,
            ICR_HIGH => self.icr >> 32,
            0x39 => self.current_count(ns).into(),
            _ => self.registers[&number].into(),
        }
    }

    /// All but EOI, ICR and self IPI.
    fn write(&mut self, number: u8, value: u32, ns: u64) {
        let (.., bits) = *REGISTERS.iter().find(|(known, ..)| *known == number).expect("the caller has looked");
        let value = value & bits;
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

    fn timer_mode(&self) -> u32 {
        self.registers[&LVT_TIMER] >> 17 & 0b11
    }

    /// 12.5.4.1: a change to or from TSC deadline disarms. Of one-shot and periodic, a running count goes on in the other's
    /// way.
    fn change_timer_mode(&mut self, was: u32, is: u32) {
        let initial = u128::from(self.registers[&INITIAL]) * self.divisor();
        match (&mut self.timer, was, is) {
            (Timer::Counting { period, .. }, 0, 1) => *period = Some(initial),
            (Timer::Counting { period, .. }, 1, 0) => *period = None,
            (_, 0 | 1, 0 | 1) => {}
            _ => {
                self.timer = Timer::Stopped;
                self.registers.insert(INITIAL, 0);
            }
        }
    }

    /// 12.6.2.2, 12.12.10.2.
    fn is_logical(&self, mda: u32) -> bool {
        match self.mode() {
            Mode::Disabled => false,
            Mode::X2Apic if mda == 0xFFFF_FFFF => true,
            Mode::X2Apic => self.id / 16 == mda >> 16 && (mda & 0xFFFF) & 1 << (self.id % 16) != 0,
            // Eight bits; all of them, or all 32, are everybody.
            Mode::XApic if mda == 0xFF || mda == 0xFFFF_FFFF => true,
            Mode::XApic if mda > 0xFF => false,
            Mode::XApic => {
                let id = self.registers[&LDR] >> 24;
                if self.registers[&DFR] >> 28 == 0xF {
                    id & mda != 0
                } else {
                    let cluster = mda >> 4 == id >> 4 || mda >> 4 == 0xF;
                    cluster && id & mda & 0xF != 0
                }
            }
        }
    }
}

/// All processors.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Each.
    pub cpus: Vec<Cpu>,
    /// The time, ns.
    pub ns: u64,
}

impl Machine {
    /// Processors with these APIC ids; the first is the bootstrap processor.
    pub fn new(ids: &[u32]) -> Self {
        Self { cpus: ids.iter().enumerate().map(|(index, &id)| Cpu::new(id, index == 0)).collect(), ns: 0 }
    }

    /// The guest's TSC.
    pub fn tsc(&self) -> u64 {
        self.ns * 2
    }

    /// Time passes.
    pub fn pass(&mut self, ns: u64) {
        self.ns += ns;
        let (now, tsc) = (self.ns, self.tsc());
        self.cpus.iter_mut().for_each(|cpu| cpu.run_timer(now, tsc));
    }

    /// A load from the page.
    pub fn read_page(&mut self, cpu: usize, offset: u16) -> u32 {
        let ns = self.ns;
        let cpu = &mut self.cpus[cpu];
        match known(offset) {
            Known::Register(number, Ro | Rw) => low(cpu.read(number, ns)),
            Known::Between | Known::Register(_, Wo) => 0,
            Known::Register(_, No) | Known::Nothing => {
                cpu.error(7);
                0
            }
        }
    }

    /// A store to the page.
    pub fn write_page(&mut self, cpu: usize, offset: u16, value: u32) -> Option<Choice> {
        let ns = self.ns;
        match known(offset) {
            Known::Between | Known::Register(_, Ro) => None,
            Known::Register(_, No) | Known::Nothing => {
                self.cpus[cpu].error(7);
                None
            }
            Known::Register(0x0B, ..) => {
                self.cpus[cpu].isr.pop_last();
                None
            }
            Known::Register(ICR_HIGH, ..) => {
                let cpu = &mut self.cpus[cpu];
                cpu.icr = u64::from(value & 0xFF00_0000) << 32 | cpu.icr & 0xFFFF_FFFF;
                None
            }
            Known::Register(ICR, ..) => {
                // Bit 12 is read-only; the other reserved bits keep what is written.
                let icr = self.cpus[cpu].icr >> 32 << 32 | u64::from(value & !(1 << 12));
                self.command(cpu, icr, u32::from(icr.to_le_bytes()[7]), 0xFF)
            }
            Known::Register(number, ..) => {
                self.cpus[cpu].write(number, value, ns);
                self.pass(0);
                None
            }
        }
    }

    /// RDMSR.
    ///
    /// # Errors
    /// [`Gp`].
    pub fn read_msr(&mut self, cpu: usize, msr: u32) -> Result<u64, Gp> {
        let ns = self.ns;
        let cpu = &mut self.cpus[cpu];
        if msr == 0x6E0 {
            return Ok(if let Timer::Deadline(deadline) = cpu.timer { deadline } else { 0 });
        }
        let (number, access, _) = x2apic_register(msr).filter(|_| cpu.mode() == Mode::X2Apic).ok_or(Gp)?;
        if matches!(access, Ro | Rw) { Ok(cpu.read(number, ns)) } else { Err(Gp) }
    }

    /// WRMSR.
    ///
    /// # Errors
    /// [`Gp`].
    pub fn write_msr(&mut self, cpu: usize, msr: u32, value: u64) -> Result<Option<Choice>, Gp> {
        let ns = self.ns;
        let this = &mut self.cpus[cpu];
        if msr == 0x6E0 {
            if this.timer_mode() == 2 {
                this.timer = if value == 0 { Timer::Stopped } else { Timer::Deadline(value) };
            }
            self.pass(0);
            return Ok(None);
        }
        let (number, access, bits) = x2apic_register(msr).filter(|_| this.mode() == Mode::X2Apic).ok_or(Gp)?;
        let high_bits = if number == ICR { 0xFFFF_FFFF_u64 << 32 } else { 0 };
        if !matches!(access, Wo | Rw) || value & !(u64::from(bits) | high_bits) != 0 {
            return Err(Gp);
        }
        match number {
            0x0B => _ = this.isr.pop_last(),
            ICR => return Ok(self.command(cpu, value, high(value), 0xFFFF_FFFF)),
            0x3F => {
                let vector = value.to_le_bytes()[0];
                return Ok(self.send(Some(cpu), Message { delivery_mode: 0, vector, whom: Whom::Itself }));
            }
            _ => {
                this.write(number, low(value), ns);
                self.pass(0);
            }
        }
        Ok(None)
    }

    /// 12.6.1. `everybody` is the destination that means all.
    fn command(&mut self, cpu: usize, icr: u64, destination: u32, everybody: u32) -> Option<Choice> {
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
        self.send(Some(cpu), Message { delivery_mode, vector: icr.to_le_bytes()[0], whom })
    }

    pub fn send(&mut self, sender: Option<usize>, message: Message) -> Option<Choice> {
        let Message { delivery_mode, vector, whom } = message;
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
            return (!meant.is_empty()).then_some(Choice { candidates: meant, vector });
        }
        for index in meant {
            let cpu = &mut self.cpus[index];
            match delivery_mode {
                0 => _ = cpu.irr.insert(vector),
                4 => cpu.nmi = true,
                5 => {
                    cpu.init = true;
                    cpu.sipi = None;
                }
                6 => cpu.sipi = Some(vector),
                // SMI and ExtINT: there is nothing that could serve them.
                _ => {}
            }
        }
        None
    }

    /// WRMSR of IA32_APIC_BASE (figure 12-27), with 52 bits of physical address.
    ///
    /// # Errors
    /// [`Gp`].
    pub fn write_base(&mut self, cpu: usize, value: u64) -> Result<(), Gp> {
        let cpu = &mut self.cpus[cpu];
        let (enable, extended) = (value >> 11 & 1 == 1, value >> 10 & 1 == 1);
        let reserved = value & 0xFF != 0 || value & 0x200 != 0 || value >> 52 != 0;
        let step_exists = match cpu.mode() {
            Mode::Disabled => !extended,
            Mode::XApic => enable || !extended,
            Mode::X2Apic => enable == extended,
        };
        if reserved || !step_exists {
            return Err(Gp);
        }
        let was = cpu.mode();
        cpu.base = value;
        // 12.4.3: what is switched off forgets.
        if was != Mode::Disabled && cpu.mode() == Mode::Disabled {
            cpu.power_up();
        }
        Ok(())
    }

    /// MOV to CR8: 12.8.6. What the TPR says already leaves its subclass.
    pub fn write_cr8(&mut self, cpu: usize, cr8: u8) {
        let tpr = self.cpus[cpu].registers.entry(TPR).or_default();
        if u32::from(cr8) != *tpr >> 4 {
            *tpr = u32::from(cr8) << 4;
        }
    }

    /// NMI, INIT and SIPI reach the processor: whether it is reset, where it starts, and whether it takes an NMI.
    pub fn look(&mut self, cpu: usize) -> (bool, Option<u8>, bool) {
        let cpu = &mut self.cpus[cpu];
        let reset = std::mem::take(&mut cpu.init);
        if reset {
            cpu.power_up();
            cpu.state = if cpu.base & 0x100 != 0 { State::Running } else { State::WaitForSipi };
        }
        let start = cpu.sipi.take().filter(|_| cpu.state == State::WaitForSipi);
        let nmi = std::mem::take(&mut cpu.nmi) && (start.is_some() || cpu.state != State::WaitForSipi);
        if start.is_some() || nmi || (cpu.state == State::Halted(true) && cpu.deliverable().is_some()) {
            cpu.state = State::Running;
        }
        (reset, start, nmi)
    }

    /// The processor takes an interrupt.
    pub fn take(&mut self, cpu: usize) -> Option<u8> {
        let cpu = &mut self.cpus[cpu];
        let vector = cpu.deliverable()?;
        cpu.irr.remove(&vector);
        cpu.isr.insert(vector);
        Some(vector)
    }
}

enum Known {
    /// Not a register's address.
    Between,
    Nothing,
    Register(u8, Access),
}

/// What lies at an offset of the page.
fn known(offset: u16) -> Known {
    if !offset.is_multiple_of(16) {
        return Known::Between;
    }
    let found = REGISTERS.iter().find(|(number, ..)| u16::from(*number) == offset / 16);
    found.map_or(Known::Nothing, |&(number, access, ..)| Known::Register(number, access))
}

fn x2apic_register(msr: u32) -> Option<(u8, Access, u32)> {
    let number = msr.checked_sub(0x800)?;
    REGISTERS
        .iter()
        .find(|(known, ..)| u32::from(*known) == number)
        .map(|&(known, _, access, bits)| (known, access, bits))
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).expect("32 bits")
}

fn high(value: u64) -> u32 {
    u32::try_from(value >> 32).expect("32 bits")
}
