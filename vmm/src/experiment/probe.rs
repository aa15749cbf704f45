//! The proof that a route works: one call that counts.

use super::machine::{Error, GivenUp, Machine};
use super::native::NativeMachine;
use crate::config::routes::{self, Route, Spec};
use crate::config::{CellId, Interface, LocalApics};
use crate::events::recording::Recording;
use crate::guest::blocks::{self, BlockSpec};
use crate::guest::session::{self, Limits, Session};
use crate::vm::{self, ApicIds, Hypervisor, VmConfig, image};
use guest_stub::abi::{Destination, Worker};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const VCPUS: usize = 2;
const LIMITS: Limits = Limits { deadline: Duration::from_secs(4), settle: Duration::ZERO };

/// Makes one call on a fresh machine of so many vCPUs, over the first route here whose interrupts local APICs in KVM deliver. The
/// vCPUs' threads, as the kernel numbered them.
pub(super) fn make_a_call(hypervisor: &Hypervisor, vcpus: usize, interrupted: &AtomicBool) -> Result<Vec<u32>, Error> {
    let mut session = boot(hypervisor, vcpus, LocalApics::Kernel, Interface::Kvm, interrupted)?;
    blocks::run(&mut session, &block(routes::of(routes::usual(hypervisor.offers_to(&[]))), vcpus, 1), None)?;
    Ok((0..vcpus).filter_map(|vcpu| session.vm().thread_id(vcpu)).collect())
}

/// Makes one call over `route` on a fresh machine of two vCPUs, or natively on two of `cpus`. `kvm` is asked for in the first case
/// only.
///
/// # Errors
/// Whatever goes wrong.
pub fn probe<'h>(
    kvm: impl FnOnce() -> Result<&'h Hypervisor, vm::Error>,
    route: Route,
    cpus: &[usize],
    interrupted: &AtomicBool,
) -> Result<(), Error> {
    let route = routes::of(route);
    match route.local_apics() {
        Some(local_apics) => in_guest(kvm().map_err(session::Error::from)?, route, local_apics, interrupted),
        None => natively(route, cpus, interrupted),
    }
}

fn in_guest(
    hypervisor: &Hypervisor,
    route: &Spec,
    local_apics: LocalApics,
    interrupted: &AtomicBool,
) -> Result<(), Error> {
    let mut session = boot(hypervisor, VCPUS, local_apics, route.interface(), interrupted)?;
    blocks::run(&mut session, &block(route, VCPUS, 1), None)?;
    Ok(())
}

fn boot<'a>(
    hypervisor: &Hypervisor,
    vcpus: usize,
    local_apics: LocalApics,
    interface: Interface,
    interrupted: &'a AtomicBool,
) -> Result<Session<'a>, Error> {
    let config = VmConfig {
        vcpus,
        ids: ApicIds::Consecutive,
        local_apics,
        interface,
        pin: &[],
        cpus: 1,
        image: image::EMBEDDED,
        halt_poll_ns: None,
        tsc_shifts: &[],
    };
    Ok(Session::boot(hypervisor, &config, LIMITS, interrupted)?)
}

/// Whoever else uses these CPUs may keep some calls from counting, but hardly all.
fn natively(route: &Spec, cpus: &[usize], interrupted: &AtomicBool) -> Result<(), Error> {
    const ROUNDS: usize = 100;
    let block = NativeMachine::start(VCPUS, cpus, LIMITS, interrupted)?.run_block(&block(route, VCPUS, ROUNDS))?;
    if block.rounds.is_empty() {
        let silence = format!("its target left its CPU in each of {ROUNDS} calls, or was not interrupted");
        return Err(Error::GivenUp(Box::new(GivenUp { silence, block })));
    }
    Ok(())
}

fn block(route: &Spec, vcpus: usize, rounds: usize) -> BlockSpec {
    let cell = CellId::broadcast(route.id, Destination::AllButSelf, route.probe_state, vcpus);
    BlockSpec {
        cell: CellId { call: route.probe_call(), ..cell },
        initiator: 0,
        worker: Worker::Stamp,
        argument: 0,
        recording: Recording::COUNTS,
        warmup: 0,
        rounds,
    }
}
