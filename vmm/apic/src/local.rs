//! One vCPU's local APIC: its registers, and what software's accesses to them mean.
//!
//! Its owner is the vCPU's thread. Only the IRR is shared with senders, and is passed in ([`crate::inbox`]); so is the clock,
//! which is read only where the timer is concerned: a send does not wait for it.

use crate::addressing::{Addressing, Mode};
use crate::icr::{self, FIRST_LEGAL_VECTOR, Unsent};
use crate::ipi::{Delivery, Destination, Ipi};
use crate::registers::{
    CURRENT_COUNT, DFR, DIVIDE, DIVIDE_BITS, EOI, ESR, ICR, ICR_HIGH, ICR_PENDING, ID, INITIAL_COUNT, IRR, IRR_END,
    ISR, LDR, LVT_BITS, LVT_ERROR, LVT_MASKED, LVT_TIMER, PPR, SELF_IPI, SVR, SVR_BITS, SVR_ENABLE, TMR, TPR,
    TSC_DEADLINE_MSR, VERSION, X2APIC_ICR_BITS, X2APIC_MSR, X2APIC_MSR_END, errors,
};
use crate::timer::{Deadline, Now, Timer, TimerMode};
use crate::vectors::Vectors;

/// An access that raises #GP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneralProtection;

/// What is left to do after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Send this.
    Send(Ipi),
    /// A command that is not sent.
    Unsent(Unsent),
    /// The interrupt on this vector has been served.
    EndOfInterrupt(u8),
}

/// IA32_APIC_BASE (SDM Vol. 3A figures 12-5 and 12-26).
const BASE_BOOTSTRAP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_PAGE: u64 = !0xFFF;
/// Where the registers lie after a reset.
const DEFAULT_PAGE: u64 = 0xFEE0_0000;

/// Version 0x14, and the number of the last LVT entry.
const VERSION_VALUE: u32 = 5 << 16 | 0x14;

/// A local APIC.
#[derive(Debug, Clone)]
pub struct LocalApic {
    id: u32,
    base: u64,
    tpr: u8,
    logical_id: u8,
    dfr: u32,
    svr: u32,
    isr: [u32; 8],
    /// What the ESR shows, and the errors since it was written.
    esr: u32,
    errors: u32,
    icr: u64,
    lvt: [u32; 6],
    timer: Timer,
}

impl LocalApic {
    /// As after a reset (SDM Vol. 3A 12.4.7.1), in xAPIC mode.
    pub fn new(id: u32, bootstrap: bool) -> Self {
        let base = DEFAULT_PAGE | BASE_ENABLE | if bootstrap { BASE_BOOTSTRAP } else { 0 };
        Self {
            id,
            base,
            tpr: 0,
            logical_id: 0,
            dfr: u32::MAX,
            svr: 0xFF,
            isr: [0; 8],
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [LVT_MASKED; 6],
            timer: Timer::default(),
        }
    }

    /// INIT: as a reset, but id, mode and place stay (SDM Vol. 3A 12.4.7.3, 12.12.5.1).
    pub fn init(&mut self) {
        let base = self.base;
        *self = Self::new(self.id, false);
        self.base = base;
    }

    /// Whether this is the bootstrap processor's.
    pub fn is_bootstrap(&self) -> bool {
        self.base & BASE_BOOTSTRAP != 0
    }

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The guest-physical address of the registers, in xAPIC mode.
    pub fn page(&self) -> u64 {
        self.base & BASE_PAGE
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        match (self.base & BASE_ENABLE != 0, self.base & BASE_X2APIC != 0) {
            (false, _) => Mode::Disabled,
            (true, false) => Mode::XApic,
            (true, true) => Mode::X2Apic,
        }
    }

    /// Writes IA32_APIC_BASE, on a processor whose physical addresses have `address_bits`.
    ///
    /// # Errors
    /// [`GeneralProtection`] for reserved bits, and for transitions that are not in SDM Vol. 3A figure 12-27: straight
    /// from off to x2APIC mode, from x2APIC back to xAPIC mode, and x2APIC mode without the enable bit.
    pub fn set_base(&mut self, value: u64, address_bits: u32) -> Result<(), GeneralProtection> {
        let address = BASE_PAGE & (1_u64.checked_shl(address_bits).unwrap_or(0)).wrapping_sub(1);
        if value & !(address | BASE_BOOTSTRAP | BASE_X2APIC | BASE_ENABLE) != 0 {
            return Err(GeneralProtection);
        }
        let (enable, x2apic) = (value & BASE_ENABLE != 0, value & BASE_X2APIC != 0);
        let allowed = match self.mode() {
            _ if x2apic && !enable => false,
            Mode::Disabled => !x2apic,
            Mode::XApic => true,
            Mode::X2Apic => x2apic || !enable,
        };
        if !allowed {
            return Err(GeneralProtection);
        }
        let was = self.mode();
        self.base = value;
        if self.mode() == Mode::Disabled && was != Mode::Disabled {
            // What is switched off forgets all but its id (SDM Vol. 3A 12.4.3).
            self.init();
        }
        Ok(())
    }

    /// Switches it off, as a write of IA32_APIC_BASE with the enable bit clear does.
    pub fn disable(&mut self) {
        self.base &= !(BASE_ENABLE | BASE_X2APIC);
        self.init();
    }

    /// How others address it.
    pub fn addressing(&self) -> Addressing {
        let mode = self.mode();
        Addressing {
            id: self.id,
            logical_id: self.logical_id,
            flat: self.dfr >> 28 == 0xF,
            enabled: mode != Mode::Disabled && self.svr & SVR_ENABLE != 0,
            mode,
        }
    }

    /// CR8: the TPR's class.
    pub fn cr8(&self) -> u64 {
        u64::from(self.tpr >> 4)
    }

    /// CR8 was written: the TPR's class is this, its subclass zero (SDM Vol. 3A 12.8.6). A CR8 that says what the TPR says
    /// changes nothing.
    pub fn set_cr8(&mut self, cr8: u64) {
        if cr8 != self.cr8() {
            let [class, ..] = cr8.to_le_bytes();
            self.tpr = class << 4;
        }
    }

    /// The highest vector in service.
    fn in_service(&self) -> Option<u8> {
        (0..8_u8).zip(self.isr).rev().find_map(|(word, bits)| {
            let [highest, ..] = bits.checked_ilog2()?.to_le_bytes();
            Some(word * 32 + highest)
        })
    }

    /// The processor priority register (SDM Vol. 3A 12.8.3.1).
    pub fn ppr(&self) -> u8 {
        let in_service = self.in_service().unwrap_or(0);
        if self.tpr >> 4 >= in_service >> 4 { self.tpr } else { in_service & 0xF0 }
    }

    /// The interrupt that the processor would be given now: the highest in the IRR, if it is above the processor's
    /// priority.
    pub fn pending(&self, irr: &Vectors) -> Option<u8> {
        irr.highest().filter(|vector| vector >> 4 > self.ppr() >> 4 && self.mode() != Mode::Disabled)
    }

    /// Whether it is the TPR alone that holds an interrupt back.
    pub fn held_by_tpr(&self, irr: &Vectors) -> bool {
        let in_service = self.in_service().unwrap_or(0) >> 4;
        irr.highest().is_some_and(|vector| vector >> 4 > in_service && vector >> 4 <= self.tpr >> 4)
    }

    /// The processor takes the pending interrupt: it goes from the IRR to the ISR.
    pub fn acknowledge(&mut self, irr: &Vectors) -> Option<u8> {
        let vector = self.pending(irr)?;
        irr.take(vector);
        self.isr[usize::from(vector) / 32] |= 1 << (vector % 32);
        Some(vector)
    }

    /// Reads the register at `offset` of the page.
    pub fn read_mmio(&mut self, offset: u32, now: &dyn Fn() -> Now, irr: &Vectors) -> u32 {
        self.tick(now, irr);
        // Registers lie 16 bytes apart; what is between them is undefined (SDM Vol. 3A 12.4.1).
        if !offset.is_multiple_of(16) {
            return 0;
        }
        match offset {
            ID => self.id << 24,
            LDR => u32::from(self.logical_id) << 24,
            DFR => self.dfr,
            EOI => 0,
            ICR => low(self.icr),
            ICR_HIGH => high(self.icr),
            SELF_IPI => self.illegal_register(irr),
            _ => self.read(offset, now, irr).unwrap_or_else(|| self.illegal_register(irr)),
        }
    }

    /// Reads an MSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] if there is none of this number that can be read, or not in this mode.
    pub fn read_msr(&mut self, msr: u32, now: &dyn Fn() -> Now, irr: &Vectors) -> Result<u64, GeneralProtection> {
        self.tick(now, irr);
        if msr == TSC_DEADLINE_MSR {
            return Ok(self.timer.deadline());
        }
        let value = match self.x2apic_register(msr)? {
            ID => self.id,
            LDR => self.addressing().x2apic_ldr(),
            ICR => return Ok(self.icr),
            DFR | EOI | ICR_HIGH | SELF_IPI => return Err(GeneralProtection),
            offset => self.read(offset, now, irr).ok_or(GeneralProtection)?,
        };
        Ok(value.into())
    }

    /// What reads the same in both modes.
    fn read(&self, offset: u32, now: &dyn Fn() -> Now, irr: &Vectors) -> Option<u32> {
        let nth = |first: u32| (offset - first) as usize / 16;
        Some(match offset {
            VERSION => VERSION_VALUE,
            TPR => self.tpr.into(),
            PPR => self.ppr().into(),
            SVR => self.svr,
            ISR..TMR => self.isr[nth(ISR)],
            // No interrupt is level-triggered here.
            TMR..IRR => 0,
            IRR..IRR_END => irr.register(nth(IRR)),
            ESR => self.esr,
            LVT_TIMER..=LVT_ERROR => self.lvt[nth(LVT_TIMER)],
            INITIAL_COUNT => self.timer.initial(),
            CURRENT_COUNT => self.timer.current(now()),
            DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Writes the register at `offset` of the page. What is read-only ignores it.
    pub fn write_mmio(&mut self, offset: u32, value: u32, now: &dyn Fn() -> Now, irr: &Vectors) -> Effect {
        self.tick(now, irr);
        if !offset.is_multiple_of(16) {
            return Effect::None;
        }
        match offset {
            // Ids are the machine's (SDM Vol. 3A 12.4.6: whether software can change one depends on the model).
            ID | VERSION | PPR | ISR..IRR_END | CURRENT_COUNT => {}
            LDR => [.., self.logical_id] = value.to_le_bytes(),
            DFR => self.dfr = value | 0x0FFF_FFFF,
            ICR_HIGH => self.icr = u64::from(value & 0xFF00_0000) << 32 | u64::from(low(self.icr)),
            ICR => {
                let command = u64::from(high(self.icr)) << 32 | u64::from(value & !ICR_PENDING);
                return self.command(command, irr);
            }
            EOI => return self.end_of_interrupt(),
            SELF_IPI => {
                self.illegal_register(irr);
            }
            _ => {
                if !self.write(offset, value, now, irr) {
                    self.illegal_register(irr);
                }
            }
        }
        Effect::None
    }

    /// Writes an MSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] if there is none of this number that can be written, or not in this mode, or for reserved bits.
    pub fn write_msr(
        &mut self,
        msr: u32,
        value: u64,
        now: &dyn Fn() -> Now,
        irr: &Vectors,
    ) -> Result<Effect, GeneralProtection> {
        self.tick(now, irr);
        if msr == TSC_DEADLINE_MSR {
            self.timer.set_deadline(value);
            self.tick(now, irr);
            return Ok(Effect::None);
        }
        let offset = self.x2apic_register(msr)?;
        let bits = match offset {
            EOI | ESR => 0,
            TPR | SELF_IPI => 0xFF,
            SVR => SVR_BITS.into(),
            ICR => X2APIC_ICR_BITS,
            LVT_TIMER..=LVT_ERROR => LVT_BITS[(offset - LVT_TIMER) as usize / 16].into(),
            INITIAL_COUNT => u32::MAX.into(),
            DIVIDE => DIVIDE_BITS.into(),
            _ => return Err(GeneralProtection),
        };
        if value & !bits != 0 {
            return Err(GeneralProtection);
        }
        Ok(match offset {
            ICR => self.command(value, irr),
            EOI => self.end_of_interrupt(),
            SELF_IPI => {
                let [vector, ..] = value.to_le_bytes();
                self.send(Ok(Ipi { delivery: Delivery::Fixed(vector), destination: Destination::Itself }), irr)
            }
            _ => {
                self.write(offset, low(value), now, irr);
                Effect::None
            }
        })
    }

    /// What is written alike in both modes. `false`: there is no such register.
    fn write(&mut self, offset: u32, value: u32, now: &dyn Fn() -> Now, irr: &Vectors) -> bool {
        match offset {
            TPR => [self.tpr, ..] = value.to_le_bytes(),
            SVR => {
                self.svr = value & SVR_BITS;
                if self.svr & SVR_ENABLE == 0 {
                    self.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
                }
            }
            // A write shows the errors since the last one (SDM Vol. 3A 12.5.3).
            ESR => (self.esr, self.errors) = (self.errors, 0),
            LVT_TIMER..=LVT_ERROR => {
                let nth = (offset - LVT_TIMER) as usize / 16;
                let masked = if self.svr & SVR_ENABLE == 0 { LVT_MASKED } else { 0 };
                self.lvt[nth] = value & LVT_BITS[nth] | masked;
                if offset == LVT_TIMER {
                    self.timer.set_mode(TimerMode::of_lvt(value));
                }
            }
            INITIAL_COUNT => self.timer.set_initial(value, now()),
            DIVIDE => self.timer.set_divide(value & DIVIDE_BITS, now()),
            _ => return false,
        }
        self.tick(now, irr);
        true
    }

    /// The register of an x2APIC MSR.
    fn x2apic_register(&self, msr: u32) -> Result<u32, GeneralProtection> {
        let is_one = self.mode() == Mode::X2Apic && (X2APIC_MSR..=X2APIC_MSR_END).contains(&msr);
        if is_one { Ok((msr - X2APIC_MSR) << 4) } else { Err(GeneralProtection) }
    }

    fn command(&mut self, icr: u64, irr: &Vectors) -> Effect {
        self.icr = icr;
        let ipi = icr::decode(icr, self.mode());
        self.send(ipi, irr)
    }

    fn send(&mut self, ipi: Result<Ipi, Unsent>, irr: &Vectors) -> Effect {
        let ipi = match ipi {
            Ok(Ipi { delivery: Delivery::Fixed(vector), .. }) if vector < FIRST_LEGAL_VECTOR => {
                Err(Unsent::IllegalVector(vector))
            }
            ipi => ipi,
        };
        match ipi {
            Ok(ipi) => Effect::Send(ipi),
            Err(unsent) => {
                if let Unsent::IllegalVector(_) = unsent {
                    self.error(errors::SEND_ILLEGAL_VECTOR, irr);
                }
                Effect::Unsent(unsent)
            }
        }
    }

    fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service() else { return Effect::None };
        self.isr[usize::from(vector) / 32] &= !(1 << (vector % 32));
        Effect::EndOfInterrupt(vector)
    }

    fn illegal_register(&mut self, irr: &Vectors) -> u32 {
        self.error(errors::ILLEGAL_REGISTER, irr);
        0
    }

    /// Notes an error, and raises the error interrupt for one that is new.
    fn error(&mut self, bit: u32, irr: &Vectors) {
        let new = self.errors & bit == 0;
        self.errors |= bit;
        if new {
            let [.., entry] = self.lvt;
            self.raise(entry, irr);
        }
    }

    /// A local interrupt, by its LVT entry.
    fn raise(&mut self, entry: u32, irr: &Vectors) {
        let [vector, ..] = entry.to_le_bytes();
        if entry & LVT_MASKED != 0 {
            return;
        }
        if vector < FIRST_LEGAL_VECTOR {
            // The error interrupt's own vector may be the illegal one: then this is an error that is not new.
            self.error(errors::RECEIVE_ILLEGAL_VECTOR, irr);
        } else {
            irr.set(vector);
        }
    }

    /// Raises the timer's interrupt, if it has expired. Every access does so first: it finds, and changes, a local APIC that
    /// is up to date.
    pub fn tick(&mut self, now: &dyn Fn() -> Now, irr: &Vectors) {
        if self.timer.next().is_some() && self.timer.expire(now()) {
            self.raise(self.lvt[0], irr);
        }
    }

    /// When [`LocalApic::tick`] has to be called next.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timer.next()
    }
}

fn low(value: u64) -> u32 {
    let [low @ .., _, _, _, _] = value.to_le_bytes();
    u32::from_le_bytes(low)
}

fn high(value: u64) -> u32 {
    let [_, _, _, _, high @ ..] = value.to_le_bytes();
    u32::from_le_bytes(high)
}

#[cfg(test)]
mod tests;
