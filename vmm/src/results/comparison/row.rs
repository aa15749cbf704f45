//! How much a cell's time changed.

use super::side::{Hosts, name_on};
use super::{Open, Verdict};
use crate::results::metric::MetricName;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One metric of one cell, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The cell.
    #[serde(flatten)]
    pub id: CellId,
    /// The hosts whose runs are compared; left out where all are of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// What is compared of it: the median.
    pub metric: MetricName,
    /// What the row is for.
    pub role: Role,
    /// The cell that it is divided by, run by run; `null`: there is none, and the raw change is judged.
    pub reference: Option<CellId>,
    /// The base's median of its runs' medians, ns.
    pub base_ns: f64,
    /// The new side's.
    pub new_ns: f64,
    /// The change of the time itself.
    pub raw: Change,
    /// The change of the time divided by the reference's in the same run.
    pub divided: Option<Change>,
    /// What is left of the judged change's variance between runs, in standard deviations of a run's value (a fraction);
    /// `null`: one run a side, and nobody has measured it.
    pub spread: Option<f64>,
    /// The probability of a change as large as the judged one where nothing changed, of this row alone; `null` without an interval.
    pub p: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Where it is undecided: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

impl Row {
    /// The change that the verdict is about: the divided one where there is one.
    pub fn judged(&self) -> Change {
        self.divided.unwrap_or(self.raw)
    }

    /// The cell, and where, if there are several kinds of hosts.
    pub fn name(&self) -> String {
        name_on(self.hosts.as_ref(), &self.id)
    }
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is judged.
    Primary,
    /// Others are divided by it. A change of its own is told from the host's drift only where all of its interval lies beyond the threshold.
    Reference,
}

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The estimate.
    pub estimate: f64,
    /// Its interval, at the level at which the row is tested; `null`: one run a side, and nobody has measured how much runs differ.
    pub interval: Option<[f64; 2]>,
    /// The level: 0.99 is 99 %.
    pub level: f64,
}
