//! How far apart two CPUs are, and what is delivered over each distance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use strum::IntoStaticStr;

/// What two CPUs share, by rising distance.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// They are one CPU: its threads take turns.
    #[strum(serialize = "same CPU")]
    SameCpu,
    /// They are hardware threads of one core (SMT).
    #[strum(serialize = "same core")]
    SameCore,
    /// Cores that share an L2 cache.
    #[strum(serialize = "same L2")]
    SameL2,
    /// Cores that share an L3 cache, and nothing nearer that sysfs shows.
    #[strum(serialize = "same L3")]
    SameL3,
    /// Cores of one NUMA node, which share no cache that sysfs shows.
    #[strum(serialize = "same node")]
    SameNode,
    /// Cores of one physical package, where sysfs shows no NUMA nodes.
    #[strum(serialize = "same package")]
    SamePackage,
    /// Other NUMA nodes of one physical package (sub-NUMA clustering, nodes per socket), whatever caches they share.
    #[strum(serialize = "cross node")]
    CrossNode,
    /// Other physical packages, whatever NUMA nodes they are in.
    #[strum(serialize = "cross package")]
    CrossPackage,
    /// sysfs shows nothing that they share, nor that they are apart.
    #[strum(serialize = "not known")]
    NotKnown,
}

impl Distance {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The kinds of cores of a hybrid machine.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CoreKind {
    /// P cores: `/sys/devices/cpu_core`.
    #[strum(serialize = "performance")]
    Performance,
    /// E cores: `/sys/devices/cpu_atom`.
    #[strum(serialize = "efficient")]
    Efficient,
    /// LP E cores: `/sys/devices/cpu_lowpower`.
    #[strum(serialize = "low power")]
    LowPower,
}

impl CoreKind {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What is said of a pair of CPUs, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// How far apart they are.
    pub distance: Distance,
    /// The kinds of their cores, in the order of [`CoreKind`], where they differ.
    pub kinds: Option<[CoreKind; 2]>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.distance.name())?;
        match self.kinds {
            Some([one, other]) => write!(f, " ({}–{})", one.name(), other.name()),
            None => Ok(()),
        }
    }
}

/// Delivery between CPUs that one label holds for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByDistance {
    /// How far apart initiator and target are.
    pub distance: Distance,
    /// The kinds of their cores, where they differ: of initiator and target, or of target and initiator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<[CoreKind; 2]>,
    /// Pairs of an initiator and a target.
    pub pairs: u64,
    /// Deliveries.
    pub n: u64,
    /// Their median, ns.
    pub p50_ns: f64,
    /// Its 95 % interval, of the boots and blocks of this run: low, high; `null`: they are of fewer than five boots.
    pub ci95_ns: Option<[f64; 2]>,
}

impl ByDistance {
    /// What its pairs have in common.
    pub fn label(&self) -> Label {
        Label { distance: self.distance, kinds: self.kinds }
    }
}
