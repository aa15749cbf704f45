//! What a processor executes: which of its handlers run, and what interrupts them (SDM Vol. 3A 7.7.1, 7.8.1, 7.9, 10.4).

use super::cpu::{Cpu, State};
use super::machine::Machine;

/// What the instruction stream has done to a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Where it executes.
    pub rip: u64,
    /// What it has read last.
    pub rax: u64,
    /// IF.
    pub interruptible: bool,
    /// STI was the last instruction: neither interrupts nor NMIs come before the next.
    pub shadow: bool,
    /// An NMI was taken, and no IRET has come since.
    pub in_nmi: bool,
    /// Handlers that have not returned: vector, and where and with which IF the interrupted code goes on.
    pub handlers: Vec<(u8, u64, bool)>,
}

impl Execution {
    /// Table 11-1: after INIT.
    pub(super) fn reset() -> Self {
        Self { rip: 0xFFF0, rax: 0, interruptible: false, shadow: false, in_nmi: false, handlers: Vec::new() }
    }

    /// Through an interrupt gate.
    fn take(&mut self, vector: u8) {
        self.handlers.push((vector, self.rip, self.interruptible));
        self.rip = 0x1_0000 + u64::from(vector) * 0x100;
        self.interruptible = false;
        self.shadow = false;
    }
}

/// How an instruction ends, but for what it has done to the local APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Nop,
    Sti,
    Cli,
    Iret,
    Hlt,
    Read(u64),
    Fault,
}

impl Machine {
    /// What has reached a processor is recognised, in its order: INIT and SIPI, NMI, interrupts. Whether it then executes code.
    pub fn recognise(&mut self, cpu: usize) -> bool {
        let cpu = &mut self.cpus[cpu];
        if std::mem::take(&mut cpu.init) {
            cpu.power_up();
            cpu.execution = Execution::reset();
            cpu.state = if cpu.base & 0x100 != 0 { State::Running } else { State::WaitForSipi };
        }
        if let Some(vector) = cpu.sipi.take()
            && cpu.state == State::WaitForSipi
        {
            cpu.execution.rip = u64::from(vector) << 12;
            cpu.state = State::Running;
        }
        while cpu.take_one() {}
        cpu.state == State::Running
    }

    /// The processor executes an instruction that ends like this.
    pub fn execute(&mut self, cpu: usize, end: End) {
        let cpu = &mut self.cpus[cpu];
        let this = &mut cpu.execution;
        this.shadow = false;
        if end == End::Fault {
            this.take(13);
            return;
        }
        this.rip += 1;
        match end {
            End::Nop | End::Fault => {}
            End::Sti => {
                this.shadow = !this.interruptible;
                this.interruptible = true;
            }
            End::Cli => this.interruptible = false,
            End::Iret => {
                this.in_nmi = false;
                if let Some((_, rip, interruptible)) = this.handlers.pop() {
                    (this.rip, this.interruptible) = (rip, interruptible);
                }
            }
            End::Hlt => cpu.state = State::Halted,
            End::Read(value) => this.rax = value,
        }
    }
}

impl Cpu {
    /// Takes an NMI or an interrupt, if there is one that is not held back.
    fn take_one(&mut self) -> bool {
        let Execution { shadow, in_nmi, interruptible, .. } = self.execution;
        if self.state == State::WaitForSipi || shadow {
            return false;
        }
        let vector = if self.nmis > 0 && !in_nmi {
            self.nmis -= 1;
            self.execution.in_nmi = true;
            Some(2)
        } else if interruptible {
            self.deliverable()
        } else {
            None
        };
        let Some(vector) = vector else { return false };
        if vector != 2 {
            self.irr.remove(&vector);
            self.isr.insert(vector);
        }
        self.execution.take(vector);
        self.state = State::Running;
        true
    }
}
