//! What a run of the suite came to.

use std::time::Duration;

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as it must be.
    Passed,
    /// Something was not, and what: one line.
    Failed(String),
    /// The test cannot be run here, and why: one line.
    Skipped(String),
}

/// A test that has been run, or skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// From the general to the particular: `contract/x2apic/all-but-self/halt`.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// What was counted: `96 calls, 288 workers`; may be empty.
    pub detail: String,
}

/// What a run of the suite was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// kipi's version.
    pub kipi: String,
    /// The kernel's release.
    pub kernel: String,
    /// What drives the KVM device: `kvm_amd`.
    pub kvm: String,
    /// The processor's name.
    pub cpu: String,
    /// How many CPUs kipi may use.
    pub cpus: usize,
    /// What every random choice follows from.
    pub seed: u64,
    /// How many tests are to finish.
    pub planned: usize,
}

/// The whole result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that cannot be run here.
    pub skipped: usize,
    /// How long all of them took.
    pub duration: Duration,
    /// Somebody ended the run before its end.
    pub interrupted: bool,
    /// Tests that were planned and never began.
    pub not_run: usize,
}
