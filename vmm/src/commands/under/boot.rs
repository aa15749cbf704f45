//! One boot of the standalone image under another VMM: what it has written to its serial line.

use super::super::processes::signal_group;
use super::orphans;
use super::telling::{Fault, Telling};
use super::template::{Filling, Template};
use crate::standalone::image;
use kipi_standalone::lines;
use kipi_standalone::plan::Plan;
use rustix::process::Signal;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thiserror::Error;

/// How often it is looked what has been written.
const LOOK: Duration = Duration::from_millis(20);
/// An image that writes nothing for so long does not run.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a VMM that was asked to end may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most that one boot may write.
const MOST_BYTES: usize = 1 << 28;

/// Why a boot brought nothing.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// Files for it cannot be made.
    #[error("cannot write files for it: {0}")]
    Files(#[source] io::Error),
    /// There is no such program, or it may not be run.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It ended before the image did.
    #[error("it ended before the image did ({status}){said}")]
    Ended {
        /// How.
        status: String,
        /// Its last line of standard error.
        said: String,
    },
    /// What the image tells.
    #[error("{0}")]
    Told(#[from] Fault),
    /// Nothing came for a minute.
    #[error("the image has written nothing for {} s", SILENCE.as_secs())]
    Silent,
    /// It wrote more than any run does.
    #[error("it has written more than {} MiB", MOST_BYTES >> 20)]
    TooMuch,
}

/// How a boot ended.
pub(super) enum Booted {
    /// With a log, in which the image has come to its end.
    Log(Vec<u8>),
    /// The user wants to stop: what was written until then.
    Interrupted(Vec<u8>),
}

/// Files that boots need.
pub(super) struct Files {
    folder: TempDir,
    kernel: PathBuf,
}

impl Files {
    /// Writes the image.
    pub(super) fn new() -> io::Result<Self> {
        let folder = TempDir::with_prefix("kipi-under-")?;
        let kernel = folder.path().join("kipi.elf");
        fs::write(&kernel, image::STANDALONE)?;
        Ok(Self { folder, kernel })
    }
}

/// Boots the image once under a VMM, with a plan and its words, and ends that when the image has, or when it `is_to_stop`.
pub(super) fn run(
    template: &Template,
    files: &Files,
    (plan, words): (&Plan, &str),
    is_to_stop: &mut dyn FnMut() -> bool,
) -> Result<Booted, Error> {
    let vcpus = plan.vcpus(1) as usize;
    let serial = files.folder.path().join("serial");
    let config = files.folder.path().join("config.json");
    let errors = files.folder.path().join("errors");
    fs::write(&serial, "").map_err(Error::Files)?;
    fs::write(&config, firecracker(files, words, vcpus)).map_err(Error::Files)?;
    let filling = Filling { kernel: &files.kernel, append: words, serial: &serial, config: &config, vcpus };
    let line = template.fill(&filling);
    let is_in_file = template.has_serial();
    let output = if is_in_file { Stdio::null() } else { Stdio::from(File::create(&serial).map_err(Error::Files)?) };
    let child = Command::new(&line[0])
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(File::create(&errors).map_err(Error::Files)?)
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Run { program: line[0].clone(), source })?;
    let mut vmm = Vmm(child);
    let file = File::open(&serial).map_err(Error::Files)?;
    let mut log = Log { file, bytes: Vec::new(), looked: 0, telling: Telling::of(plan) };
    let mut heard = Instant::now();
    loop {
        // Before the look at the log, which then has all that it has written.
        let ended = vmm.0.try_wait().map_err(Error::Files)?;
        if log.read().map_err(Error::Files)? {
            heard = Instant::now();
        }
        if log.has_end()? {
            return Ok(Booted::Log(log.bytes));
        }
        if is_to_stop() {
            return Ok(Booted::Interrupted(log.bytes));
        }
        if let Some(status) = ended {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            let said = said.trim().lines().last().map_or_else(String::new, |line| format!(": {line}"));
            return Err(Error::Ended { status: status.to_string(), said });
        }
        if log.bytes.len() > MOST_BYTES {
            return Err(Error::TooMuch);
        }
        if heard.elapsed() > SILENCE {
            return Err(Error::Silent);
        }
        thread::sleep(LOOK);
    }
}

/// Firecracker's configuration (its docs/getting-started.md): image, words, processors.
fn firecracker(files: &Files, words: &str, vcpus: usize) -> String {
    json!({
        "boot-source": { "kernel_image_path": files.kernel, "boot_args": words },
        "drives": [],
        "machine-config": { "vcpu_count": vcpus, "mem_size_mib": 256 },
    })
    .to_string()
}

/// What the serial line has brought.
struct Log {
    file: File,
    bytes: Vec<u8>,
    /// Up to where it was looked for the end: whole lines.
    looked: usize,
    telling: Telling,
}

impl Log {
    /// Reads what has been written meanwhile. Whether that was something.
    fn read(&mut self) -> io::Result<bool> {
        let most = (MOST_BYTES + 1).saturating_sub(self.bytes.len());
        Ok((&self.file).take(most as u64).read_to_end(&mut self.bytes)? > 0)
    }

    /// Whether the image has written its last record.
    fn has_end(&mut self) -> Result<bool, Fault> {
        let fresh = &self.bytes[self.looked..];
        let whole = fresh.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        self.looked += whole;
        for line in lines::decode(&fresh[..whole]) {
            if self.telling.hear(line)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A VMM that is ended when nobody needs it any more, with all processes that it has started.
struct Vmm(Child);

impl Drop for Vmm {
    fn drop(&mut self) {
        signal_group(&self.0, Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE && matches!(self.0.try_wait(), Ok(None)) {
            thread::sleep(LOOK);
        }
        signal_group(&self.0, Signal::KILL);
        let _ = self.0.wait();
        orphans::end();
    }
}
