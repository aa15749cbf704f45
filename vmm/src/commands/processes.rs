//! Runs of `kipi measure` as processes.

use super::documents;
use super::status::{Failure, Status};
use crate::results::measurement::Measurement;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// This kipi's own file.
///
/// # Errors
/// The system does not tell.
pub(super) fn own() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::failed(anyhow::anyhow!("cannot find this kipi's own file: {error}")))
}

/// One run of a kipi; `None`: it was interrupted.
///
/// # Errors
/// It cannot be run, ends with an error, or writes no document that is read here.
pub(super) fn run(kipi: &Path, arguments: &[OsString]) -> Result<Option<Measurement>, Failure> {
    let name = kipi.display();
    let output = Command::new(kipi)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::bad_input(anyhow::anyhow!("cannot run {name}: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or("nothing on standard error").trim_start_matches("kipi: ");
    let failed = |status| Failure::new(status, anyhow::anyhow!("{name}: {said}"));
    match output.status.code() {
        // A call that went wrong is in the document.
        Some(0 | 1) if !output.stdout.is_empty() => {
            documents::parse(&name.to_string(), &output.stdout).map(Some).map_err(Failure::bad_input)
        }
        Some(2) => Err(failed(Status::BadInput)),
        Some(4) => Err(failed(Status::HostCannot)),
        Some(130) => Ok(None),
        Some(_) | None => Err(failed(Status::Failed)),
    }
}
