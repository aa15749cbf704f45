//! Runs of `kipi measure` as processes.

use super::documents;
use super::interrupts::INTERRUPTED;
use super::status::{Failure, Status};
use crate::results::measurement::Measurement;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often it is looked whether a run has ended.
const LOOK: Duration = Duration::from_millis(2);

/// A run that was asked to end, and has not within this time, is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of a run's output, in bytes: a document has a few MiB.
const MOST_BYTES: u64 = 1 << 30;

/// How a run ended.
pub(super) enum Ended {
    /// With a document.
    Measured(Box<Measurement>),
    /// The user wants to stop.
    Interrupted,
    /// It took longer than it may.
    OutOfTime,
}

/// This kipi's own file.
///
/// # Errors
/// The system does not tell.
pub(super) fn own() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::failed(anyhow::anyhow!("cannot find this kipi's own file: {error}")))
}

/// One run of a kipi, which is killed if it has not ended at `until`. It has a process group of its own, which gets the request to stop that this
/// process gets: a signal may come for this process alone.
///
/// # Errors
/// It cannot be run, ends with an error, or writes no document that is read here.
pub(super) fn run(kipi: &Path, arguments: &[OsString], until: Option<Instant>) -> Result<Ended, Failure> {
    let name = kipi.display();
    let mut child = Command::new(kipi)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::bad_input(anyhow::anyhow!("cannot run {name}: {error}")))?;
    let output = collect(child.stdout.take());
    let errors = collect(child.stderr.take());
    let lost = |error: io::Error| Failure::failed(anyhow::anyhow!("{name}: {error}"));
    let Some(status) = wait(&mut child, until).map_err(lost)? else { return Ok(Ended::OutOfTime) };
    let [output, errors] = [output, errors].map(|read| read.join().expect("it does not panic"));
    let said = String::from_utf8_lossy(&errors);
    let said = said.lines().last().map(|line| line.trim_start_matches("kipi: ").to_owned());
    let failed = |status| Failure::new(status, anyhow::anyhow!("{name}: {}", said.clone().unwrap_or_default()));
    match status.code() {
        // A call that went wrong is in the document.
        Some(0 | 1) if !output.is_empty() => documents::accept(&name.to_string(), &output, true)
            .map(|run| Ended::Measured(Box::new(run.measurement)))
            .map_err(Failure::bad_input),
        Some(130) => Ok(Ended::Interrupted),
        Some(2) if said.is_some() => Err(failed(Status::BadInput)),
        Some(4) if said.is_some() => Err(failed(Status::HostCannot)),
        Some(_) | None => {
            let said = said.map_or_else(String::new, |said| format!(": {said}"));
            Err(Failure::failed(anyhow::anyhow!("{name} {} and wrote no document{said}", told(status))))
        }
    }
}

/// `ended with status 3`.
fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// All of a pipe, read as it comes, so that the run never waits for its reader.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until an error is what there is.
        let _ = pipe.map(|pipe| pipe.take(MOST_BYTES).read_to_end(&mut bytes));
        bytes
    })
}

/// Sends a signal to all processes of a group that `child` leads.
pub(super) fn signal_group(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // A group that is gone has ended by itself.
        let _ = kill_process_group(group, signal);
    }
}

/// `None`: it had to be killed, since its time was over.
fn wait(child: &mut Child, until: Option<Instant>) -> io::Result<Option<ExitStatus>> {
    let mut asked: Option<Instant> = None;
    let mut is_out_of_time = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!is_out_of_time).then_some(status));
        }
        // Relaxed: a flag, and nothing is published with it.
        if asked.is_none() && INTERRUPTED.load(Ordering::Relaxed) {
            signal_group(child, Signal::INT);
            asked = Some(Instant::now());
        }
        is_out_of_time |= until.is_some_and(|until| Instant::now() >= until);
        if is_out_of_time || asked.is_some_and(|asked| asked.elapsed() >= PATIENCE) {
            signal_group(child, Signal::KILL);
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, until: Option<Instant>) -> Result<Ended, Failure> {
        run(Path::new("/bin/sh"), &["-c", script].map(OsString::from), until)
    }

    fn refusal(script: &str) -> String {
        shell(script, None).err().expect("no document").line()
    }

    #[test]
    fn how_a_run_failed_is_said() {
        assert_eq!(refusal("exit 101"), "/bin/sh ended with status 101 and wrote no document");
        assert_eq!(refusal("exit 0"), "/bin/sh ended with status 0 and wrote no document");
        assert_eq!(refusal("kill -KILL $$"), "/bin/sh was ended by signal 9 and wrote no document");
        assert_eq!(refusal("echo 'kipi: no route' >&2; exit 2"), "/bin/sh: no route");
        assert!(refusal("echo no document").starts_with("/bin/sh: it is no JSON"));
    }

    #[test]
    fn a_run_that_hangs_ends_with_its_time_and_so_does_what_it_started() {
        let start = Instant::now();
        let ended = shell("sleep 60 & sleep 60", Some(start + Duration::from_millis(50)));
        assert!(matches!(ended, Ok(Ended::OutOfTime)));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
