//! What a guest may do that the VMM answers or reads.

use arbitrary::{Arbitrary, Unstructured};
#[cfg(doc)]
use guest_stub::abi::Status;
use guest_stub::abi::command::Command;
use guest_stub::abi::{self, BugCheck, CommandPage, Report, Sample, UserPage, area};
use std::mem::{offset_of, size_of};

/// What the vCPUs of a machine of so many (modulo [`Script::MOST`]) do, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How many vCPUs, less one.
    pub vcpus: u8,
    /// Where their local APICs are.
    pub user_space: bool,
    /// What the VMM believes to have asked for: a number of a cell, and rounds to throw away.
    pub asked: (u8, u8),
    /// What they do.
    pub acts: Vec<Act>,
}

/// All bytes are acts: a list of arbitrary's own ends after each act in one of two cases, and a long one never comes.
impl Arbitrary<'_> for Script {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let [vcpus, user_space, number, warmup] = bytes.arbitrary()?;
        let mut acts = Vec::new();
        while !bytes.is_empty() {
            acts.push(bytes.arbitrary()?);
        }
        Ok(Self { vcpus, user_space: user_space & 1 == 1, asked: (number, warmup), acts })
    }
}

impl Script {
    /// The most vCPUs of a machine.
    pub const MOST: u8 = 5;
}

/// What one vCPU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Act {
    /// Writes to a port.
    Out(u8, Port, [u8; 5], Width),
    /// Reads from a port.
    In(u8, Port, Width),
    /// Writes to or reads from an address where no memory is.
    Access(u8, u64, bool),
    /// Writes to memory.
    Write(Place, u64),
    /// Asks for an interrupt by a message word that could be right: vector, kind, and target.
    Message(u8, u8, u8, u8),
    /// Writes samples and a report that could be true, but for one word, and rings the doorbell.
    Block(ReportedBlock),
}

/// A block of rounds as vCPU 0 reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub struct ReportedBlock {
    /// How it ended: a [`Status`], by its number (modulo 7), or none.
    pub status: u8,
    /// How many rounds were completed.
    pub rounds: u8,
    /// Which vCPU's sample of which round is wrong, if there is such a one, and in which word.
    pub wrong: (u8, u8, u8),
    /// What it has there.
    pub value: u64,
}

/// A port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Port {
    /// One of the ABI's, by its place in [`Port::OF_ABI`] (modulo their number).
    Known(u8),
    /// Any.
    Any(u16),
}

impl Port {
    /// Those that mean something.
    pub const OF_ABI: [u16; 12] = [
        abi::PORT_DOORBELL,
        abi::PORT_MSI,
        abi::PORT_PARK,
        abi::PORT_UNPARK,
        abi::PORT_BUG_CHECK,
        abi::PORT_OBSERVE,
        abi::PORT_YIELD,
        abi::PORT_STEP,
        abi::PORT_MARK,
        abi::PORT_OUT,
        abi::PORT_NO_EFFECT,
        abi::PORT_IN_KVM,
    ];

    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::Known(index) => Self::OF_ABI[usize::from(index) % Self::OF_ABI.len()],
            Self::Any(number) => number,
        }
    }
}

/// How many bytes an instruction transfers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Width {
    /// OUT DX, AL.
    Byte,
    /// OUT DX, AX.
    Word,
    /// OUT DX, EAX.
    Double,
    /// OUTSB with a repeat count, which KVM hands over at once.
    Repeated(u8),
}

impl Width {
    /// In bytes: at most 5.
    pub fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Double => 4,
            Self::Repeated(count) => usize::from(count % 6),
        }
    }
}

/// A place in memory that the VMM reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Place {
    /// In the report.
    Report(u8),
    /// In the bug check.
    BugCheck(u8),
    /// In the VMM's own command.
    Command(u16),
    /// In a vCPU's user page.
    UserPage(u8, u8),
    /// In a sample of a vCPU's ring.
    Sample(u8, u8, u8),
    /// Anywhere.
    Any(u32),
}

impl Place {
    /// Its guest-physical address, in a machine of so many vCPUs.
    pub fn address(self, vcpus: u8) -> u64 {
        let area = |vcpu: u8| abi::vcpu_area(usize::from(vcpu % vcpus));
        let within = |offset: usize, size: usize, at: u16| (offset + usize::from(at) % size) as u64;
        match self {
            Self::Report(at) => {
                abi::COMMAND_PAGE + within(offset_of!(CommandPage, report), size_of::<Report>(), at.into())
            }
            Self::BugCheck(at) => {
                abi::COMMAND_PAGE + within(offset_of!(CommandPage, bug_check), size_of::<BugCheck>(), at.into())
            }
            Self::Command(at) => abi::COMMAND_PAGE + within(offset_of!(CommandPage, command), size_of::<Command>(), at),
            Self::UserPage(vcpu, at) => area(vcpu) + area::USER + within(0, size_of::<UserPage>(), at.into()),
            Self::Sample(vcpu, round, at) => {
                let sample = usize::from(round) * size_of::<Sample>();
                area(vcpu) + area::RING + within(sample, size_of::<Sample>(), at.into())
            }
            Self::Any(address) => u64::from(address) % abi::memory_size(vcpus.into()),
        }
    }
}
