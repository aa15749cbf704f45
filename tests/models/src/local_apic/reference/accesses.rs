//! What software's accesses to the registers mean, by page, by MSR and by CR8.

use super::cpu::{Cpu, Mode, Timer};
use super::machine::Machine;
use super::messages::{Choice, Message, Whom};
use super::registers::Access::{No, Ro, Rw, Wo};
use super::registers::{ICR, ICR_HIGH, Known, TPR, known, read_only_bits, x2apic_register};

/// A #GP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gp;

/// What a write did beside changing registers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// A message was sent that one of several gets.
    pub choice: Option<Choice>,
    /// A level-triggered interrupt ended.
    pub eoi: Option<u8>,
}

impl From<Option<Choice>> for Outcome {
    fn from(choice: Option<Choice>) -> Self {
        Self { choice, eoi: None }
    }
}

impl Machine {
    /// A load of so many bytes from the page. 12.4.1: what is not in the four bytes of one register is undefined, and zero here. Where
    /// no registers are, nobody answers: all ones.
    pub fn read_page(&mut self, cpu: usize, offset: u16, width: usize) -> Vec<u8> {
        let ns = self.ns;
        let cpu = &mut self.cpus[cpu];
        if cpu.mode() != Mode::XApic {
            return vec![0xFF; width];
        }
        let byte = usize::from(offset % 16);
        if byte + width > 4 {
            return vec![0; width];
        }
        let value = match known(offset / 16) {
            Known::Register(number, Ro | Rw) => low(cpu.read(number, ns)),
            Known::Register(_, Wo) => 0,
            Known::Register(_, No) | Known::Nothing => {
                cpu.error(7);
                0
            }
        };
        value.to_le_bytes()[byte..byte + width].to_vec()
    }

    /// A store of so many bytes to the page. 12.4.1: 32 bits, at a multiple of 16.
    pub fn write_page(&mut self, cpu: usize, offset: u16, width: usize, value: u32) -> Outcome {
        let ns = self.ns;
        if self.cpus[cpu].mode() != Mode::XApic || width != 4 || !offset.is_multiple_of(16) {
            return Outcome::default();
        }
        match known(offset / 16) {
            Known::Register(_, Ro) => {}
            Known::Register(_, No) | Known::Nothing => self.cpus[cpu].error(7),
            Known::Register(0x0B, ..) => return Outcome { choice: None, eoi: self.cpus[cpu].end_of_interrupt() },
            Known::Register(ICR_HIGH, ..) => {
                let cpu = &mut self.cpus[cpu];
                cpu.icr = u64::from(value & 0xFF00_0000) << 32 | cpu.icr & 0xFFFF_FFFF;
            }
            Known::Register(ICR, ..) => {
                // Bit 12 is read-only; the other reserved bits keep what is written.
                let icr = self.cpus[cpu].icr >> 32 << 32 | u64::from(value & !(1 << 12));
                return self.command(cpu, icr, u32::from(icr.to_le_bytes()[7]), 0xFF).into();
            }
            Known::Register(number, ..) => {
                self.cpus[cpu].write(number, value, ns);
                self.pass(0);
            }
        }
        Outcome::default()
    }

    /// RDMSR.
    ///
    /// # Errors
    /// [`Gp`].
    pub fn read_msr(&mut self, cpu: usize, msr: u32) -> Result<u64, Gp> {
        let ns = self.ns;
        let cpu = &mut self.cpus[cpu];
        match msr {
            0x1B => return Ok(cpu.base),
            0x6E0 if !cpu.features.tsc_deadline => return Err(Gp),
            0x6E0 => {
                return Ok(match cpu.timer {
                    Timer::Deadline(deadline) if cpu.mode() != Mode::Disabled => deadline,
                    _ => 0,
                });
            }
            _ => {}
        }
        let (number, access, _) = x2apic_register(msr).filter(|_| cpu.mode() == Mode::X2Apic).ok_or(Gp)?;
        if matches!(access, Ro | Rw) { Ok(cpu.read(number, ns)) } else { Err(Gp) }
    }

    /// WRMSR.
    ///
    /// # Errors
    /// [`Gp`].
    pub fn write_msr(&mut self, cpu: usize, msr: u32, value: u64) -> Result<Outcome, Gp> {
        let ns = self.ns;
        let this = &mut self.cpus[cpu];
        match msr {
            0x1B => return this.write_base(value).map(|()| Outcome::default()),
            0x6E0 if !this.features.tsc_deadline => return Err(Gp),
            0x6E0 => {
                if this.timer_mode() == 2 && this.mode() != Mode::Disabled {
                    this.timer = if value == 0 { Timer::Stopped } else { Timer::Deadline(value) };
                }
                self.pass(0);
                return Ok(Outcome::default());
            }
            _ => {}
        }
        let (number, access, bits) = x2apic_register(msr).filter(|_| this.mode() == Mode::X2Apic).ok_or(Gp)?;
        let bits = u64::from(bits & !this.missing_bits(number) | read_only_bits(number));
        let bits = match number {
            ICR if this.features.icr_bit_12_reserved => bits | 0xFFFF_FFFF << 32,
            ICR => bits | 0xFFFF_FFFF << 32 | 1 << 12,
            _ => bits,
        };
        if !matches!(access, Wo | Rw) || value & !bits != 0 {
            return Err(Gp);
        }
        match number {
            0x0B => return Ok(Outcome { choice: None, eoi: this.end_of_interrupt() }),
            ICR => return Ok(self.command(cpu, value & !(1 << 12), high(value), 0xFFFF_FFFF).into()),
            0x3F => {
                let vector = value.to_le_bytes()[0];
                let message = Message { delivery_mode: 0, vector, level: false, whom: Whom::Itself };
                return Ok(self.send(Some(cpu), message).into());
            }
            _ => {
                this.write(number, low(value), ns);
                self.pass(0);
            }
        }
        Ok(Outcome::default())
    }

    /// MOV to CR8: 12.8.6. A write that nobody sees, of what the TPR says already, leaves its subclass.
    pub fn write_cr8(&mut self, cpu: usize, cr8: u8, is_seen: bool) {
        let tpr = self.cpus[cpu].registers.entry(TPR).or_default();
        if is_seen || u32::from(cr8) != *tpr >> 4 {
            *tpr = u32::from(cr8) << 4;
        }
    }
}

impl Cpu {
    /// WRMSR of IA32_APIC_BASE (figure 12-27). What is switched off keeps its registers.
    fn write_base(&mut self, value: u64) -> Result<(), Gp> {
        let (enable, extended) = (value >> 11 & 1 == 1, value >> 10 & 1 == 1);
        let reserved = value & 0xFF != 0 || value & 0x200 != 0 || value >> self.features.address_bits != 0;
        let step_exists = match self.mode() {
            Mode::Disabled => !extended,
            Mode::XApic => enable || !extended,
            Mode::X2Apic => enable == extended,
        };
        if reserved || !step_exists || extended && !self.features.x2apic {
            return Err(Gp);
        }
        self.base = value;
        Ok(())
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).expect("32 bits")
}

fn high(value: u64) -> u32 {
    u32::try_from(value >> 32).expect("32 bits")
}
