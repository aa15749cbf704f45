//! The local APIC as the manual has it (SDM Vol. 3A chapter 12), for several processors at once, written to be read next to
//! it: sets are sets, registers are a table, time is counted, and nothing is fast. It shares no code with kipi's.

mod accesses;
mod cpu;
mod machine;
mod messages;
mod processor;
mod registers;
mod timer;
mod values;

pub use accesses::{Gp, Outcome};
pub use cpu::{Cpu, Features, Mode, State};
pub use machine::Machine;
pub use messages::{Choice, Message, Whom};
pub use processor::{End, Execution};
pub use registers::{Access, REGISTERS};
