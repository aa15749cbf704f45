//! What kipi's integration tests share: the binary, a guarded way to run it, KVM or the reason to skip, the schema.
//!
//! The tests themselves are in `tests/`, one file for each question. Those that need KVM are skipped where there is none
//! ([`skip`]); no test asserts how fast anything is, and time limits only end what hangs.

pub mod code;
pub mod guest_words;
mod harness;
mod sessions;

pub use harness::{Test, run_tests, skip};
/// For the attribute's own use.
pub use inventory;
pub use kipi_tests_macros::test;
pub use sessions::{NEVER, block_that, boot, machine, machine_of};

use guest_stub::abi::{Destination, TargetState, Wait, Worker};
use kipi::config::routes::Route;
use kipi::config::{Call, Config, Observe};
use kipi::vm::Hypervisor;
use object::{Object, ObjectSegment};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A process that writes nothing for so long hangs: it is killed, and its test fails. A whole suite on a busy machine takes longer.
pub const HANG: Duration = Duration::from_mins(5);

/// A command line of one cell on two vCPUs, without references.
pub const ONE_CELL: [&str; 11] = [
    "measure",
    "--vcpus",
    "2",
    "--route",
    "memory",
    "--target-state",
    "spin",
    "--observe",
    "guest",
    "--references",
    "none",
];

/// The KVM device.
pub const DEVICE: &str = "/dev/kvm";

/// The `kipi` binary: the one that `KIPI_TEST_BINARY` names, where tests run without cargo; else built with the profile
/// of these tests.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("KIPI_TEST_BINARY").map_or_else(build, PathBuf::from))
}

/// Cargo tells integration tests of another package neither where the binary is nor builds it for them.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its file");
    // target[/triple]/profile/deps/test-hash
    let profile_dir = test.ancestors().nth(2).expect("tests lie in deps/ of the profile's directory");
    let profile = profile_dir.file_name().and_then(|name| name.to_str()).expect("profiles have plain names");
    let parent = profile_dir.parent().expect("the profile's directory lies in the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    // The same selection as a plain `cargo test`: of one package alone, cargo would unite other features and compile
    // the dependencies once more.
    cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--quiet", "--bin", "kipi", "--tests"]);
    // Cargo's one exception: the profile `dev` builds into `debug`.
    cargo.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    if parent.join("CACHEDIR.TAG").exists() {
        cargo.arg("--target-dir").arg(parent);
    } else {
        cargo.arg("--target").arg(parent.file_name().expect("the target's triple"));
        cargo.arg("--target-dir").arg(parent.parent().expect("the target directory"));
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "kipi does not build: {}", String::from_utf8_lossy(&output.stderr));
    profile_dir.join("kipi")
}

/// What became of a process.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// The error that a user reads: the one line on standard error, which begins with the program's name.
    ///
    /// # Panics
    /// If standard error holds anything else.
    pub fn complaint(&self) -> &str {
        let line = self.stderr.strip_suffix('\n').filter(|line| !line.contains('\n'));
        let line = line.unwrap_or_else(|| panic!("not one line on standard error: {self:?}"));
        assert!(line.starts_with("kipi: ") && !line.contains("backtrace"), "{self:?}");
        line
    }
}

/// A process whose output is collected while it runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    heard: Heard,
}

/// When a process last wrote something, which its readers say.
type Heard = Arc<Mutex<Instant>>;

impl Running {
    /// Starts `command` with both outputs piped and no input.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(command: &mut Command) -> Self {
        Self::start_for(command, collect)
    }

    /// As [`Running::start`], but nobody reads its standard output: the reader of the pipe is gone.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_unread(command: &mut Command) -> Self {
        Self::start_for(command, |pipe, _| {
            drop(pipe);
            thread::spawn(String::new)
        })
    }

    fn start_for(command: &mut Command, reader: impl FnOnce(ChildStdout, Heard) -> JoinHandle<String>) -> Self {
        // Backtraces on: a panic would not go unnoticed.
        command.env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let heard = Heard::new(Mutex::new(Instant::now()));
        let stdout = reader(child.stdout.take().expect("piped"), Arc::clone(&heard));
        let stderr = collect(child.stderr.take().expect("piped"), Arc::clone(&heard));
        Self { child, stdout, stderr, heard }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it hangs.
    pub fn finish(mut self) -> Ran {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.elapsed() > HANG {
                // It may have ended in between.
                let _ = self.child.kill();
                panic!("the process hangs; standard error: {:?}", self.stderr.join());
            }
            thread::sleep(Duration::from_millis(5));
        };
        let text = |reader: JoinHandle<String>| reader.join().expect("reading a pipe does not panic");
        Ran { status: status.code(), stdout: text(self.stdout), stderr: text(self.stderr) }
    }
}

fn collect(mut pipe: impl Read + Send + 'static, heard: Heard) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut bytes, mut part) = (Vec::new(), [0; 8192]);
        loop {
            match pipe.read(&mut part) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What could be read is worth more than the reason why there is no more.
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    bytes.extend(&part[..length]);
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs kipi to its end.
///
/// # Panics
/// If it cannot be built, does not start, or hangs.
pub fn kipi<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    // Reports are as wide for everybody.
    Running::start(Command::new(binary()).args(arguments).env_remove("COLUMNS")).finish()
}

/// Waits until `condition` holds.
///
/// # Panics
/// If that takes so long that something hangs.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// KVM; `None`, and the test is skipped, where it cannot be used.
pub fn hypervisor() -> Option<Hypervisor> {
    match Hypervisor::open(Path::new(DEVICE)) {
        Ok(hypervisor) => Some(hypervisor),
        Err(error) => {
            skip(error);
            None
        }
    }
}

/// Of a measurement of one cell: broadcast calls of halted targets by two vCPUs on one machine, and nothing besides.
pub fn measurement() -> Config {
    Config {
        device: PathBuf::from(DEVICE),
        guest: None,
        vcpus: vec![2],
        calls: vec![Call::Broadcast],
        routes: vec![Route::X2Apic],
        destinations: vec![Destination::AllButSelf],
        target_states: vec![TargetState::Halt],
        idle_before: vec![None],
        waits: vec![Wait::Spin],
        observe: vec![Observe::Guest],
        trace: Vec::new(),
        sweep: false,
        boots: Some(1),
        blocks: None,
        repetitions: 0,
        references: None,
        beside: Vec::new(),
        undivided: Vec::new(),
        exit_costs: false,
        rounds: 10,
        warmup: 1,
        worker: Worker::Stamp,
        argument: 0,
        pin: Vec::new(),
        cpus: vec![0],
        deadline: None,
        settle: Duration::ZERO,
        halt_poll_ns: None,
        is_one_of_many: false,
        injected_delay: None,
        out: kipi::config::OUT,
        latency_us: None,
        time: None,
        limit_time: false,
    }
}

/// The turn of one test among those of its file that keep the CPUs busy: guests that compete for them take much longer
/// than guests in turn.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A failed test says nothing about the next.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks a measurement document against the published schema.
///
/// # Panics
/// If it does not conform.
pub fn assert_valid(document: &Value) {
    static SCHEMA: &str = include_str!("../../resources/measurement.schema.json");
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let mut errors = String::new();
    for error in validator.iter_errors(document) {
        let _ = writeln!(errors, "{}: {error}", error.instance_path());
    }
    assert!(errors.is_empty(), "{errors}");
}

/// Reads a measurement document, and checks it against the schema.
///
/// # Panics
/// If it is no such document.
pub fn document(text: &str) -> Value {
    let document = serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}: {text}"));
    assert_valid(&document);
    document
}

/// Where in an ELF file the byte lies that is loaded at `address`.
///
/// # Panics
/// If it is no ELF file, or loads nothing there.
pub fn file_offset(elf: &[u8], address: u64) -> usize {
    let file = object::File::parse(elf).expect("an ELF file");
    let segment = file.segments().find(|segment| {
        let (start, (_, size)) = (segment.address(), segment.file_range());
        (start..start + size).contains(&address)
    });
    let segment = segment.unwrap_or_else(|| panic!("nothing is loaded at {address:#x}"));
    usize::try_from(segment.file_range().0 + (address - segment.address())).expect("the file is in memory")
}
