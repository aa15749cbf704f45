//! What a processor does with INIT, SIPI and NMI, with its local APIC's base and with its clock: vCPU 0 does it to vCPU 1, and
//! looks. A file a question; [`bsp`] is what vCPU 0 has for all of them, [`ap`] what vCPU 1 does, [`probe`] where it starts.
//!
//! The machine is of no more use afterwards.

mod ap;
mod base;
mod bsp;
mod clock;
mod garbage;
mod handlers;
mod messages;
mod nmis;
mod probe;
mod puppet;
mod reset;
mod sipis;
mod starts;

use crate::activity;
use crate::processor::Private;
use crate::shared;
pub(crate) use ap::{is_about, take_part};
use bsp::Bsp;
use clock::By;
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
    // SAFETY: the other processors sleep, and wake up to a gate that is there already.
    unsafe { handlers::install() };
    ap::prepare(job, route);
    // One that is stuck has noted why.
    let _ = match question {
        Question::Start => starts::out_of(&mut bsp, job),
        Question::State => reset::state(&mut bsp, route),
        Question::NmiBeforeInit => nmis::before_init(&mut bsp),
        Question::NmiBehindNmi => nmis::behind_another(&mut bsp),
        Question::NmiPair => nmis::pair(&mut bsp),
        Question::NmisInService => nmis::in_service(&mut bsp),
        Question::HaltInNmi => nmis::halt_in_handler(&mut bsp),
        Question::NmiFirst => nmis::before_an_interrupt(&mut bsp),
        Question::NmiBeforeSipi => nmis::before_sipi(&mut bsp),
        Question::TwoSipis => sipis::two(&mut bsp),
        Question::SipiWhileRunning => sipis::while_running(&mut bsp),
        Question::BaseOffAndOn => base::off_and_on(&mut bsp),
        Question::BaseBrieflyOff => base::briefly_off(&mut bsp),
        Question::BaseToX2Apic => base::to_x2apic(&mut bsp),
        Question::BaseRefused => base::refused(&mut bsp),
        Question::TscForward => clock::forward(&mut bsp, By::Tsc),
        Question::TscBack => clock::back(&mut bsp, By::Tsc),
        Question::TscAdjustForward => clock::forward(&mut bsp, By::TscAdjust),
        Question::TscAdjustBack => clock::back(&mut bsp, By::TscAdjust),
        Question::NarrowStores => messages::narrow_stores(&mut bsp),
        Question::LowestPriority => messages::lowest_priority(&mut bsp),
        Question::OtherCluster => messages::other_cluster(&mut bsp),
    };
    shared::tell_findings(bsp.findings());
    Some(activity::report(Status::Done))
}
