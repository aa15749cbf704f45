//! What guests, and whoever runs them, can do to the local APICs of a machine.

use arbitrary::{Arbitrary, Unstructured};

/// One act of, or upon, processor `cpu` (modulo their number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub struct Operation {
    /// Which processor.
    pub cpu: u8,
    /// What it does.
    pub act: Act,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Act {
    /// The guest executes an instruction, if its processor runs.
    Execute(Instruction),
    /// The processor looks at what others have left, as before every stay in the guest, and stays out.
    Look,
    /// Time passes, for all processors, ns.
    Pass(u32),
    /// Somebody outside sends: delivery mode, vector, and whom to.
    FromOutside {
        /// The vector.
        vector: u8,
        /// As in the ICR; bit 7: triggered by a level.
        delivery_mode: u8,
        /// Whom to: see [`super::compare`].
        destination: u8,
    },
    /// A device writes this message to an address with these bits 0 to 19.
    Message {
        /// Destination, redirection hint and destination mode.
        address: u32,
        /// Vector, delivery mode and trigger.
        data: u16,
    },
    /// The machine is saved, and goes on on another host, whose clock has this value.
    Migrate(u32),
}

impl Act {
    /// Whether it is something that is sent from outside: it happens to whom it is sent to, whatever `cpu` says.
    pub const fn is_sent(self) -> bool {
        match self {
            Self::FromOutside { .. } | Self::Message { .. } => true,
            Self::Execute(_) | Self::Look | Self::Pass(_) | Self::Migrate(_) => false,
        }
    }
}

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Instruction {
    /// None that the local APIC knows of.
    Nop,
    /// STI, whose shadow ends with the next instruction.
    Sti,
    /// CLI.
    Cli,
    /// IRET.
    Iret,
    /// HLT.
    Hlt,
    /// Reads the register with this number: MSR 0x800 + number, or, in xAPIC mode, 16 times that in the page.
    Read(u8),
    /// Reads the page at any offset; the width is 1, 2, 4 or 8 bytes.
    ReadPage(u16, u8),
    /// Reads any MSR.
    ReadMsr(u32),
    /// Writes the register with this number; xAPIC mode takes the lower half.
    Write(u8, u64),
    /// Writes the page at any offset; the width is 1, 2, 4 or 8 bytes.
    WritePage(u16, u8, u32),
    /// Writes any MSR.
    WriteMsr(u32, u64),
    /// Sends: an ICR of small destination, so that somebody is hit.
    Send {
        /// Bits 0 to 19 of the ICR.
        low: u32,
        /// The destination, in place for the mode.
        destination: u8,
    },
    /// Writes IA32_TSC_DEADLINE: so many cycles from now.
    ArmDeadline(u16),
    /// Writes IA32_TSC: so many cycles on, or back.
    WriteTsc(i16),
    /// Writes IA32_APIC_BASE: these of bits 8 to 11, and a page of the first megabyte.
    WriteBase(u8, u8),
    /// Writes CR8; whoever runs the guest sees it at once, or at the next exit.
    WriteCr8(u8, bool),
}

/// Starts four processors and enables their local APICs, those in x2APIC mode that are told to: what a kernel does before
/// anything becomes interesting.
pub fn bring_up(x2apic: [bool; 4]) -> Vec<Operation> {
    let execute = |cpu, instruction| Operation { cpu, act: Act::Execute(instruction) };
    let start = Act::FromOutside { vector: 8, delivery_mode: 6, destination: 0xFF };
    let mut operations = vec![Operation { cpu: 0, act: start }];
    for (cpu, x2apic) in (0..).zip(x2apic) {
        if x2apic {
            let bits = if cpu == 0 { 0b1101 } else { 0b1100 };
            operations.push(execute(cpu, Instruction::WriteBase(bits, 0)));
        }
        operations.push(execute(cpu, Instruction::Write(0x0F, 0x1FF)));
        operations.push(execute(cpu, Instruction::Write(0x37, 0xE7)));
        operations.push(execute(cpu, Instruction::Sti));
    }
    operations
}

/// What a fuzzer's bytes mean: which local APICs a kernel has brought into x2APIC mode, if it has brought them up at all, and
/// what follows.
pub type Program = (Option<[bool; 4]>, Vec<Operation>);

/// All operations of a program.
pub fn of_program((x2apic, operations): Program) -> Vec<Operation> {
    x2apic.map(bring_up).unwrap_or_default().into_iter().chain(operations).collect()
}

/// The program that bytes are. `None`: too few.
pub fn decode(bytes: &[u8]) -> Option<Program> {
    Program::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}
