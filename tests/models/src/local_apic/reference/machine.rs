//! All processors, the time, and what reaches a processor.

use super::cpu::{Cpu, State};

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
