//! What the doctor found: facts, verdicts, and the way out.

use super::acceleration::Acceleration;
use super::host::Facts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The document's name and version.
pub const DOCTOR_SCHEMA: &str = "kipi.doctor/1";

/// Exit status: an interrupt route is ready.
pub(crate) const EXIT_READY: u8 = 0;
/// Exit status: this host cannot do it (the kselftest skip code).
pub(crate) const EXIT_UNFIT: u8 = 4;

/// What one examination found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Doctor {
    /// Name and version of this document's schema: `kipi.doctor/1`.
    #[schemars(extend("const" = "kipi.doctor/1"))]
    pub schema: String,
    /// When the examination began: seconds since 1970-01-01 00:00 UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<f64>,
    /// The same as a date: RFC 3339, in UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The command line that asked for it, word by word; a word that is not UTF-8 has U+FFFD in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
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
    /// Whether the processor accelerates local APICs for kipi's virtual machines; empty: KVM cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apic_acceleration: Vec<Acceleration>,
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
    pub(crate) fn new(group: Group, name: &str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { group, name: name.to_owned(), verdict, detail: detail.into(), advice: None }
    }

    pub(crate) fn advise(self, advice: impl Into<String>) -> Self {
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

/// The bits of KVM's CPUID that matter to IPIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestCpuid {
    /// CPUID.1:ECX bit 21: guests may use x2APIC mode.
    pub x2apic: bool,
    /// CPUID.1:ECX bit 24: the local APIC's timer has a TSC deadline mode.
    pub tsc_deadline: bool,
    /// CPUID.40000001H:EAX bit 11: KVM says that it takes IPIs by its own hypercall.
    pub pv_send_ipi: bool,
}

/// What KVM offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// KVM_GET_API_VERSION.
    pub api_version: i32,
    /// KVM_CHECK_EXTENSION's answers by the capability's name without `KVM_CAP_`; 0: not offered.
    pub capabilities: BTreeMap<String, i32>,
    /// From KVM_GET_SUPPORTED_CPUID; `null` if KVM did not answer that.
    pub cpuid: Option<GuestCpuid>,
}

impl Offer {
    /// KVM's answer for the capability of that name; 0: not offered.
    pub fn value(&self, capability: &str) -> i32 {
        self.capabilities.get(capability).copied().unwrap_or(0)
    }

    /// Whether KVM offers a capability; a negative answer is an error, not an offer.
    pub fn has(&self, capability: &str) -> bool {
        self.value(capability) > 0
    }
}
