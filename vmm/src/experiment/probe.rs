//! The proof that a route works: one call.

use crate::config::CellId;
use crate::config::routes::{self, Route};
use crate::events::recording::Recording;
use crate::guest::blocks::{self, BlockSpec};
use crate::guest::session::{self, Session};
use crate::vm::image;
use crate::vm::{ApicIds, Hypervisor, VmConfig};
use guest_stub::abi::{Destination, Worker};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Makes one broadcast call over `route` on a fresh machine of two vCPUs.
///
/// # Errors
/// Whatever goes wrong.
pub fn probe(hypervisor: &Hypervisor, route: Route, interrupted: &AtomicBool) -> Result<(), session::Error> {
    let config = VmConfig {
        vcpus: 2,
        ids: ApicIds::Consecutive,
        local_apics: routes::of(route).local_apics,
        pin: &[],
        cpus: 1,
        image: image::EMBEDDED,
        halt_poll_ns: None,
        tsc_shifts: &[],
    };
    let limits = session::Limits { deadline: Duration::from_secs(4), settle: Duration::ZERO };
    let mut session = Session::boot(hypervisor, &config, limits, interrupted)?;
    let (destination, target_state) = (Destination::AllButSelf, routes::of(route).probe_state);
    let cell = CellId::broadcast(route, destination, target_state, 2);
    let spec = BlockSpec {
        cell,
        initiator: 0,
        worker: Worker::Stamp,
        argument: 0,
        recording: Recording::COUNTS,
        warmup: 0,
        rounds: 1,
    };
    blocks::run(&mut session, &spec, None).map(|_| ())
}
