//! A test of what vCPU 1 does with INIT, SIPI, NMI and the like, which vCPU 0 makes.

use super::session::{Error, Session};
use crate::config::routes::{self, Route};
use crate::events::clock::cycles;
use crate::vm::wire;
use guest_stub::abi::{self, CommandPage, Fault, Findings, Job, Question, command};
use std::mem::offset_of;
use std::time::Duration;
use vm_memory::GuestAddress;

/// What is to be tested.
#[derive(Debug, Clone, Copy)]
pub struct ProcessorSpec {
    /// What vCPU 0 asks.
    pub question: Question,
    /// What vCPU 1 does meanwhile.
    pub job: Job,
    /// Whether the local APICs are in xAPIC or x2APIC mode.
    pub route: Route,
    /// How often.
    pub rounds: u32,
    /// Of random delays.
    pub seed: u32,
    /// What is to go wrong.
    pub fault: Fault,
    /// How long vCPU 0 waits for what must happen.
    pub patience: Duration,
    /// How long it waits for what must not.
    pub quiet: Duration,
}

/// Makes the test. The session is of no more use afterwards.
///
/// # Errors
/// Every variant of [`enum@Error`] but [`Error::GivenUp`]: a processor that goes astray ends in most of them.
pub fn ask(session: &mut Session<'_>, spec: &ProcessorSpec) -> Result<Findings, Error> {
    let tsc_khz = session.tsc_khz();
    let command = command::Processor {
        question: spec.question as u32,
        job: spec.job as u32,
        route: routes::of(spec.route).number_in_guest(),
        rounds: spec.rounds,
        seed: spec.seed,
        fault: spec.fault as u32,
        patience: cycles(spec.patience, tsc_khz),
        quiet: cycles(spec.quiet, tsc_khz),
    };
    session.run(&command, "testing a processor", spec.patience)?;
    let address = abi::COMMAND_PAGE + offset_of!(CommandPage, findings) as u64;
    Ok(wire::read(session.vm().memory(), GuestAddress(address))?)
}
