//! What a guest does, and how it gets there.

use super::{CPUS, Pair};
use crate::local_apic::hypervisor::{Completion, Guest, Stay};
use crate::local_apic::operation::Instruction;
use crate::local_apic::reference::{End, Mode};
use kipi_apic::entry::{Next, Wait};

impl Pair {
    /// The processor's thread does what it does before an entry, and does not enter.
    pub(super) fn look(&mut self, cpu: usize) {
        let next = self.prepare(cpu);
        let runs = self.manual.recognise(cpu);
        assert_eq!(next != Next::Sleep, runs, "processor {cpu} executes code");
        self.going[cpu] = Some(next);
    }

    /// Whoever has looked, and then goes into the guest or to sleep, is not fetched for what came between the two. So it must not go,
    /// unless an exit comes before the guest can take that, or somebody looks at its CR8.
    pub(super) fn expect_nothing_overlooked(&self, cpu: usize) {
        let Some(next) = self.going[cpu] else { return };
        // A timer's interrupt fetches it in another way.
        if self.is_overdue(cpu) || !self.processors[cpu].is_settled(&self.service, next) {
            return;
        }
        let manual = &self.manual.cpus[cpu];
        let is_overlooked = manual.init
            || match next {
                Next::Enter(Wait::Window) => false,
                Next::Enter(Wait::LowerTpr) => manual.deliverable().is_some(),
                Next::Enter(Wait::Nothing) => manual.waits_for_no_eoi(),
                Next::Sleep => self.manual.clone().recognise(cpu),
            };
        assert!(!is_overlooked, "processor {cpu} goes, after {next:?}, and something has come");
    }

    fn prepare(&mut self, cpu: usize) -> Next {
        let now = self.now(cpu);
        let Ok(next) = self.processors[cpu].prepare(&self.service, &mut self.vcpus[cpu], &|| now);
        assert!(self.processors[cpu].is_settled(&self.service, next), "processor {cpu} after {next:?}");
        next
    }

    /// Goes to the guest's next instruction, if it gets there.
    fn enter(&mut self, cpu: usize) -> bool {
        // An entry for every interrupt that can nest, and for what is told at each.
        const ENTRIES: usize = 64;
        let arrives = (0..ENTRIES).find_map(|_| match self.prepare(cpu) {
            Next::Sleep => Some(false),
            Next::Enter(wait) => {
                self.window = wait == Wait::Window;
                match self.vcpus[cpu].run(self.window) {
                    Stay::Executes => Some(true),
                    Stay::WindowOpen => None,
                }
            }
        });
        arrives.expect("the guest comes to its next instruction, or sleeps")
    }

    /// The guest executes an instruction, if it comes to one. It may be in the guest still.
    pub(super) fn execute(&mut self, cpu: usize, in_guest: bool, instruction: Instruction) {
        let arrives = in_guest && self.vcpus[cpu].go_on(self.window) == Stay::Executes || self.enter(cpu);
        assert_eq!(arrives, self.manual.recognise(cpu), "processor {cpu} executes code");
        self.expect_equal_execution(cpu);
        assert_eq!(self.vcpus[cpu].apic_base(), self.manual.cpus[cpu].base, "the base that vCPU {cpu} knows");
        if !arrives {
            return;
        }
        let x2apic = self.manual.cpus[cpu].mode() == Mode::X2Apic;
        match instruction {
            Instruction::Nop => self.inside(cpu, End::Nop, |_| {}),
            Instruction::Sti => self.inside(cpu, End::Sti, |guest| {
                guest.shadow = !guest.interruptible;
                guest.interruptible = true;
            }),
            Instruction::Cli => self.inside(cpu, End::Cli, |guest| guest.interruptible = false),
            Instruction::Iret => self.inside(cpu, End::Iret, |guest| {
                guest.in_nmi = false;
                if let Some((_, rip, interruptible)) = guest.handlers.pop() {
                    (guest.rip, guest.interruptible) = (rip, interruptible);
                }
            }),
            Instruction::Hlt => {
                self.inside(cpu, End::Hlt, |_| {});
                self.in_guest = None;
                self.processors[cpu].halt(self.vcpus[cpu].guest().interruptible);
            }
            Instruction::Read(number) if x2apic => self.read_msr(cpu, 0x800 + u32::from(number)),
            Instruction::Read(number) => self.read_page(cpu, u16::from(number) * 16, 4),
            Instruction::ReadPage(offset, width) => self.read_page(cpu, offset, 1 << (width % 4)),
            Instruction::ReadMsr(msr) => self.read_msr(cpu, msr),
            Instruction::Write(number, value) if x2apic => self.write_msr(cpu, 0x800 + u32::from(number), value),
            Instruction::Write(number, value) => self.write_page(cpu, u16::from(number) * 16, 4, reduce(value)),
            Instruction::WritePage(offset, width, value) => self.write_page(cpu, offset, 1 << (width % 4), value),
            Instruction::WriteMsr(msr, value) => self.write_msr(cpu, msr, value),
            Instruction::Send { low, destination } if x2apic => {
                self.write_msr(cpu, 0x830, x2apic_destination(destination) << 32 | u64::from(low & 0xC_DFFF));
            }
            Instruction::Send { low, destination } => {
                self.write_page(cpu, 0x310, 4, u32::from(destination) << 24);
                self.execute(cpu, false, Instruction::WritePage(0x300, 2, low & 0xF_FFFF));
            }
            Instruction::ArmDeadline(cycles) => {
                let tsc = self.manual.tsc(cpu).wrapping_add(cycles.into());
                self.write_msr(cpu, 0x6E0, tsc);
            }
            Instruction::WriteTsc(cycles) => {
                let tsc = self.manual.tsc(cpu).saturating_add_signed(cycles.into());
                self.manual.write_tsc(cpu, tsc);
                self.emulated(cpu, End::Nop);
            }
            Instruction::WriteBase(bits, page) => {
                self.write_msr(cpu, 0x1B, u64::from(bits & 0xF) << 8 | u64::from(page) << 12);
            }
            Instruction::WriteCr8(cr8, is_seen) => self.write_cr8(cpu, cr8 & 0xF, is_seen),
        }
        self.expect_equal_execution(cpu);
        if let Instruction::WriteCr8(..) = instruction {
            // Only with this do senders learn the new priority.
            self.in_guest = None;
            self.look(cpu);
        }
    }

    /// An instruction that nobody but the guest sees.
    fn inside(&mut self, cpu: usize, end: End, effect: impl FnOnce(&mut Guest)) {
        self.in_guest = Some(cpu);
        self.vcpus[cpu].execute(effect);
        self.manual.execute(cpu, end);
    }

    /// The end of an instruction that was emulated: it has read this, or nothing, or faults.
    fn emulated(&mut self, cpu: usize, end: End) {
        self.vcpus[cpu].exit(match end {
            End::Read(value) => Completion::Read(value),
            End::Fault => Completion::Fault,
            End::Nop | End::Sti | End::Cli | End::Iret | End::Hlt => Completion::Written,
        });
        self.manual.execute(cpu, end);
    }

    fn read_page(&mut self, cpu: usize, offset: u16, width: usize) {
        let now = self.now(cpu);
        let processor = &mut self.processors[cpu];
        let address = processor.local().page() + u64::from(offset);
        let mut data = [0x5A; 8];
        let read = processor.read_mmio(&self.service, address, &mut data[..width], &|| now);
        if offset >= 4096 {
            assert_eq!(read, None, "{offset:#x} is not in the page");
            return self.emulated(cpu, End::Nop);
        }
        assert_eq!(read, Some(offset.into()));
        let expected = self.manual.read_page(cpu, offset, width);
        assert_eq!(&data[..width], expected, "processor {cpu} reads {width} bytes at {offset:#x}");
        data[width..].fill(0);
        self.emulated(cpu, End::Read(u64::from_le_bytes(data)));
    }

    fn write_page(&mut self, cpu: usize, offset: u16, width: usize, value: u32) {
        let now = self.now(cpu);
        let processor = &mut self.processors[cpu];
        let address = processor.local().page() + u64::from(offset);
        let data = u64::from(value).to_le_bytes();
        let written = processor.write_mmio(&self.service, address, &data[..width], &|| now);
        if offset >= 4096 {
            assert_eq!(written, None, "{offset:#x} is not in the page");
        } else {
            let expected = self.manual.write_page(cpu, offset, width, value);
            let written = written.expect("in the page");
            assert_eq!(written.offset, offset.into());
            assert_eq!(written.eoi.map(|eoi| eoi.vector), expected.eoi, "EOI of processor {cpu}");
            self.follow_choice(expected.choice);
        }
        self.emulated(cpu, End::Nop);
    }

    fn read_msr(&mut self, cpu: usize, msr: u32) {
        let now = self.now(cpu);
        let value = self.processors[cpu].read_msr(&self.service, msr, &|| now);
        let expected = self.manual.read_msr(cpu, msr);
        assert_eq!(value.ok(), expected.ok(), "processor {cpu} reads MSR {msr:#x}");
        self.emulated(cpu, expected.map_or(End::Fault, End::Read));
    }

    fn write_msr(&mut self, cpu: usize, msr: u32, value: u64) {
        let now = self.now(cpu);
        let written = self.processors[cpu].write_msr(&self.service, msr, value, &|| now);
        let expected = self.manual.write_msr(cpu, msr, value);
        assert_eq!(
            written.map(|eoi| eoi.map(|eoi| eoi.vector)).ok(),
            expected.as_ref().map(|outcome| outcome.eoi).ok(),
            "processor {cpu} writes {value:#x} to MSR {msr:#x}"
        );
        let end = if expected.is_ok() { End::Nop } else { End::Fault };
        self.follow_choice(expected.ok().and_then(|outcome| outcome.choice));
        self.emulated(cpu, end);
    }

    fn write_cr8(&mut self, cpu: usize, cr8: u8, is_seen: bool) {
        self.manual.write_cr8(cpu, cr8, is_seen);
        if is_seen {
            self.processors[cpu].write_cr8(cr8.into());
        } else {
            self.processors[cpu].follow_cr8(cr8.into());
        }
        self.inside(cpu, End::Nop, |_| {});
    }
}

/// As much of a value as xAPIC mode takes.
fn reduce(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A destination that may hit: one of the ids, a cluster, or everybody.
fn x2apic_destination(choice: u8) -> u64 {
    match choice {
        0xFF => 0xFFFF_FFFF,
        cluster if cluster & 0xC0 == 0xC0 => {
            // Where they are, the bits of the three ids in these clusters.
            let bits = 0b1000_1001_u16.rotate_left((cluster >> 1 & 0xF).into());
            (u64::from(cluster & 1) * 0x0012_0000) | u64::from(bits)
        }
        id => CPUS.get(usize::from(id)).map_or(id.into(), |&(id, _)| id.into()),
    }
}
