//! What a run of the suite came to.

use super::measurement::host::Host;
use super::sandbox::Sandbox;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The check document's name and version.
pub const CHECK_SCHEMA: &str = "kipi.check/1";

/// One run of `kipi check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRun {
    /// Name and version of this document's schema: `kipi.check/1`.
    #[schemars(extend("const" = "kipi.check/1"))]
    pub schema: String,
    /// When the run began: seconds since 1970-01-01 00:00 UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<f64>,
    /// The same as a date: RFC 3339, in UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The command line that asked for it, word by word; a word that is not UTF-8 has U+FFFD in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<CheckConfig>,
    /// What it was about.
    pub head: Head,
    /// The tests that have been run, or skipped, in their order.
    pub tests: Vec<Finished>,
    /// What it came to.
    pub summary: Summary,
}

/// What was asked for, with defaults filled in; the seed is in the head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// Of which texts a test's name was to contain one; empty: all tests but those of hostile guests.
    pub filter: Vec<String>,
    /// Of which texts it was to contain none.
    pub skip: Vec<String>,
    /// Calls under random disturbances instead, so many minutes; `null`: none.
    pub soak_minutes: Option<u32>,
    /// What the guest did wrong on purpose, to see whether that is found; `null`: nothing.
    pub injected_fault: Option<String>,
    /// CPUs that vCPU threads are pinned to, in turn; empty: not pinned.
    pub pin: Vec<usize>,
    /// The KVM device.
    pub device: String,
    /// The guest image's file; `null`: the one that kipi was built with.
    pub guest: Option<String>,
}

/// Documents have times in seconds.
mod seconds {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(Error::custom)
    }
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", content = "reason", rename_all = "lowercase")]
pub enum Outcome {
    /// Everything was as it must be.
    Passed,
    /// Something was not, and what: one line.
    Failed(String),
    /// The test cannot be run here, and why: one line.
    Skipped(String),
}

/// A test that has been run, or skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finished {
    /// From the general to the particular: `contract/x2apic/all-but-self/halt`.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    #[serde(rename = "seconds", with = "seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// What was counted: `96 calls, 288 workers`; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What a run of the suite was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The sandbox that kipi's process is in, if it has been said whether there is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

/// The whole result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that cannot be run here.
    pub skipped: usize,
    /// How long all of them took.
    #[serde(rename = "seconds", with = "seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// Somebody ended the run before its end.
    pub interrupted: bool,
    /// Tests that were planned and never began.
    pub not_run: usize,
}
