//! The command line as a user meets it: what goes where, what is left when something happens in the middle.

use kipi_tests::{Ran, Running, assert_valid, binary, document, hypervisor, kipi, run_tests, test, turn, wait_until};
use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// The quickest cell: one route, one state, one vantage.
const QUICK: [&str; 10] =
    ["--native", "none", "--route", "xapic", "--target-state", "halt", "--observe", "guest", "--vcpus", "2"];

fn quick(more: &[&str]) -> Ran {
    kipi(QUICK.iter().chain(more))
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a directory for temporary files")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Success: a result, and not a word on standard error, which is no terminal here.
fn assert_good(ran: &Ran) {
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_ne!(ran.stdout, "", "no result");
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// How many rounds were run of each cell: those that found their target in another state, those of disturbed blocks, and those
/// that were measured again included.
fn rounds(document: &Value) -> Vec<u64> {
    let cells = document["cells"].as_array().expect("cells");
    let blocks = |cell: &Value| -> u64 {
        cell["blocks"].as_array().expect("blocks").iter().map(|block| count(&block["rounds"])).sum()
    };
    cells.iter().map(|cell| blocks(cell) + count(&cell["not_in_state"])).collect()
}

#[test]
fn help_and_version_are_results() {
    let help = kipi(["--help"]);
    assert_good(&help);
    for word in ["--vcpus", "--route", "--json", "doctor", "xapic", "all-but-self", "halt", "stamp"] {
        assert!(help.stdout.contains(word), "no {word} in the help");
    }
    for hidden in ["fault", "hang"] {
        assert!(!help.stdout.contains(&format!("{hidden},")), "the help offers {hidden}");
    }
    let version = kipi(["--version"]);
    assert_good(&version);
    assert_eq!(version.stdout, concat!("kipi ", env!("CARGO_PKG_VERSION"), "\n"));
    for command in ["measure", "doctor"] {
        assert_good(&kipi([command, "--help"]));
        assert_eq!(kipi(["help", command]).stdout, kipi([command, "--help"]).stdout);
    }
    let short = kipi(["-h"]);
    assert_good(&short);
    assert!(short.stdout.contains("--vcpus") && !short.stdout.contains("Exit status:"));
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("130  interrupted"));
}

#[test]
fn a_wrong_option_points_to_the_help_that_has_it() {
    let ran = kipi(["check", "--fomat", "tap"]);
    assert_eq!(ran.status, Some(2));
    assert!(ran.complaint().ends_with("(see 'kipi check --help')") && ran.complaint().contains("--format"), "{ran:?}");
}

#[test]
fn a_time_is_about_what_a_run_takes() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    // How long it really takes is the machine's affair; that there are rounds, that they are told, and that more time brings more.
    let made = ["0.2", "2"].map(|seconds| {
        let ran = quick(&["--seconds", seconds, "--references", "none", "--json", "-"]);
        assert_good(&ran);
        let document = document(&ran.stdout);
        assert_eq!(document["config"]["seconds"].as_f64(), seconds.parse().ok());
        let rounds = count(&document["config"]["rounds"]);
        assert_eq!(count(&document["cells"][0]["rounds_asked"]), rounds);
        rounds
    });
    assert!(made[0] >= 5 && made[1] > made[0], "{made:?}");
}

#[test]
fn a_document_says_when_how_and_on_what() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let documents = [(), ()].map(|()| document(&quick(&["--rounds", "20", "--settle", "15", "--json", "-"]).stdout));
    let [one, other] = &documents;
    let date = one["date"].as_str().expect("a date");
    assert!(date.ends_with('Z') && date.len() == "2026-01-02T03:04:05.678Z".len(), "{date}");
    let command: Vec<&str> = one["command"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
    assert!(command.ends_with(&["--rounds", "20", "--settle", "15", "--json", "-"]), "{command:?}");
    assert_eq!((&one["config"]["settle_us"], &one["config"]["device"]), (&15.into(), &"/dev/kvm".into()));
    assert!(one["host"]["key"].is_string() && one["host"]["key"] == other["host"]["key"]);
}

#[test]
fn without_arguments_it_measures_the_default_cells() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let directory = temporary();
    let json = directory.path().join("out.json");
    let ran = kipi(["--json", text(&json)]);
    assert_good(&ran);
    for word in ["xapic", "memory", "spin", "user", "halt", "exits", "round trip", "ε"] {
        assert!(ran.stdout.contains(word), "no {word} in the table:\n{}", ran.stdout);
    }
    let document = document(&fs::read_to_string(&json).expect("the document"));
    assert_eq!((&document["partial"], &document["error"]), (&Value::Bool(false), &Value::Null));
    // Each interrupt in three states, memory in one, all in two vantages.
    let interrupts = if hypervisor.offers_x2apic() { 2 } else { 1 };
    let cells = document["cells"].as_array().expect("cells").iter();
    let is_native = |cell: &&Value| cell["route"].as_str().is_some_and(|route| route.starts_with("native"));
    let natives = cells.filter(is_native).count();
    // Where threads cannot have CPUs of their own, the document says why.
    assert!(natives == 2 || natives == 0 && !document["undivided"].is_null(), "busy threads, and sleeping ones");
    let mut rounds = rounds(&document);
    rounds.truncate(rounds.len() - natives);
    assert_eq!(rounds.len(), (interrupts * 3 + 1) * 2);
    // A machine on which most blocks are disturbed makes fewer, and the document says so.
    let warnings = document["warnings"].as_array().expect("warnings");
    let is_cut = warnings.iter().any(|warning| warning.as_str().expect("text").contains("--rounds 500 makes all"));
    assert!(is_cut || rounds.iter().all(|&rounds| rounds >= 500), "{rounds:?}, {warnings:?}");
    for cell in document["cells"].as_array().expect("cells") {
        let clean = cell["integrity"].as_object().expect("integrity").values().all(|count| count == 0);
        assert!(clean, "{cell}");
    }
}

#[test]
fn json_to_standard_output_is_all_that_is_there() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let ran = quick(&["--rounds", "20", "--json", "-"]);
    assert_good(&ran);
    let measurement = document(&ran.stdout);
    // On a machine that was never quiet: those of the blocks that were measured again, too.
    let rounds = rounds(&measurement);
    assert!(rounds.len() == 1 && rounds[0] >= 20, "{rounds:?}");
    // The validator is one: a document without its cells is none.
    let mut damaged = measurement;
    damaged.as_object_mut().expect("an object").remove("cells");
    assert!(std::panic::catch_unwind(|| assert_valid(&damaged)).is_err());
}

#[test]
fn csv_to_standard_output_is_all_that_is_there() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let ran = quick(&["--rounds", "20", "--worker", "spin", "--csv", "-"]);
    assert_good(&ran);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("call,route,destination,target_state,vcpus,"), "{}", lines[0]);
    assert!(lines[1..].iter().all(|line| line.starts_with("broadcast,xapic,all-but-self,halt,2,guest,,")), "{lines:?}");
    assert!(lines.len() > 2 && lines.len() % 2 == 1, "a row for each of two participants: {} lines", lines.len());
}

#[test]
fn a_block_larger_than_the_sample_rings_is_split() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    // Twenty blocks as usual would have 25 rounds each: with their warm-up, one more than a ring holds.
    let memory =
        ["--native", "none", "--route", "memory", "--target-state", "spin", "--observe", "guest", "--vcpus", "2"];
    let ran = kipi(memory.iter().chain(&["--rounds", "500", "--warmup", "1000", "--boots", "1", "--json", "-"]));
    assert_good(&ran);
    let rounds = rounds(&document(&ran.stdout));
    assert!(rounds.len() == 1 && rounds[0] >= 500, "{rounds:?}");
}

#[test]
fn a_device_that_is_full_costs_the_document_but_not_the_table() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    // Samples of many rounds meet the full device while they are measured, others when all is over.
    for (option, rounds) in [("--json", "20"), ("--csv", "20"), ("--csv", "500")] {
        let ran = quick(&["--rounds", rounds, option, "/dev/full"]);
        let line = ran.complaint();
        for needle in [option, "/dev/full", "No space left on device", "free some space"] {
            assert!(line.contains(needle), "no {needle:?} in: {line}");
        }
        assert_eq!(ran.status, Some(1), "{line}");
        assert!(ran.stdout.contains("xapic") && ran.stdout.contains("halt"), "the table is lost: {ran:?}");
    }
}

/// A command whose files may have 512 bytes or a bit more, which stands in for a full disk.
fn with_little_room(arguments: &[&str]) -> Ran {
    let mut shell = Command::new("sh");
    // Without its signal, the limit is an error like any other.
    shell.args(["-c", "trap '' XFSZ && ulimit -f 1 && exec \"$@\"", "sh"]).arg(binary()).args(QUICK);
    Running::start(shell.args(arguments)).finish()
}

#[test]
fn a_disk_that_is_full_is_told_once() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = temporary();
    let [json, csv, html] = ["out.json", "out.csv", "out.html"].map(|name| directory.path().join(name));
    let files = ["--json", text(&json), "--html", text(&html)];
    // Samples of many rounds find no room while they are measured, others when all is over.
    for more in [&["--rounds", "20"][..], &["--rounds", "500", "--csv", text(&csv)]] {
        let ran = with_little_room(&[more, &files].concat());
        assert!(ran.complaint().contains("File too large"), "{ran:?}");
        assert_eq!(ran.status, Some(1));
        assert!(ran.stdout.contains("xapic"), "the table is lost: {ran:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 0, "something is left");
}

#[test]
fn help_that_cannot_be_printed_is_a_failure() {
    for arguments in [&["--help"][..], &["check", "--help"], &["--version"]] {
        let full = fs::File::options().write(true).open("/dev/full").expect("the device");
        let output = Command::new(binary()).args(arguments).stdout(full).output().expect("kipi runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "kipi: cannot write to standard output: No space left on device (os error 28)\n");
        assert_eq!(output.status.code(), Some(1));
    }
}

/// A limit on the size of files stands in for the full disk: the write fails in the middle of the document.
#[test]
fn nothing_half_written_gets_the_final_name() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = temporary();
    let (fresh, existing) = (directory.path().join("fresh.json"), directory.path().join("existing.json"));
    fs::write(&existing, "what was there before").expect("a file");
    for path in [&fresh, &existing] {
        let ran = with_little_room(&["--rounds", "20", "--json", text(path)]);
        let line = ran.complaint();
        assert!(line.contains("--json") && line.contains(text(path)) && line.contains("File too large"), "{line}");
        assert_eq!(ran.status, Some(1));
        assert!(ran.stdout.contains("xapic"), "the table is lost: {ran:?}");
    }
    assert!(!fresh.exists(), "half a document");
    assert_eq!(fs::read_to_string(&existing).expect("the old file"), "what was there before");
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 1, "temporary files are left");
}

/// A run that lasts until it is stopped, and measures already: raw samples arrive in a file in `directory`, whatever its name is.
fn endless(directory: &Path) -> Running {
    const SOME_BLOCK: u64 = 20_000;
    let (json, csv) = (directory.join("out.json"), directory.join("out.csv"));
    let mut command = Command::new(binary());
    command.args(QUICK).args(["--rounds", "1000000", "--json", text(&json), "--csv", text(&csv)]);
    let mut running = Running::start(&mut command);
    let descriptors = format!("/proc/{}/fd", running.id());
    let samples = || -> u64 {
        let descriptors = fs::read_dir(&descriptors).into_iter().flatten().filter_map(Result::ok);
        let is_ours = |path: &Path| fs::read_link(path).is_ok_and(|file| file.starts_with(directory));
        let files = descriptors.map(|entry| entry.path()).filter(|path| is_ours(path));
        // A descriptor may be closed in between.
        files.filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum()
    };
    wait_until("samples", || running.has_ended() || samples() > SOME_BLOCK);
    running
}

fn signal(running: &Running, signal: Signal) {
    let id = i32::try_from(running.id()).expect("process ids are positive");
    kill_process(Pid::from_raw(id).expect("process ids are positive"), signal).expect("one's own child");
}

#[test]
fn ctrl_c_writes_what_was_measured() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = temporary();
    let running = endless(directory.path());
    signal(&running, Signal::INT);
    assert_written(&running.finish(), directory.path());
}

/// `timeout` signals its command, and a moment later the command's process group.
#[test]
fn signals_that_follow_one_another_closely_are_one_request() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = temporary();
    let running = endless(directory.path());
    for each in [Signal::TERM, Signal::TERM, Signal::INT] {
        signal(&running, each);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_written(&running.finish(), directory.path());
}

/// An [`endless`] run that was interrupted has written everything that it has measured.
fn assert_written(ran: &Ran, directory: &Path) {
    assert_eq!((ran.status, ran.complaint()), (Some(130), "kipi: interrupted"));
    let document = document(&fs::read_to_string(directory.join("out.json")).expect("the document"));
    assert_eq!((&document["partial"], &document["error"]), (&Value::Bool(true), &Value::from("interrupted")));
    let measured = rounds(&document);
    assert!(measured.len() == 1 && (1..1_000_000).contains(&measured[0]), "{measured:?}");
    assert!(ran.stdout.contains("xapic") && ran.stdout.contains("PARTIAL"), "{}", ran.stdout);
    // The raw samples are those of the document, each round with two participants.
    let csv = fs::read_to_string(directory.join("out.csv")).expect("the samples");
    let blocks = document["cells"][0]["blocks"].as_array().expect("blocks");
    let good: u64 = blocks.iter().map(|block| block["rounds"].as_u64().expect("a count")).sum();
    assert_eq!(csv.lines().count() as u64, 1 + 2 * good, "those of disturbed blocks are among them");
    assert!(csv.ends_with('\n'), "half a row");
    assert_eq!(fs::read_dir(directory).expect("the directory").count(), 2, "temporary files are left");
}

/// The reader of its document reads nothing, so that it cannot end in good order.
#[test]
fn a_later_signal_ends_a_run_that_is_stuck_and_leaves_nothing() {
    const ROOM: usize = 4096;
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = temporary();
    let html = directory.path().join("out.html");
    let mut command = Command::new(binary());
    command.args(QUICK).args(["--rounds", "20", "--json", "-", "--html", text(&html)]);
    let mut stuck = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kipi starts");
    let stdout = stuck.stdout.take().expect("piped");
    let room = fcntl_setpipe_size(&stdout, ROOM).expect("a smaller pipe");
    wait_until("a full pipe", || ioctl_fionread(&stdout).expect("a count") == room as u64);
    let signal = |signal| {
        let id = i32::try_from(stuck.id()).expect("process ids are positive");
        kill_process(Pid::from_raw(id).expect("process ids are positive"), signal).expect("one's own child");
    };
    signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(1_100));
    signal(Signal::TERM);
    assert_eq!(stuck.wait().expect("it ends").code(), Some(130));
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 0, "temporary files are left");
}

#[test]
fn a_killed_run_leaves_what_was_there_before() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = temporary();
    let (json, csv) = (directory.path().join("out.json"), directory.path().join("out.csv"));
    fs::write(&json, "yesterday's").expect("a file");
    let running = endless(directory.path());
    signal(&running, Signal::KILL);
    assert_eq!(running.finish().status, None, "a signal ended it");
    assert_eq!(fs::read_to_string(&json).expect("the old file"), "yesterday's");
    assert!(!csv.exists(), "half the samples under the final name");
    // Where the file system has no files without a name, the next start collects them, be it of another command.
    let next = kipi(["trace", "--json", text(&json), "--device", "/nonexistent/kvm"]);
    assert_eq!(next.status, Some(4), "{next:?}");
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 1, "temporary files are left");
}

/// `kipi | true`: the reader is gone before the first byte.
#[test]
fn nobody_reads_the_result() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let documents = ["--json", "--csv", "--html", "--prometheus", "--bmf"].map(|option| [option, "-"]);
    for more in [&["--help"][..], &[]].into_iter().chain(documents.iter().map(|document| &document[..])) {
        let mut command = Command::new(binary());
        let ran = Running::start_unread(command.args(QUICK).args(["--rounds", "20"]).args(more)).finish();
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{more:?}");
    }
}

#[test]
fn a_bug_check_is_one_line_and_the_document_has_it() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = temporary();
    let json = directory.path().join("out.json");
    let ran = quick(&["--worker", "fault", "--json", text(&json)]);
    let line = ran.complaint();
    for needle in ["bug check on vCPU 1", "#UD", "RIP 0x", "workers::fault", "error code", "IRQL 14"] {
        assert!(line.contains(needle), "no {needle:?} in: {line}");
    }
    assert_eq!(ran.status, Some(1));
    let document = document(&fs::read_to_string(&json).expect("the document"));
    assert_eq!(document["partial"], true);
    assert!(line.contains(document["error"].as_str().expect("the reason")));
}

#[test]
fn more_vcpus_than_cpus_is_a_warning() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let allowed = kipi::host::Machine::read().allowed_cpus.expect("Linux tells");
    let ran = quick(&["--pin", &allowed[0].to_string(), "--rounds", "2", "--json", "-"]);
    let document = document(&ran.stdout);
    let warnings = document["warnings"].as_array().expect("warnings");
    let overcommit = warnings.iter().filter_map(Value::as_str).any(|it| it.contains("2 vCPUs share 1 CPU:"));
    assert!(ran.status == Some(0) && overcommit, "{warnings:?}");
}

/// What kipi writes to its standard error when that is a terminal.
fn on_a_terminal(arguments: &[&str]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).expect("a pseudo-terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("one's own pseudo-terminal");
    let stderr = ioctl_tiocgptpeer(&terminal, flags).expect("its other side");
    let mut command = Command::new(binary());
    command.args(arguments).env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().expect("kipi starts");
    // Its copy of the other side: the terminal ends when the child closes the last one.
    drop(command);
    let mut text = Vec::new();
    // Ends with EIO when nobody has the other side open.
    let _ = fs::File::from(terminal).read_to_end(&mut text);
    assert!(child.wait().expect("a child can be waited for").success());
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let shown = on_a_terminal(&[&QUICK[..], &["--rounds", "2000"]].concat());
    assert!(shown.contains("blocks") && shown.contains("xapic all-but-self halt"), "{shown:?}");
    assert_eq!(on_a_terminal(&[&QUICK[..], &["--rounds", "2000", "--quiet"]].concat()), "");
    let checked = ["check", "--filter", "contract/completes/xapic"];
    assert!(on_a_terminal(&checked).contains("contract/completes/xapic"));
    assert_eq!(on_a_terminal(&[&checked[..], &["-q"]].concat()), "");
    assert_good(&quick(&["--rounds", "2000"]));
}
