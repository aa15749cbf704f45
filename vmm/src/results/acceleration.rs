//! Whether the processor accelerates local APICs for kipi's virtual machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// One way of the processor's to do a local APIC's work without an exit, and whether kipi's virtual machine has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceleration {
    /// Which.
    pub feature: Feature,
    /// Whether the virtual machine has it.
    pub state: AccelerationState,
    /// Why, in words; for `on`, how that is known.
    pub why: String,
    /// KVM's reasons to inhibit it (`enum kvm_apicv_inhibit`), by name without `APICV_INHIBIT_REASON_`; empty: there are none, or
    /// they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inhibits: Vec<String>,
}

/// A way to accelerate local APICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, Serialize, Deserialize, JsonSchema)]
pub enum Feature {
    /// Any of those below: there is hardware for none of them.
    #[serde(rename = "any")]
    #[strum(serialize = "APIC acceleration")]
    Any,
    /// Intel's APIC virtualisation (SDM Vol. 3C, "APIC Virtualization and Virtual Interrupts"): register accesses, interrupt delivery, posted interrupts.
    #[serde(rename = "APICv")]
    #[strum(serialize = "APICv")]
    Apicv,
    /// AMD's (APM Vol. 2, 15.29): the same in xAPIC mode.
    #[serde(rename = "AVIC")]
    #[strum(serialize = "AVIC")]
    Avic,
    /// AMD's in x2APIC mode.
    #[serde(rename = "x2AVIC")]
    #[strum(serialize = "x2AVIC")]
    X2avic,
    /// A write to the ICR interrupts a vCPU that runs, without an exit of the sender.
    #[serde(rename = "IPI virtualization")]
    #[strum(serialize = "IPI virtualization")]
    Ipis,
}

impl Feature {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Whether a virtual machine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccelerationState {
    /// KVM was seen to use it.
    On,
    /// The processor or KVM's module does not offer it.
    Off,
    /// KVM offers it, and was seen not to use it for this virtual machine.
    Inhibited,
    /// KVM may or may not use it: nobody could see.
    Unknown,
}

impl AccelerationState {
    /// The state in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Inhibited => "inhibited",
            Self::Unknown => "not known",
        }
    }
}
