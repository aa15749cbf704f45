//! Whether the machine was quiet while a result was measured, and if not, what disturbed how much of it.

use super::disturbance::{Disturbance, Kind, Unit};
use super::measurement::Cell;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use strum::{IntoStaticStr, VariantArray};

/// The answer of a whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    /// The answer in a word.
    pub verdict: Verdict,
    /// Blocks that were measured, those that were measured again included.
    pub blocks: u64,
    /// Those of them that were disturbed.
    pub disturbed: u64,
    /// Cells whose figures are made of disturbed blocks, too.
    pub never_quiet: Vec<CellId>,
    /// What disturbed them, what explains most blocks first.
    pub causes: Vec<Cause>,
    /// What this machine does not tell.
    pub unknown: BTreeSet<Kind>,
}

/// Whether figures can be trusted to be the machine's and not its other users'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// No block was disturbed.
    Quiet,
    /// None was seen to be, but this machine does not tell when threads wait for a CPU.
    NotKnown,
    /// Some were; all figures are made of the others.
    DisturbedBlocksLeftOut,
    /// Figures of some cells are made of disturbed blocks.
    NeverQuiet,
}

impl Verdict {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What happened to blocks in one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// What happened.
    pub kind: Kind,
    /// The vCPU whose thread it happened to, as in a [`Disturbance`].
    pub vcpu: Option<usize>,
    /// The CPU that it happened on, as in a [`Disturbance`].
    pub cpu: Option<usize>,
    /// How many blocks.
    pub blocks: u64,
    /// Of which cells.
    pub cells: Vec<CellId>,
    /// The largest amount in one block.
    pub most: f64,
    /// What the amount counts.
    pub unit: Unit,
}

impl Quiet {
    /// Of those of these cells that were asked for, where `unknown` could not be read.
    pub fn of_cells(cells: &[Cell], unknown: BTreeSet<Kind>) -> Self {
        let cells = || cells.iter().filter(|cell| !cell.beside);
        let never_quiet = cells().filter(|cell| cell.uses_disturbed_blocks()).map(|cell| cell.id).collect();
        let blocks = cells().flat_map(|cell| cell.disturbances().map(|disturbances| (cell.id, disturbances)));
        Self::of(blocks, never_quiet, unknown)
    }

    /// Of blocks that are all used, disturbed or not.
    pub fn of_blocks<'a>(
        cell: CellId,
        blocks: impl Iterator<Item = &'a [Disturbance]> + Clone,
        unknown: BTreeSet<Kind>,
    ) -> Self {
        let never_quiet = if blocks.clone().all(<[Disturbance]>::is_empty) { Vec::new() } else { vec![cell] };
        Self::of(blocks.map(|disturbances| (cell, disturbances)), never_quiet, unknown)
    }

    fn of<'a>(
        blocks: impl Iterator<Item = (CellId, &'a [Disturbance])>,
        never_quiet: Vec<CellId>,
        unknown: BTreeSet<Kind>,
    ) -> Self {
        let (mut all, mut disturbed) = (0, 0);
        let mut causes: BTreeMap<_, Cause> = BTreeMap::new();
        for (cell, disturbances) in blocks {
            all += 1;
            disturbed += u64::from(!disturbances.is_empty());
            for &Disturbance { kind, amount, unit, vcpu, cpu } in disturbances {
                let new = Cause { kind, vcpu, cpu, blocks: 0, cells: Vec::new(), most: amount, unit };
                let cause = causes.entry((kind, vcpu, cpu)).or_insert(new);
                cause.blocks += 1;
                cause.most = cause.most.max(amount);
                if !cause.cells.contains(&cell) {
                    cause.cells.push(cell);
                }
            }
        }
        let causes = causes.into_values().collect();
        let mut found = Self { verdict: Verdict::Quiet, blocks: all, disturbed, never_quiet, causes, unknown };
        found.judge();
        found
    }

    /// Adds that of another run of the same cells.
    pub fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.disturbed += other.disturbed;
        let new = |known: &[CellId], cells: &[CellId]| -> Vec<CellId> {
            cells.iter().copied().filter(|cell| !known.contains(cell)).collect()
        };
        self.never_quiet.extend(new(&self.never_quiet, &other.never_quiet));
        for cause in &other.causes {
            let is_same =
                |known: &&mut Cause| (known.kind, known.vcpu, known.cpu) == (cause.kind, cause.vcpu, cause.cpu);
            match self.causes.iter_mut().find(is_same) {
                Some(known) => {
                    known.blocks += cause.blocks;
                    known.most = known.most.max(cause.most);
                    known.cells.extend(new(&known.cells, &cause.cells));
                }
                None => self.causes.push(cause.clone()),
            }
        }
        self.unknown = &self.unknown | &other.unknown;
        self.judge();
    }

    /// What explains most blocks comes first, and the verdict follows from the counts.
    fn judge(&mut self) {
        self.causes.sort_by_key(|cause| std::cmp::Reverse(weight(cause)));
        self.verdict = match (self.never_quiet.as_slice(), self.disturbed) {
            ([_, ..], _) => Verdict::NeverQuiet,
            ([], 0) if self.unknown.contains(&Kind::WaitedForCpu) => Verdict::NotKnown,
            ([], 0) => Verdict::Quiet,
            ([], _) => Verdict::DisturbedBlocksLeftOut,
        };
    }
}

/// Threads wait for many reasons; what may be one of them explains more than the wait does.
fn weight(cause: &Cause) -> u64 {
    match cause.kind {
        Kind::WaitedForCpu | Kind::CpuBusy | Kind::Preempted => cause.blocks,
        Kind::Migrated
        | Kind::RanElsewhere
        | Kind::AffinityChanged
        | Kind::MajorFault
        | Kind::Throttled
        | Kind::Steal
        | Kind::FrequencyLimited
        | Kind::ThermalThrottle
        | Kind::Stopped
        | Kind::Continued
        | Kind::Suspended => 2 * cause.blocks,
    }
}
