//! Runs in order of time, as a document: what `kipi history` writes and its reports render.
//!
//! Times of calls are in nanoseconds; changes are fractions of what was before (0.05 is 5 % more); runs are named by their
//! place in `runs`, from 0.

use super::comparison::write_change;
use super::sandbox::State;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use strum::IntoStaticStr;

/// The history document's name and version.
pub const HISTORY_SCHEMA: &str = "kipi.history/1";

/// The course of each cell over runs, and where it changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Name and version of this document's schema: `kipi.history/1`.
    #[schemars(extend("const" = "kipi.history/1"))]
    pub schema: String,
    /// Version of the kipi that looked for changes.
    pub kipi: String,
    /// The runs, the oldest first.
    pub runs: Vec<PastRun>,
    /// What changed on the host, or of what was asked for, from one run to the next.
    pub host_changes: Vec<HostChange>,
    /// The cells.
    pub courses: Vec<Course>,
    /// What the reader should know before trusting a change.
    pub warnings: Vec<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PastRun {
    /// The document's file.
    pub file: String,
    /// When it was: seconds since 1970-01-01 00:00 UTC.
    pub time: f64,
    /// Who says so.
    pub time_by: TimeBy,
    /// Processor model name.
    pub cpu: String,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Version of the kipi that measured.
    pub kipi: String,
    /// Whether kipi was in its sandbox; `null`: the document does not say.
    #[serde(default)]
    pub sandbox: Option<State>,
}

/// Who says when a run was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeBy {
    /// The document: when the run began.
    Document,
    /// The file, when it was last modified: the document, of an older kipi, does not say.
    File,
}

/// Something in which a run differs from the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostChange {
    /// The first run that has it.
    pub run: usize,
    /// What it is, as `kipi compare --expect` takes it.
    pub factor: String,
    /// Which one of it, where a factor has several: a KVM setting's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
}

/// `kernel: 6.17.0 → 6.18.0`.
impl fmt::Display for HostChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_change(f, &self.factor, self.item.as_deref(), &self.before, &self.after)
    }
}

/// A cell, over the runs that have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// The cell.
    #[serde(flatten)]
    pub id: CellId,
    /// The cell that it is divided by, run by run; `null`: there is none.
    pub reference: Option<CellId>,
    /// Its runs.
    pub points: Vec<Point>,
    /// Where it changed, by rising run.
    pub changes: Vec<ChangeAt>,
}

/// A cell in one run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The run.
    pub run: usize,
    /// The round trip's median, ns.
    pub p50_ns: f64,
    /// Its 95 % interval; `null`: the document has none.
    pub ci95_ns: Option<[f64; 2]>,
    /// The round trip in the reference's; `null`: the run does not have it.
    pub ratio: Option<f64>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub enum Series {
    /// `p50_ns`.
    Raw,
    /// `ratio`.
    Divided,
}

impl Series {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A change point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAt {
    /// Of what.
    pub series: Series,
    /// The last run of the level before.
    pub last_before: usize,
    /// The first run of the new level.
    pub first_after: usize,
    /// The median of the runs from the change point before, or the first run, to `last_before`, in ns or as a ratio.
    pub before: f64,
    /// The median of those from `first_after` to the next change point, or the last run.
    pub after: f64,
    /// By how much that is more, a fraction.
    pub change: f64,
    /// How probable so large a change is somewhere in a series that has none.
    pub p: f64,
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use guest_stub::abi::cell::Route;
    use guest_stub::abi::{Destination, TargetState};

    /// Six runs, a day apart, of two cells. From the fourth on the kernel is another one, and one cell 10 % slower.
    pub(crate) fn history() -> History {
        let id = |route, state| CellId::broadcast(route, Destination::AllButSelf, state, 2);
        let kernel = |run| if run < 3 { "6.12.1" } else { "6.18.0" };
        let run = |run: usize| PastRun {
            file: format!("runs/{run}.json"),
            time: 1_764_230_400.0 + 86_400.0 * run as f64,
            time_by: if run == 0 { TimeBy::File } else { TimeBy::Document },
            cpu: "AMD EPYC".to_owned(),
            kernel: kernel(run).to_owned(),
            kipi: "0.1.0".to_owned(),
            sandbox: Some(State::On),
        };
        let point = |run: usize, p50_ns: f64, ratio| Point {
            run,
            p50_ns,
            ci95_ns: (run != 5).then_some([0.98 * p50_ns, 1.02 * p50_ns]),
            ratio,
        };
        let slower = |run| if run < 3 { 66_000.0 } else { 72_600.0 };
        let change = |series, before: f64| ChangeAt {
            series,
            last_before: 2,
            first_after: 3,
            before,
            after: 1.1 * before,
            change: 0.1,
            p: 0.001,
        };
        History {
            schema: HISTORY_SCHEMA.to_owned(),
            kipi: "0.1.0".to_owned(),
            runs: (0..6).map(run).collect(),
            host_changes: vec![HostChange {
                run: 3,
                factor: "kernel".to_owned(),
                item: None,
                before: kernel(2).to_owned(),
                after: kernel(3).to_owned(),
            }],
            courses: vec![
                Course {
                    id: id(Route::X2Apic, TargetState::Halt),
                    reference: Some(id(Route::XApic, TargetState::Halt)),
                    points: (0..6).map(|run| point(run, slower(run), Some(slower(run) / 60_000.0))).collect(),
                    changes: vec![change(Series::Raw, 66_000.0), change(Series::Divided, 1.1)],
                },
                Course {
                    id: id(Route::XApic, TargetState::Halt),
                    reference: None,
                    points: (0..6).map(|run| point(run, 60_000.0, None)).collect(),
                    changes: Vec::new(),
                },
            ],
            warnings: vec!["1 run is dated by its file".to_owned()],
        }
    }
}
