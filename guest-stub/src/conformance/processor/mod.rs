//! What a processor does with INIT, SIPI and NMI, with its local APIC's base and with its clock: vCPU 0 does it to vCPU 1, and
//! looks. A file a question; [`bsp`] is what vCPU 0 has for all of them, [`ap`] what vCPU 1 does, [`probe`] where it starts.
//!
//! The machine is of no more use afterwards.

mod ap;
mod bsp;
mod probe;
mod starts;

use crate::activity;
use crate::processor::Private;
use crate::shared;
pub(crate) use ap::{is_about, take_part};
use bsp::Bsp;
use guest_stub::abi::command::Processor;
use guest_stub::abi::{Fault, GuestRoute, Job, Question, Report, Status};

/// A test could not go on. What keeps it from that has been noted.
struct Stuck;

/// vCPU 0's part; the others are asleep. `None`: the command is not valid.
pub(crate) fn lead(private: &'static Private, processors: usize, command: &Processor) -> Option<Report> {
    if processors <= ap::INDEX {
        return None;
    }
    let question = Question::from_wire(command.question)?;
    let job = Job::from_wire(command.job)?;
    let route = GuestRoute::from_wire(command.route)?;
    let mut bsp = Bsp::new(private, command, route, Fault::from_wire(command.fault)?);
    ap::prepare(job, route);
    // One that is stuck has noted why.
    let _ = match question {
        Question::Start => starts::out_of(&mut bsp, job),
    };
    shared::tell_findings(bsp.findings());
    Some(activity::report(Status::Done))
}
