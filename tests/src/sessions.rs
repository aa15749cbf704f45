//! Virtual machines for tests, and guests that run on them.

use kipi::config::routes::{self, Route};
use kipi::config::{Interface, LocalApics};
use kipi::events::samples::Block;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Limits, Session};
use kipi::vm::{ApicIds, Hypervisor, VmConfig};
use std::sync::atomic::AtomicBool;
use std::thread;

/// The flag of a session that nobody interrupts.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// The configuration of a machine of `vcpus` vCPUs on all CPUs, and kipi's own image.
pub fn machine(vcpus: usize) -> VmConfig<'static> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    VmConfig {
        vcpus,
        ids: ApicIds::Consecutive,
        local_apics: LocalApics::Kernel,
        interface: Interface::Kvm,
        pin: &[],
        cpus,
        image: kipi::vm::image::EMBEDDED,
        halt_poll_ns: None,
        tsc_shifts: &[],
    }
}

/// As [`machine`], with the local APICs and the interface that a route needs.
///
/// # Panics
/// If it needs no virtual machine.
pub fn machine_of(route: Route, vcpus: usize) -> VmConfig<'static> {
    let route = routes::of(route);
    let local_apics = route.local_apics().expect("a guest's route");
    VmConfig { local_apics, interface: route.interface(), ..machine(vcpus) }
}

/// A guest whose processors are all up, and which nobody interrupts.
///
/// # Panics
/// If it does not boot.
pub fn boot(hypervisor: &Hypervisor, config: &VmConfig<'static>, limits: Limits) -> Session<'static> {
    Session::boot(hypervisor, config, limits, &NEVER).unwrap_or_else(|error| {
        // Not all of the configuration: the image is in it.
        let VmConfig { vcpus, local_apics, interface, pin, .. } = config;
        panic!("{vcpus} vCPUs, local APICs {local_apics:?}, interface {interface:?}, CPUs {pin:?}: {error}")
    })
}

/// The first block that is enough: a host that is busy elsewhere may keep targets from their state, so that no round counts, or few.
/// `is_enough` sees every block that is run, and may assert what is true of each.
///
/// # Panics
/// If a block fails, or none is enough.
pub fn block_that(session: &mut Session<'_>, spec: &BlockSpec, is_enough: impl Fn(&Block) -> bool) -> Block {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        let block = blocks::run(session, spec, None).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
        if is_enough(&block) {
            return block;
        }
    }
    panic!("{spec:?}: in {TRIES} blocks, too few rounds found every target in its state");
}
