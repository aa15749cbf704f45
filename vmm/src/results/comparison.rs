//! The comparison of two sets of runs, as a document: what `kipi compare` writes and every report of it renders.
//!
//! Times are in nanoseconds; changes are fractions of the base (0.05 is 5 % more); intervals are `[low, high]`.

pub mod finding;
#[cfg(test)]
pub(crate) mod fixture;
pub mod gate;
pub mod row;
pub mod side;

use crate::results::measurement::host::Host;
use finding::{Finding, Severity};
use gate::Gate;
use row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use side::{Outlier, Side};
use std::fmt;
use strum::{IntoStaticStr, VariantArray};

/// The comparison document's name and version.
pub const COMPARISON_SCHEMA: &str = "kipi.comparison/1";

/// Two sets of runs, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Name and version of this document's schema: `kipi.comparison/1`.
    #[schemars(extend("const" = "kipi.comparison/1"))]
    pub schema: String,
    /// When the measurement of both settings began: seconds since 1970-01-01 00:00 UTC, to the millisecond; left out of comparisons of
    /// runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<f64>,
    /// The same as a date: RFC 3339, in UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The command line that both settings were measured with, word by word; a word that is not UTF-8 has U+FFFD in it. Left out of
    /// comparisons of runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Where both settings were measured; left out of comparisons of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Version of the kipi that compared.
    pub kipi: String,
    /// What is compared with.
    pub base: Side,
    /// What is judged.
    pub new: Side,
    /// The sides are settings of one `kipi measure --ab`, and their runs are boots, in so many pairs of neighbours that are compared
    /// one by one; left out of comparisons of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u64>,
    /// The user ended the run before all of its pairs were there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub interrupted: bool,
    /// By which rules.
    pub settings: Settings,
    /// In what the sides' hosts and settings differ.
    pub differences: Vec<Difference>,
    /// What changed that is no time.
    pub findings: Vec<Finding>,
    /// The cells that are judged. One correction for many tests covers them, and nothing else.
    pub cells: Vec<Row>,
    /// The cells that others are divided by.
    pub references: Vec<Row>,
    /// Tails (`--gate`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// All in a word.
    pub verdict: Overall,
    /// How many of `cells` and `gates` are undecided; references are not counted.
    pub undecided: u64,
    /// What the reader should know before trusting a verdict.
    pub warnings: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Comparison {
    /// How many cells have this verdict.
    pub fn cells_that_are(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|row| row.verdict == verdict).count()
    }

    /// The runs that are not as others of their kind, each with the name of its side.
    pub fn outliers(&self) -> impl Iterator<Item = (&'static str, &Outlier)> {
        let sides = [("base", &self.base), ("new", &self.new)];
        sides.into_iter().flat_map(|(side, of)| of.outliers.iter().map(move |outlier| (side, outlier)))
    }

    /// Why the sides are not comparable, where they are not: what differs and was not expected, or that they have nothing in common.
    pub fn why_not_comparable(&self) -> Vec<String> {
        let unexpected = self.differences.iter().filter(|difference| !difference.allowed);
        let unexpected: Vec<String> = unexpected.map(ToString::to_string).collect();
        if unexpected.is_empty() { vec!["they have no cell in common".to_owned()] } else { unexpected }
    }

    /// What is worse and no time.
    pub fn worse_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Worse)
    }
}

/// The rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A change of this size matters; one of less than half of it is never called a change.
    pub threshold: f64,
    /// The probability, of all rows of `cells` together, that any of them is called slower or faster where nothing changed.
    pub error_rate: f64,
    /// The factors that were expected to differ.
    pub expected: Vec<String>,
}

/// Something in which the hosts or the settings of the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// What it is, as `--expect` takes it; or `sandbox`, which is told and forbids nothing.
    pub factor: String,
    /// Which one of it, where a factor has several: a KVM setting's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The base's values, each once; where the sides have the same ones in other proportions, with how many runs have each.
    pub base: Vec<String>,
    /// The new side's.
    pub new: Vec<String>,
    /// It was expected, or it is told and forbids nothing; otherwise the sides are not comparable.
    pub allowed: bool,
}

/// `kernel: 6.17.0 → 6.18.0`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { factor, item, base, new, allowed: _ } = self;
        write_change(f, factor, item.as_deref(), &base.join(" | "), &new.join(" | "))
    }
}

/// What was one thing and is another, of an item of a factor.
pub(super) fn write_change(
    f: &mut fmt::Formatter<'_>,
    factor: &str,
    item: Option<&str>,
    was: &str,
    is: &str,
) -> fmt::Result {
    let space = if item.is_some() { " " } else { "" };
    write!(f, "{factor}{space}{}: {was} → {is}", item.unwrap_or_default())
}

/// Verdicts on a row, the worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub enum Verdict {
    /// It takes longer.
    Slower,
    /// It takes less time.
    Faster,
    /// Neither can be said, nor that it is the same.
    Undecided,
    /// The whole interval lies within the threshold.
    Same,
}

impl Verdict {
    /// All verdicts, in order.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Why a row is undecided, and what would decide it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Why.
    pub reason: OpenReason,
    /// About so many more runs a side would decide it; `null`: none would, or it cannot be said.
    pub more_runs: Option<u64>,
}

/// Why a row is undecided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpenReason {
    /// The interval is too wide.
    TooWide,
    /// Fewer runs a side than tell how much runs differ, and no document of them says it.
    FewRuns,
    /// The reference may have changed instead, in the opposite direction.
    ReferenceMoved,
    /// The host's drift is in it, and nothing that was measured beside it divides it out.
    Undivided,
    /// The cell, or its reference, was never quiet in most runs of one side, and was in most of the other's: the change may be the load's.
    OneSideDisturbed,
    /// A run has no counts of its round trips, by which a tail is compared.
    NoCounts,
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Something is worse.
    #[strum(serialize = "worse")]
    Worse,
    /// Nothing is worse, and nothing is undecided.
    #[strum(serialize = "nothing worse")]
    NothingWorse,
    /// Nothing is known to be worse, and something is undecided.
    #[strum(serialize = "undecided")]
    Undecided,
    /// The sides differ in something else than what was to be compared.
    #[strum(serialize = "not comparable")]
    NotComparable,
}

impl Overall {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
