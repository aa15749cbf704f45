//! What software's accesses to the registers mean, by page, by MSR and by CR8.

use super::cpu::{Mode, Timer};
use super::machine::Machine;
use super::messages::{Choice, Message, Whom};
use super::registers::Access::{No, Ro, Rw, Wo};
use super::registers::{ICR, ICR_HIGH, Known, TPR, known, x2apic_register};

/// A #GP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gp;

impl Machine {
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
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).expect("32 bits")
}

fn high(value: u64) -> u32 {
    u32::try_from(value >> 32).expect("32 bits")
}
