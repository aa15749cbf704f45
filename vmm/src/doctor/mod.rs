//! What this host offers: every check, its verdict, and the way out.

#![deny(clippy::wildcard_enum_match_arm)]

mod checks;
mod verdicts;

use crate::config::routes::{self, Route};
use crate::host::{self, Sources};
use crate::results::acceleration::Acceleration;
use crate::results::doctor::{DOCTOR_SCHEMA, Device, DeviceStatus, Doctor, EXIT_READY, EXIT_UNFIT, Offer, Verdict};
use crate::results::host::Facts;
use crate::vm::device::Error;
use crate::vm::offers;
use std::path::Path;

/// Examines this host for a virtual machine of `vcpus_wanted` vCPUs on the KVM device `device`.
///
/// `probe` makes one call over a route and says why it failed. No route is believed to work without it, and
/// it is not called for a route that cannot work. `accelerations` says whether the processor accelerates local APICs. The document's
/// command line is the caller's to fill in.
pub fn examine(
    device: &Path,
    vcpus_wanted: usize,
    sources: &Sources,
    accelerations: impl FnOnce(&Facts) -> Vec<Acceleration>,
    probe: impl Fn(Route) -> Result<(), String>,
) -> Doctor {
    let started = host::unix_time();
    let mut host = host::read_facts(sources);
    host.tracefs = host.tracefs.or_else(host::tracing::own_mount);
    let offer = offers::ask(device);
    let accelerations = if offer.is_ok() { accelerations(&host) } else { Vec::new() };
    let found = diagnose(device, vcpus_wanted, host, offer, accelerations, probe);
    Doctor { started, date: started.and_then(host::date), ..found }
}

/// The verdicts that follow from what was found.
fn diagnose(
    device: &Path,
    vcpus: usize,
    host: Facts,
    offer: Result<Offer, Error>,
    apic_acceleration: Vec<Acceleration>,
    probe: impl Fn(Route) -> Result<(), String>,
) -> Doctor {
    let routes = verdicts::judge_all(&offer, vcpus, host.allowed_cpus.len(), probe);
    let ready =
        |route: Route| routes.iter().any(|verdict| verdict.verdict == Verdict::Ready && verdict.route == route.name());
    let fit = routes::those(routes::Spec::interrupts).any(ready);
    Doctor {
        schema: DOCTOR_SCHEMA.to_owned(),
        started: None,
        date: None,
        command: Vec::new(),
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        device: Device { path: device.display().to_string(), status: status(&offer) },
        checks: checks::all(&host, &offer, &apic_acceleration, vcpus),
        apic_acceleration,
        host,
        kvm: offer.ok(),
        vcpus,
        routes,
        exit_status: if fit { EXIT_READY } else { EXIT_UNFIT },
    }
}

fn status(offer: &Result<Offer, Error>) -> DeviceStatus {
    match offer {
        Ok(_) => DeviceStatus::Usable,
        Err(Error::Absent { .. }) => DeviceStatus::Absent,
        Err(Error::Denied { .. } | Error::Forbidden { .. }) => DeviceStatus::Denied,
        Err(Error::NoDriver { .. } | Error::NotKvm { .. } | Error::ApiVersion { .. } | Error::Io { .. }) => {
            DeviceStatus::Unusable
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::sample;
