//! What tells a document's machines apart beside their vCPU counts: where their local APICs are, and what the guest finds below it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// Where a machine's local APICs are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum LocalApics {
    /// In KVM.
    #[default]
    Kernel,
    /// In the VMM.
    User,
}

impl LocalApics {
    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A hypervisor's interface, as CPUID shows it from leaf 4000_0000H on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// KVM's.
    #[default]
    #[strum(serialize = "KVM")]
    Kvm,
    /// Hyper-V's, with KVM's behind it.
    #[strum(serialize = "Hyper-V")]
    HyperV,
}

impl Interface {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is what documents leave out.
    pub const fn is_kvm(&self) -> bool {
        matches!(self, Self::Kvm)
    }
}
