//! One run of the release binary, for benchmarks that look at what it says.

use anyhow::{Context, bail};
use kipi::commands::status::Status;
use kipi::results::measurement::Measurement;
use std::process::{Command, Stdio};

/// Runs kipi once with these arguments, which let it write its document to standard output; `None` where the host cannot do it.
pub(crate) fn measure(arguments: &[&str]) -> anyhow::Result<Option<Measurement>> {
    let what = || format!("kipi {}", arguments.join(" "));
    let output =
        Command::new(env!("CARGO_BIN_EXE_kipi")).args(arguments).stdin(Stdio::null()).output().with_context(what)?;
    if output.status.code() == Some(Status::HostCannot as i32) {
        return Ok(None);
    }
    if !output.status.success() {
        bail!("{}: {}: {}", what(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(what).map(Some)
}
