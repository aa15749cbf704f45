//! Blocks of measured rounds.

pub use super::block_spec::BlockSpec;

use super::block_spec::Initiator;
use super::competitors::{Competed, Competitors};
use super::error::GivenUp;
use super::host_blocks;
use super::recording::{BlockRecorder, observed_exits};
use super::rounds::{self, Ended};
use super::session::{Error, Session, word};
use crate::config::{Call, routes};
use crate::events::kernel::Tracer;
use crate::events::samples::Block;
use crate::host::watch::{Plan, Watch};
use guest_stub::abi::{TargetState, UserPage, command};
use std::mem::offset_of;
use std::time::Duration;

/// The kernel's account of a wait may lack so much that a competitor's stamps have: it is kept by another clock.
const AT_A_SWITCH: Duration = Duration::from_micros(2);

/// Runs one block, on a machine of `spec.cell.vcpus`. `tracer` records the kernel's events, where they are asked for.
///
/// # Errors
/// Every variant of [`enum@Error`].
pub fn run(session: &mut Session<'_>, spec: &BlockSpec, tracer: Option<&Tracer>) -> Result<Block, Error> {
    debug_assert_eq!(spec.cell.vcpus, session.vcpus(), "the machine's cell");
    let recorder = BlockRecorder::start(session, spec, tracer)?;
    if let Some(watch) = session.watch_mut() {
        watch.begin();
    }
    let competitors = Competitors::start(session, spec)?;
    if spec.cell.target_state == TargetState::Out {
        tell_out(session)?;
        // Those of an earlier block.
        session.take_outs();
    }
    let ended = match spec.initiator() {
        Initiator::Vcpu(_) => run_in_guest(session, spec),
        Initiator::Host => host_blocks::run(session, spec),
    };
    let competed = competitors.end(session);
    let ended = ended?;
    let Competed { absences, waited, planned } = competed?;
    let plan = Plan { competitors: planned, initiator_sleeps: !spec.cell.wait.is_spin() };
    let disturbances = session.watch_mut().map(|watch| watch.end_as_planned(plan, spec.initiator().vcpu()));
    let mut found = recorder.stop(session)?;
    let exits: Vec<_> = found.stays.iter().map(|stays| observed_exits(session, stays)).collect();
    let sample = |vcpu, number| rounds::sample(session, vcpu, number);
    let mut rounds = rounds::read(&sample, spec, &ended, &exits)?;
    match spec.cell.target_state {
        TargetState::Spin | TargetState::User | TargetState::Halt | TargetState::Masked => {}
        TargetState::Out => rounds::assign_absences(&mut rounds, &session.take_outs(), &session.vm().tsc().clock),
        TargetState::Preempted => {
            rounds::assign_absences(&mut rounds, &absences, &session.vm().tsc().clock);
            let waited: Vec<Option<u64>> = waited.into_iter().map(|waited| Some(session.cycles(waited?))).collect();
            rounds::limit_absences(&mut rounds, &absences, &waited, session.cycles(AT_A_SWITCH));
        }
    }
    let mut block = rounds::assess(spec, rounds, &ended, std::mem::take(&mut found.exits), &found.events);
    if !session.limits().tell_lost_from_slow() {
        block.integrity.lost = 0;
    }
    found.complete(&mut block);
    block.x2apic = routes::of(spec.cell.route).is_in_x2apic(session.vm().has_x2apic());
    block.disturbances = disturbances.unwrap_or_default();
    if let Some(cpu) = &mut block.cpu {
        cpu.modes = session.watch().and_then(Watch::modes);
    }
    match ended.given_up {
        None => Ok(block),
        Some(diagnosis) => Err(Error::GivenUp(Box::new(GivenUp { diagnosis, block }))),
    }
}

/// Tells each vCPU for how long its exits are to keep it out in state `out`.
fn tell_out(session: &Session<'_>) -> Result<(), Error> {
    let cycles = u32::try_from(session.cycles(session.out())).unwrap_or(u32::MAX);
    (0..session.vcpus()).try_for_each(|vcpu| session.set_user_word(vcpu, offset_of!(UserPage, out_cycles), cycles))
}

pub(super) fn run_in_guest(session: &mut Session<'_>, spec: &BlockSpec) -> Result<Ended, Error> {
    let limits = session.limits();
    let asked = spec.all_rounds();
    let route = routes::of(spec.cell.route).number_in_guest();
    let (destination, target_state) = (spec.cell.destination as u32, spec.cell.target_state as u32);
    let (initiator, rounds) = (word(spec.initiator), word(asked));
    let (settle, deadline) = (session.cycles(spec.settle(limits.settle)), session.cycles(limits.deadline));
    let wait = spec.cell.wait as u32;
    let counted_from = if spec.is_marked() { word(spec.warmup) } else { u32::MAX };
    let ended = match spec.cell.call {
        Call::Broadcast => {
            let (worker, observe, argument) = (spec.worker as u32, spec.is_observed().into(), spec.argument);
            let command = command::Block {
                route,
                destination,
                target_state,
                worker,
                observe,
                initiator,
                rounds,
                argument,
                counted_from,
                wait,
                delay_instructions: session.delay_instructions(),
                settle,
                deadline,
            };
            session.run(&command, "broadcasting", limits.deadline)
        }
        Call::Ping => {
            let command =
                command::Pings { route, destination, target_state, initiator, rounds, counted_from, settle, deadline };
            session.run(&command, "pinging", limits.deadline)
        }
    };
    match ended {
        Ok(report) => Ended::done(&report, asked),
        Err(Error::Silent(diagnosis)) => Ended::silent(*diagnosis, asked),
        Err(error) => Err(error),
    }
}
