//! What software's accesses to the registers mean, by page and by MSR.

use super::effects::Effect;
use super::state::{GeneralProtection, LocalApic};
use crate::addressing::Mode;
use crate::ipi::{Delivery, Destination, Ipi};
use crate::registers::{
    CURRENT_COUNT, DFR, DIVIDE, DIVIDE_BITS, EOI, ESR, ICR, ICR_HIGH, ICR_PENDING, ID, INITIAL_COUNT, IRR, IRR_END,
    ISR, LDR, LVT_BITS, LVT_ERROR, LVT_MASKED, LVT_TIMER, PPR, SELF_IPI, SVR, SVR_BITS, SVR_ENABLE, TMR, TPR,
    TSC_DEADLINE_MSR, VERSION, X2APIC_ICR_BITS, X2APIC_MSR, X2APIC_MSR_END, errors,
};
use crate::timer::{Now, TimerMode};
use crate::vectors::Vectors;

/// Version 0x14, and the number of the last LVT entry.
const VERSION_VALUE: u32 = 5 << 16 | 0x14;

impl LocalApic {
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

    fn illegal_register(&mut self, irr: &Vectors) -> u32 {
        self.error(errors::ILLEGAL_REGISTER, irr);
        0
    }
}

pub(super) fn low(value: u64) -> u32 {
    let [low @ .., _, _, _, _] = value.to_le_bytes();
    u32::from_le_bytes(low)
}

fn high(value: u64) -> u32 {
    let [_, _, _, _, high @ ..] = value.to_le_bytes();
    u32::from_le_bytes(high)
}
