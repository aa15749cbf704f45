//! What software's accesses to the registers mean, by page and by MSR.

use super::effects::Effect;
use super::state::{GeneralProtection, LocalApic};
use crate::addressing::Mode;
use crate::capabilities::DeliveryStatus;
use crate::ipi::{Delivery, Destination, Ipi};
use crate::registers::{
    CURRENT_COUNT, DFR, DIVIDE, DIVIDE_BITS, EOI, ESR, ICR, ICR_HIGH, ICR_PENDING, ID, INITIAL_COUNT, IRR, IRR_END,
    ISR, LDR, LVT_BITS, LVT_ERROR, LVT_MASKED, LVT_READ_ONLY_BITS, LVT_TIMER, LVT_TSC_DEADLINE, PPR, SELF_IPI, SVR,
    SVR_BITS, TMR, TPR, TSC_DEADLINE_MSR, VERSION, X2APIC_ICR_BITS, X2APIC_MSR, X2APIC_MSR_END, errors,
};
use crate::requests::Requests;
use crate::timer::{Now, TimerMode};

/// Version 0x14, and the number of the last LVT entry.
const VERSION_VALUE: u32 = 5 << 16 | 0x14;
/// Registers lie so many bytes apart, and are [`WIDTH`] bytes wide (SDM Vol. 3A 12.4.1).
const STRIDE: u32 = 16;
const WIDTH: usize = 4;

impl LocalApic {
    /// A load from `offset` of the page. Of a register, the bytes that are asked for; everywhere else zeros, for that is undefined.
    /// Where there are no registers in memory, all ones.
    pub(crate) fn load(&mut self, offset: u32, data: &mut [u8], now: &dyn Fn() -> Now, requests: Requests<'_>) {
        if self.mode() != Mode::XApic {
            data.fill(0xFF);
            return;
        }
        self.tick(now, requests);
        data.fill(0);
        let first = (offset % STRIDE) as usize;
        if first + data.len() <= WIDTH {
            let register = self.read_mmio(offset - offset % STRIDE, now, requests).to_le_bytes();
            data.copy_from_slice(&register[first..first + data.len()]);
        }
    }

    fn read_mmio(&mut self, offset: u32, now: &dyn Fn() -> Now, requests: Requests<'_>) -> u32 {
        match offset {
            ID => self.id << 24,
            LDR => u32::from(self.logical_id) << 24,
            DFR => self.dfr,
            EOI => 0,
            ICR => low(self.icr),
            ICR_HIGH => high(self.icr),
            SELF_IPI => self.illegal_register(requests),
            _ => self.read(offset, now, requests).unwrap_or_else(|| self.illegal_register(requests)),
        }
    }

    /// Reads an MSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] if there is none of this number that can be read, or not in this mode.
    pub(crate) fn read_msr(
        &mut self,
        msr: u32,
        now: &dyn Fn() -> Now,
        requests: Requests<'_>,
    ) -> Result<u64, GeneralProtection> {
        self.tick(now, requests);
        if msr == TSC_DEADLINE_MSR {
            return self.has_deadline().map(|is_on| if is_on { self.timer.deadline() } else { 0 });
        }
        let value = match self.x2apic_register(msr)? {
            ID => self.id,
            LDR => self.addressing().x2apic_ldr(),
            ICR => return Ok(self.icr),
            DFR | EOI | ICR_HIGH | SELF_IPI => return Err(GeneralProtection),
            offset => self.read(offset, now, requests).ok_or(GeneralProtection)?,
        };
        Ok(value.into())
    }

    /// What reads the same in both modes.
    fn read(&self, offset: u32, now: &dyn Fn() -> Now, requests: Requests<'_>) -> Option<u32> {
        let nth = |first: u32| (offset - first) as usize / 16;
        Some(match offset {
            VERSION => VERSION_VALUE,
            TPR => self.tpr.into(),
            PPR => self.ppr().into(),
            SVR => self.svr,
            ISR..TMR => self.isr[nth(ISR)],
            TMR..IRR => requests.tmr.register(nth(TMR)),
            // What was under way when a reset came is not there.
            IRR..IRR_END => {
                if self.was_enabled {
                    requests.irr.register(nth(IRR))
                } else {
                    0
                }
            }
            ESR => self.esr,
            LVT_TIMER..=LVT_ERROR => self.lvt[nth(LVT_TIMER)],
            INITIAL_COUNT => self.timer.initial(),
            CURRENT_COUNT => self.timer.current(now()),
            DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// A store to `offset` of the page. Only an aligned one of 32 bits writes a register; what is read-only ignores it.
    pub(crate) fn store(&mut self, offset: u32, data: &[u8], now: &dyn Fn() -> Now, requests: Requests<'_>) -> Effect {
        if self.mode() != Mode::XApic {
            return Effect::None;
        }
        self.tick(now, requests);
        match data.try_into() {
            Ok(bytes) if offset.is_multiple_of(STRIDE) => {
                self.write_mmio(offset, u32::from_le_bytes(bytes), now, requests)
            }
            _ => Effect::None,
        }
    }

    fn write_mmio(&mut self, offset: u32, value: u32, now: &dyn Fn() -> Now, requests: Requests<'_>) -> Effect {
        match offset {
            // Ids are the machine's (SDM Vol. 3A 12.4.6: whether software can change one depends on the model).
            ID | VERSION | PPR | ISR..IRR_END | CURRENT_COUNT => Effect::None,
            LDR => {
                [.., self.logical_id] = value.to_le_bytes();
                Effect::None
            }
            DFR => {
                self.dfr = value | 0x0FFF_FFFF;
                Effect::None
            }
            ICR_HIGH => {
                self.icr = u64::from(value & 0xFF00_0000) << 32 | u64::from(low(self.icr));
                Effect::None
            }
            ICR => self.command(u64::from(high(self.icr)) << 32 | u64::from(value & !ICR_PENDING), requests),
            EOI => self.end_of_interrupt(requests),
            SELF_IPI => {
                self.illegal_register(requests);
                Effect::None
            }
            _ => self.write(offset, value, now, requests).unwrap_or_else(|| {
                self.illegal_register(requests);
                Effect::None
            }),
        }
    }

    /// Writes an MSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] if there is none of this number that can be written, or not in this mode, or for reserved bits.
    pub(crate) fn write_msr(
        &mut self,
        msr: u32,
        value: u64,
        now: &dyn Fn() -> Now,
        requests: Requests<'_>,
    ) -> Result<Effect, GeneralProtection> {
        self.tick(now, requests);
        if msr == TSC_DEADLINE_MSR {
            if self.has_deadline()? {
                self.timer.set_deadline(value);
                self.tick(now, requests);
            }
            return Ok(Effect::None);
        }
        let offset = self.x2apic_register(msr)?;
        let bits = match offset {
            EOI | ESR => 0,
            TPR | SELF_IPI => 0xFF,
            SVR => SVR_BITS.into(),
            ICR => match self.capabilities.icr_delivery_status {
                DeliveryStatus::Ignored => X2APIC_ICR_BITS | u64::from(ICR_PENDING),
                DeliveryStatus::Reserved => X2APIC_ICR_BITS,
            },
            LVT_TIMER..=LVT_ERROR => {
                let nth = (offset - LVT_TIMER) as usize / 16;
                (self.lvt_bits(nth) | LVT_READ_ONLY_BITS[nth]).into()
            }
            INITIAL_COUNT => u32::MAX.into(),
            DIVIDE => DIVIDE_BITS.into(),
            _ => return Err(GeneralProtection),
        };
        if value & !bits != 0 {
            return Err(GeneralProtection);
        }
        match offset {
            ICR => Ok(self.command(value & !u64::from(ICR_PENDING), requests)),
            EOI => Ok(self.end_of_interrupt(requests)),
            SELF_IPI => {
                let [vector, ..] = value.to_le_bytes();
                Ok(self.send(Ok(Ipi::new(Delivery::Fixed(vector), Destination::Itself)), requests))
            }
            _ => self.write(offset, low(value), now, requests).ok_or(GeneralProtection),
        }
    }

    /// What is written alike in both modes. `None`: there is no such register.
    fn write(&mut self, offset: u32, value: u32, now: &dyn Fn() -> Now, requests: Requests<'_>) -> Option<Effect> {
        let mut effect = Effect::None;
        match offset {
            TPR => [self.tpr, ..] = value.to_le_bytes(),
            SVR => {
                self.svr = value & SVR_BITS;
                if !self.is_software_enabled() {
                    self.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
                } else if !self.was_enabled {
                    self.was_enabled = true;
                    effect = Effect::FirstEnable;
                }
            }
            // A write shows the errors since the last one (SDM Vol. 3A 12.5.3).
            ESR => (self.esr, self.errors) = (self.errors, 0),
            LVT_TIMER..=LVT_ERROR => {
                let nth = (offset - LVT_TIMER) as usize / 16;
                let masked = if self.is_software_enabled() { 0 } else { LVT_MASKED };
                self.lvt[nth] = value & self.lvt_bits(nth) | masked;
                if offset == LVT_TIMER {
                    self.timer.set_mode(TimerMode::of_lvt(self.lvt[nth]));
                }
            }
            INITIAL_COUNT => self.timer.set_initial(value, now()),
            DIVIDE => self.timer.set_divide(value & DIVIDE_BITS, now()),
            _ => return None,
        }
        self.tick(now, requests);
        Some(effect)
    }

    /// The bits of the `nth` LVT entry that software may write.
    fn lvt_bits(&self, nth: usize) -> u32 {
        let reserved = if nth == 0 && !self.capabilities.tsc_deadline { LVT_TSC_DEADLINE } else { 0 };
        LVT_BITS[nth] & !reserved
    }

    /// Whether IA32_TSC_DEADLINE does something. With the local APIC switched off it reads zero and ignores writes, as KVM's.
    ///
    /// # Errors
    /// [`GeneralProtection`] if CPUID does not show it.
    fn has_deadline(&self) -> Result<bool, GeneralProtection> {
        if self.capabilities.tsc_deadline { Ok(self.mode() != Mode::Disabled) } else { Err(GeneralProtection) }
    }

    /// The register of an x2APIC MSR.
    fn x2apic_register(&self, msr: u32) -> Result<u32, GeneralProtection> {
        let is_one = self.mode() == Mode::X2Apic && (X2APIC_MSR..=X2APIC_MSR_END).contains(&msr);
        if is_one { Ok((msr - X2APIC_MSR) << 4) } else { Err(GeneralProtection) }
    }

    fn illegal_register(&mut self, requests: Requests<'_>) -> u32 {
        self.error(errors::ILLEGAL_REGISTER, requests);
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
