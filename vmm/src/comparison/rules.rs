//! By which rules two sets of runs are compared.

use super::differences::Factor;
use super::gates::Limit;
use super::references::Choice;

/// The threshold where nothing is said.
pub const THRESHOLD: f64 = 0.05;

/// The probability that any of a comparison's rows is wrongly called slower or faster.
pub const ERROR_RATE: f64 = 0.01;

/// Fewer runs on a side say too little of how much runs differ, whatever the other side has: with the drift of a host that others
/// use, one against ten was wrong in 8 of 36 comparisons, three against ten in none of 131.
pub const FEWEST_RUNS: usize = 3;

/// The rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// A change of this size matters.
    pub threshold: f64,
    /// The probability that any row is wrongly called slower or faster: [`ERROR_RATE`], or a part of it where there are several looks.
    pub error_rate: f64,
    /// The factors that are expected to differ.
    pub expected: Vec<Factor>,
    /// What all cells are divided by; `None`: each by a cell of its own state, or the memory route.
    pub reference: Option<Choice>,
    /// Tails that are compared.
    pub gates: Vec<Limit>,
    /// Whether times decide. Where they move several times over from run to run, as on an emulated host, counts still do.
    pub judges_times: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            threshold: THRESHOLD,
            error_rate: ERROR_RATE,
            expected: Vec::new(),
            reference: None,
            gates: Vec::new(),
            judges_times: true,
        }
    }
}
