//! The comparison of two sets of runs, as a document: what `kipi compare` writes and every report of it renders.
//!
//! Times are in nanoseconds; changes are fractions of the base (0.05 is 5 % more); intervals are `[low, high]`.

use super::metric::MetricName;
use super::standalone::kernel_name;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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

/// One of the two sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// The files, in the order of their runs.
    pub files: Vec<String>,
    /// How many runs.
    pub runs: u64,
    /// Where they were measured: an entry for each combination of what follows.
    pub hosts: Vec<SideHost>,
    /// Runs, of at least ten on hosts of one processor model and kernel, that are not as the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outlier>,
}

/// A run that is not as the others on hosts of its kind, in one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outlier {
    /// Its file.
    pub file: String,
    /// Processor model name of its kind.
    pub cpu: String,
    /// Kernel release of its kind.
    pub kernel: String,
    /// How many runs of its kind have the cell.
    pub group: u64,
    /// The cell.
    #[serde(flatten)]
    pub id: CellId,
    /// How much more what is judged of the cell (its time in its reference's) is than the median of its kind, a fraction.
    pub change: f64,
}

/// A host that some runs of a side were measured on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideHost {
    /// Processor model name.
    pub cpu: String,
    /// Kernel release, as `uname -r`; `none` where the standalone image ran.
    pub kernel: String,
    /// KVM's vendor modules.
    pub kvm: Vec<String>,
    /// What the standalone image ran on, where it measured: `standalone image under KVMKVMKVM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standalone: Option<String>,
    /// Version of the kipi that measured.
    pub kipi: String,
    /// How many runs.
    pub runs: u64,
}

/// Hosts of a kind, where a side has several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    /// Processor model name.
    pub cpu: String,
    /// Kernel release, as `uname -r`; `null`: the sides' kernels differ.
    pub kernel: Option<String>,
}

/// `AMD EPYC 9B14, Linux 6.18.0`.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cpu)?;
        self.kernel.as_ref().map_or(Ok(()), |kernel| write!(f, ", {}", kernel_name(kernel)))
    }
}

/// A cell's name, behind that of the hosts where there are several kinds of them: `AMD EPYC 9B14: x2apic, all-but-self, …`.
fn name_on(hosts: Option<&Hosts>, id: &CellId) -> String {
    hosts.map_or_else(|| id.to_string(), |hosts| format!("{hosts}: {id}"))
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
    /// What it is, as `--expect` takes it.
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

/// Something that changed and is no time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The hosts whose runs are compared; left out where all are of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// The cell, where it is one's.
    pub cell: Option<CellId>,
    /// What exactly: an exit's source and reason, the name of an acceleration.
    pub subject: String,
    /// What it was.
    pub base: String,
    /// What it is.
    pub new: String,
    /// Whether that is worse.
    pub severity: Severity,
}

impl Finding {
    /// What changed, and where: `x2apic, all-but-self, halt, 2 vCPUs, guest: stats exits, each target`.
    pub fn name(&self) -> String {
        let Self { hosts, cell, subject, .. } = self;
        let hosts = hosts.as_ref().map_or_else(String::new, |hosts| format!("{hosts}: "));
        let cell = cell.as_ref().map_or_else(String::new, |cell| format!("{cell}: "));
        format!("{hosts}{cell}{subject}")
    }
}

/// `x2apic, all-but-self, halt, 2 vCPUs, guest: stats exits, each target: 1.03 → 2.03`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.name(), self.base, self.new)
    }
}

/// Kinds of findings, in the order of output.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Calls were lost, duplicate, late or timed out.
    #[strum(serialize = "integrity")]
    Integrity,
    /// Only one side has the cell.
    #[strum(serialize = "cell")]
    Cell,
    /// An acceleration of local APICs ceased, or began.
    #[strum(serialize = "acceleration")]
    Acceleration,
    /// Exits a call changed.
    #[strum(serialize = "exits")]
    Exits,
    /// A run ended early.
    #[strum(serialize = "partial run")]
    PartialRun,
    /// A cell was never quiet.
    #[strum(serialize = "disturbed")]
    Disturbed,
}

impl FindingKind {
    /// All kinds, in order.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The new side is worse: status 1.
    Worse,
    /// The reader should know.
    Noted,
}

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

/// A tail, compared by counts of rounds beyond a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The cell.
    #[serde(flatten)]
    pub id: CellId,
    /// The hosts whose runs are compared; left out where all are of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// The quantile: 0.99 is p99.
    pub quantile: f64,
    /// By how much it may grow, a fraction.
    pub margin: f64,
    /// The bound: the base's quantile, grown by that, ns; `null`: there are no counts to tell it.
    pub bound_ns: Option<f64>,
    /// The fraction of rounds that may lie beyond it.
    pub allowed: f64,
    /// Rounds of the new side.
    pub rounds: u64,
    /// Those of them that lie beyond it.
    pub beyond: u64,
    /// The interval of their fraction, wider by how much the base's quantile is uncertain; `null`: too few runs.
    pub interval: Option<[f64; 2]>,
    /// `slower`: more than may lie beyond it; `same`: no more do; `undecided`.
    pub verdict: Verdict,
    /// Where it is undecided: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

impl Gate {
    /// The cell, and where, if there are several kinds of hosts.
    pub fn name(&self) -> String {
        name_on(self.hosts.as_ref(), &self.id)
    }
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

#[cfg(test)]
pub(crate) mod fixture;
