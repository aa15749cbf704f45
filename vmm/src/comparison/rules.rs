//! By which rules two sets of runs are compared.

use super::differences::Factor;
use super::gates::Limit;
use super::references::Choice;

/// The threshold where nothing is said.
pub const THRESHOLD: f64 = 0.05;

/// The probability that any of a comparison's rows is wrongly called slower or faster.
pub const ERROR_RATE: f64 = 0.01;

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
