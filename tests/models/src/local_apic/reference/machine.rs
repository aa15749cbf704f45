//! All processors, and the time.

use super::cpu::{Cpu, Features};

/// All processors.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Each.
    pub cpus: Vec<Cpu>,
    /// The time, ns.
    pub ns: u64,
}

impl Machine {
    /// Processors with these APIC ids and features; the first is the bootstrap processor.
    pub fn new(cpus: &[(u32, Features)]) -> Self {
        let cpus = cpus.iter().enumerate().map(|(index, &(id, features))| Cpu::new(id, index == 0, features));
        Self { cpus: cpus.collect(), ns: 0 }
    }

    /// A processor's TSC.
    pub fn tsc(&self, cpu: usize) -> u64 {
        (self.ns * 2).wrapping_add(self.cpus[cpu].tsc_offset)
    }

    /// Time passes.
    pub fn pass(&mut self, ns: u64) {
        self.ns += ns;
        for index in 0..self.cpus.len() {
            let (now, tsc) = (self.ns, self.tsc(index));
            self.cpus[index].run_timer(now, tsc);
        }
    }

    /// WRMSR of IA32_TSC: the deadline is one of the new TSC.
    pub fn write_tsc(&mut self, cpu: usize, tsc: u64) {
        self.cpus[cpu].tsc_offset = tsc.wrapping_sub(self.ns * 2);
        self.pass(0);
    }
}
