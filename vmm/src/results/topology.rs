//! Where CPUs are: what of a machine they share.

use super::cpu_list::CpuList;
use super::distance::{CoreKind, Distance, Label};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the CPUs that kipi may use share, each group as a list of CPUs. A level that is left out is not known: sysfs does not
/// show it of every one of these CPUs, or contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Physical packages, which sit in sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<CpuList>>,
    /// NUMA nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<CpuList>>,
    /// L3 caches. A CPU in none of them has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l3: Option<Vec<CpuList>>,
    /// L2 caches. A CPU in none of them has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<Vec<CpuList>>,
    /// Cores, each with its hardware threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<Vec<CpuList>>,
    /// The CPUs of each kind of core; empty where the machine is not hybrid, or does not show it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<CoreKind, CpuList>,
}

/// What CPUs can have in common, from the outside in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A physical package.
    Package,
    /// A NUMA node.
    Node,
    /// An L3 cache.
    L3,
    /// An L2 cache.
    L2,
    /// A core.
    Core,
}

impl Level {
    /// All, from the outside in: the order that decides a label. Packages come first, since a node can span two of them (AMD's
    /// NPS0), and nodes come before L3 caches: with Intel's sub-NUMA clustering CPUID, and so sysfs, has one L3 for the whole
    /// package, which on-package accesses use by halves (arch/x86/kernel/smpboot.c, `intel_cod_cpu`).
    pub const ALL: [Self; 5] = [Self::Package, Self::Node, Self::L3, Self::L2, Self::Core];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Node => "node",
            Self::L3 => "L3 cache",
            Self::L2 => "L2 cache",
            Self::Core => "core",
        }
    }

    /// How far apart CPUs are whose innermost common level this is.
    const fn shared(self) -> Distance {
        match self {
            Self::Package => Distance::SamePackage,
            Self::Node => Distance::SameNode,
            Self::L3 => Distance::SameL3,
            Self::L2 => Distance::SameL2,
            Self::Core => Distance::SameCore,
        }
    }

    /// How far apart CPUs are that this level is the outermost to separate; `None`: as far as what they share says.
    const fn crossed(self) -> Option<Distance> {
        match self {
            Self::Package => Some(Distance::CrossPackage),
            Self::Node => Some(Distance::CrossNode),
            Self::L3 | Self::L2 | Self::Core => None,
        }
    }

    /// Whether a CPU may be in none: it can have no such cache.
    const fn is_optional(self) -> bool {
        matches!(self, Self::L3 | Self::L2)
    }
}

impl Topology {
    /// The groups of a level; `None`: not known.
    pub fn groups(&self, level: Level) -> Option<&[CpuList]> {
        match level {
            Level::Package => self.packages.as_deref(),
            Level::Node => self.nodes.as_deref(),
            Level::L3 => self.l3.as_deref(),
            Level::L2 => self.l2.as_deref(),
            Level::Core => self.cores.as_deref(),
        }
    }

    /// Which group of a level a CPU is in, by its place among them; `None`: in none, or not known.
    pub fn group_of(&self, level: Level, cpu: usize) -> Option<usize> {
        self.groups(level)?.iter().position(|group| group.as_slice().contains(&cpu))
    }

    /// Whether nothing is known.
    pub fn is_not_known(&self) -> bool {
        *self == Self::default()
    }

    /// What these levels alone say: machines of which not the same is known are compared by what is.
    pub(crate) fn of_levels(&self, levels: &[Level]) -> Self {
        let of = |level| self.groups(level).filter(|_| levels.contains(&level)).map(<[CpuList]>::to_vec);
        Self {
            packages: of(Level::Package),
            nodes: of(Level::Node),
            l3: of(Level::L3),
            l2: of(Level::L2),
            cores: of(Level::Core),
            kinds: BTreeMap::new(),
        }
    }

    /// The levels of which nothing is known.
    pub fn not_known(&self) -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|&level| self.groups(level).is_none())
    }

    /// The kind of a CPU's core, of a hybrid machine.
    pub fn kind_of(&self, cpu: usize) -> Option<CoreKind> {
        self.kinds.iter().find(|(_, cpus)| cpus.as_slice().contains(&cpu)).map(|(&kind, _)| kind)
    }

    /// What is said of two CPUs.
    ///
    /// The outermost known level that separates them decides, so that each label says something of the pair alone, and the
    /// distances are an ultrametric: of three CPUs, the two largest distances are equal.
    pub fn label(&self, one: usize, other: usize) -> Label {
        let kinds = self.kind_of(one).zip(self.kind_of(other)).filter(|(one, other)| one != other);
        let kinds = kinds.map(|(one, other)| [one.min(other), one.max(other)]);
        Label { distance: self.distance(one, other), kinds }
    }

    fn distance(&self, one: usize, other: usize) -> Distance {
        if one == other {
            return Distance::SameCpu;
        }
        let mut distance = Distance::NotKnown;
        if !self.has(one) || !self.has(other) {
            return distance;
        }
        for level in Level::ALL {
            match (self.group_of(level, one), self.group_of(level, other)) {
                (one, other) if one != other => return level.crossed().unwrap_or(distance),
                (Some(_), _) => distance = level.shared(),
                // Neither has such a cache, or nothing is known of the level.
                (None, _) => {}
            }
        }
        distance
    }

    /// Whether a CPU is one of those that this tells about.
    fn has(&self, cpu: usize) -> bool {
        let is_known = |level: Level| self.groups(level).is_none() || self.group_of(level, cpu).is_some();
        Level::ALL.into_iter().filter(|level| !level.is_optional()).all(is_known)
    }

    /// Where a CPU stands in a row in which those are neighbours that share most: its group of each level, and its number.
    pub fn place(&self, cpu: usize) -> ([usize; Level::ALL.len()], usize) {
        (Level::ALL.map(|level| self.group_of(level, cpu).unwrap_or(usize::MAX)), cpu)
    }
}

#[cfg(test)]
mod tests;
