//! What this host offers: every check, its verdict, and the way out.

mod checks;
mod kvm;
mod verdicts;

pub use kvm::{Capability, GuestCpuid, Offer};

use crate::config::routes::{self, Route};
use crate::host::{Facts, Sources, Tracefs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The document's name and version.
pub const DOCTOR_SCHEMA: &str = "kipi.doctor/1";

/// Exit status: an interrupt route is ready.
const EXIT_READY: u8 = 0;
/// Exit status: this host cannot do it (the kselftest skip code).
const EXIT_UNFIT: u8 = 4;

/// What one examination found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Doctor {
    /// Name and version of this document's schema: `kipi.doctor/1`.
    #[schemars(extend("const" = "kipi.doctor/1"))]
    pub schema: String,
    /// Version of kipi.
    pub kipi: String,
    /// Facts about the machine.
    pub host: Facts,
    /// KVM's device.
    pub device: Device,
    /// What KVM offers; `null` if the device cannot be used.
    pub kvm: Option<Offer>,
    /// vCPUs that the host was examined for.
    pub vcpus: usize,
    /// The checks, in the order of their groups.
    pub checks: Vec<Check>,
    /// One verdict for each route.
    pub routes: Vec<RouteVerdict>,
    /// 0 if an interrupt route is ready, else 4.
    #[schemars(extend("enum" = [0, 4]))]
    pub exit_status: u8,
}

impl Doctor {
    /// Whether an interrupt route is ready.
    pub fn is_fit(&self) -> bool {
        self.exit_status == EXIT_READY
    }
}

/// KVM's device, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its path.
    pub path: String,
    /// What happened when it was opened.
    pub status: DeviceStatus,
}

/// Whether KVM's device can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceStatus {
    /// It answers as KVM does.
    Usable,
    /// There is no such file.
    Absent,
    /// This process may not open it.
    Denied,
    /// It cannot be opened, is not KVM's device, or speaks another version.
    Unusable,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As kipi wants it.
    Ready,
    /// kipi works, but with less, or with numbers that need care.
    Limited,
    /// It is not there, and what needs it does not work.
    Missing,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The machine and its clock.
    Host,
    /// KVM: the device, the module, what it offers.
    Kvm,
    /// Room for the vCPUs that were asked for.
    Vcpus,
    /// Observing the kernel.
    Tracing,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What it is about.
    pub group: Group,
    /// What was checked; unique in a document.
    pub name: String,
    /// What was found.
    pub verdict: Verdict,
    /// The finding in words, with its values.
    pub detail: String,
    /// What to do about it, where something can be done.
    pub advice: Option<String>,
}

impl Check {
    fn new(group: Group, name: &str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { group, name: name.to_owned(), verdict, detail: detail.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// Whether a route can be used here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteVerdict {
    /// The route's name.
    pub route: String,
    /// `ready` only if a broadcast call over it completed.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// Examines this host for a virtual machine of `vcpus_wanted` vCPUs on the KVM device `device`.
///
/// `probe` makes one broadcast call over a route and says why it failed. No route is believed to work without it, and
/// it is not called for a route that cannot work.
pub fn examine(
    device: &Path,
    vcpus_wanted: usize,
    sources: &Sources,
    probe: impl Fn(Route) -> Result<(), String>,
) -> Doctor {
    let mut host = Facts::read(sources);
    host.tracefs = host.tracefs.or_else(Tracefs::of_own_mount);
    diagnose(device, vcpus_wanted, host, kvm::ask(device), probe)
}

/// The verdicts that follow from what was found.
fn diagnose(
    device: &Path,
    vcpus: usize,
    host: Facts,
    offer: Result<Offer, kvm::Error>,
    probe: impl Fn(Route) -> Result<(), String>,
) -> Doctor {
    let routes = verdicts::judge_all(&offer, vcpus, probe);
    let ready =
        |route: Route| routes.iter().any(|verdict| verdict.verdict == Verdict::Ready && verdict.route == route.name());
    let fit = routes::those(routes::Spec::interrupts).any(ready);
    Doctor {
        schema: DOCTOR_SCHEMA.to_owned(),
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        device: Device { path: device.display().to_string(), status: status(&offer) },
        checks: checks::all(&host, &offer, vcpus),
        host,
        kvm: offer.ok(),
        vcpus,
        routes,
        exit_status: if fit { EXIT_READY } else { EXIT_UNFIT },
    }
}

fn status(offer: &Result<Offer, kvm::Error>) -> DeviceStatus {
    match offer {
        Ok(_) => DeviceStatus::Usable,
        Err(kvm::Error::Absent { .. }) => DeviceStatus::Absent,
        Err(kvm::Error::Denied { .. } | kvm::Error::Forbidden { .. }) => DeviceStatus::Denied,
        Err(
            kvm::Error::NoDriver { .. }
            | kvm::Error::NotKvm { .. }
            | kvm::Error::ApiVersion { .. }
            | kvm::Error::Io { .. },
        ) => DeviceStatus::Unusable,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::sample;
