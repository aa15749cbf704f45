//! `kipi import` as a user meets it: logs that are whole, cut off, of several runs, and none at all.

#[path = "../../vmm/src/standalone/fixture.rs"]
mod fixture;

use fixture::{Writer, begin, begin_with, boot, log, start};
use guest_stub::abi::Status;
use kipi_standalone::lines::{self, Line};
use kipi_standalone::records::{Record, RecordOf};
use kipi_tests::{Ran, Running, assert_valid, binary, document, kipi, run_tests, test};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// A log in a directory of its own.
struct Log {
    directory: TempDir,
}

impl Log {
    fn new(bytes: &[u8]) -> Self {
        let log = Self { directory: tempfile::tempdir().expect("a directory for temporary files") };
        fs::write(log.place("serial.log"), bytes).expect("a log");
        log
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn import(&self, more: &[&str]) -> Ran {
        let log = self.place("serial.log");
        kipi(["import", log.to_str().expect("a plain path")].iter().chain(more))
    }

    /// Imports it into a document of this name.
    fn document(&self, name: &str) -> serde_json::Value {
        let place = self.place(name);
        let ran = self.import(&["--json", place.to_str().expect("a plain path")]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        document(&fs::read_to_string(&place).expect("a document"))
    }
}

#[test]
fn what_is_no_terminal_is_as_wide_as_the_environment_says() {
    let log = Log::new(&log(1, 2));
    let widest = |columns: &str| {
        let mut import = Command::new(binary());
        let ran = Running::start(import.arg("import").arg(log.place("serial.log")).env("COLUMNS", columns)).finish();
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.stdout.lines().map(|line| line.chars().count()).max().expect("a report")
    };
    assert!(widest("60") <= 60 && widest("200") > 80);
    for nothing in ["", "0", "wide"] {
        assert!((61..=80).contains(&widest(nothing)), "{nothing:?}");
    }
}

#[test]
fn a_log_becomes_the_ordinary_table_and_document() {
    let log = Log::new(&log(5, 2));
    let ran = log.import(&[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.starts_with("kipi 0.1.0 · standalone image under KVMKVMKVM\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("x2apic  10.0 µs") && ran.stdout.contains("ok: none of 80 calls"), "{}", ran.stdout);
    let document = log.document("run.json");
    assert_eq!(document["host"]["standalone"]["door"], "pvh");
    assert_eq!((&document["host"]["kernel"], &document["config"]["boots"]), (&"none".into(), &5.into()));
    assert_eq!(document["cells"][0]["rounds"], 40);
}

#[test]
fn standard_input_is_a_log_and_every_report_is_there() {
    let log = Log::new(&log(1, 2));
    let outputs = [("--csv", "run.csv"), ("--html", "run.html"), ("--prometheus", "run.prom"), ("--bmf", "run.bmf")];
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" "$@" < serial.log"#]).arg(binary()).args(["import", "-", "--json", "-"]);
    for (option, name) in outputs {
        command.args([option, name]);
    }
    let ran = Running::start(command.current_dir(log.directory.path())).finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let document = serde_json::from_str(&ran.stdout).expect("JSON alone");
    assert_valid(&document);
    assert_eq!(document["host"]["standalone"]["log"], "-");
    let text = |name: &str| fs::read_to_string(log.place(name)).expect("it is written");
    assert_eq!(text("run.csv").lines().count(), 1 + 16 * 2, "a row for each participant of each round");
    assert!(text("run.html").contains("standalone image under KVMKVMKVM"));
    assert!(text("run.prom").contains("kipi_run_info{") && text("run.bmf").contains("x2apic"));
}

#[test]
fn imported_runs_are_compared_as_others_are() {
    let mut metal = Writer::default();
    (0..5).for_each(|_| boot(&mut metal, 2, ""));
    let (on_kvm, on_metal) = (Log::new(&log(5, 2)), Log::new(&metal.log));
    on_kvm.document("run.json");
    on_metal.document("run.json");
    let [base, new] = [&on_metal, &on_kvm].map(|log| log.place("run.json").to_str().expect("plain").to_owned());
    let ran = kipi(["compare", &base, "--new", &new]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("standalone image on bare metal"), "{}", ran.stdout);
    assert!(ran.stdout.contains("hypervisor nested: false → true"), "{}", ran.stdout);
    let ran = kipi(["compare", &base, "--new", &new, "--expect", "hypervisor"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn a_log_that_is_cut_off_gives_what_is_whole() {
    let bytes = log(1, 3);
    let log = Log::new(&bytes[..bytes.len() * 2 / 3]);
    let ran = log.import(&[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.complaint().ends_with("the log ends before the run does: what is whole of it was used"), "{ran:?}");
    assert!(ran.stdout.contains("PARTIAL: the run ended early"), "{}", ran.stdout);
}

/// As two logs have it that overlap, or a log and its copy.
#[test]
fn a_boot_that_is_pasted_again_counts_once_and_makes_no_interval() {
    let one = log(1, 2);
    let [pasted, single] = [Log::new(&one.repeat(5)), Log::new(&one)].map(|log| log.document("run.json"));
    assert_eq!((&pasted["config"]["boots"], &pasted["cells"]), (&1.into(), &single["cells"]));
    let warnings = pasted["warnings"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 4);
    assert!(warnings.iter().all(|it| it.as_str().is_some_and(|it| it.ends_with("once more: it counts once"))));
}

#[test]
fn a_line_that_is_there_twice_costs_nothing() {
    let bytes = log(1, 2);
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    lines.insert(20, lines[19]);
    let ran = Log::new(&lines.concat()).import(&[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.contains("log line 21 repeats an earlier one: passed over"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("PARTIAL"), "{}", ran.stdout);
}

#[test]
fn where_nothing_counts_the_damage_is_told_all_the_same() {
    let bytes = log(1, 2);
    let is_lost = |line: &[u8]| {
        let mut parts = lines::decode(line);
        parts.any(|part| matches!(part, Line::Record(_, RecordOf::Samples { vcpu: 1, .. })))
    };
    let left: Vec<u8> =
        bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| !is_lost(line)).flatten().copied().collect();
    let ran = Log::new(&left).import(&["--details"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.complaint().ends_with(" counts"), "{ran:?}");
    assert!(ran.stdout.contains("1's rounds 0 to 5: left out"), "{}", ran.stdout);
}

#[test]
fn of_two_runs_the_last_one_is_imported_and_the_other_one_named() {
    let mut writer = Writer::default();
    boot(&mut writer, 1, "KVMKVMKVM");
    boot(&mut writer, 2, "");
    let log = Log::new(&writer.log);
    let ran = log.import(&[]);
    assert!(ran.stdout.contains("on bare metal") && ran.stdout.contains("--run 1 imports it"), "{}", ran.stdout);
    let ran = log.import(&["--run", "1"]);
    assert!(ran.stdout.contains("under KVMKVMKVM") && ran.stdout.contains("--run 2 imports it"), "{}", ran.stdout);
    let ran = log.import(&["--run", "3"]);
    assert_eq!(ran.status, Some(2));
    assert!(ran.complaint().ends_with("there is no run 3 in it, but 2 (--run)"), "{ran:?}");
}

#[test]
fn a_call_that_was_given_up_fails_the_import() {
    let mut writer = Writer::default();
    begin(&mut writer, 1, "");
    writer.block(0, 0, 0, 6, Status::Done);
    writer.block(1, 1, 0, 5, Status::Aborted);
    writer.record(&Record::Text { text: "a call was given up in round 5" });
    writer.record(&Record::End { blocks: 2 });
    let ran = Log::new(&writer.log).import(&[]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.complaint().ends_with("calls went wrong: see the integrity column"), "{ran:?}");
}

#[test]
fn a_cell_of_which_nothing_came_fails_the_import() {
    let mut writer = Writer::default();
    begin(&mut writer, 1, "");
    writer.block(0, 0, 0, 6, Status::Done);
    let ran = Log::new(&writer.log).import(&[]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.complaint().ends_with("no round of memory, all-but-self, spin, 2 vCPUs, guest counts"), "{ran:?}");
}

#[test]
fn a_run_of_which_nothing_can_be_measured_says_why() {
    let mut writer = Writer::default();
    begin_with(&mut writer, 1, "", false);
    writer.record(&Record::End { blocks: 0 });
    let log = Log::new(&writer.log);
    let json = log.place("run.json");
    let ran = log.import(&["--json", json.to_str().expect("a plain path")]);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    let reason = "x2apic, all-but-self, spin, 2 vCPUs, guest and 1 more: this made up machine has no such route; msi, ";
    assert!(ran.complaint().contains(&format!("nothing can be measured: {reason}")), "{ran:?}");
    let document = document(&fs::read_to_string(&json).expect("it is written all the same"));
    assert_eq!(document["skipped"][0]["reason"], "this made up machine has no such route");
}

/// It is no boot of the run, of which nothing is wrong.
#[test]
fn an_image_that_gave_up_before_it_measured_fails_the_import() {
    let mut writer = Writer::default();
    boot(&mut writer, 2, "");
    start(&mut writer, "bogus=3");
    writer.record(&Record::Text { text: "there is no word bogus=3" });
    writer.record(&Record::End { blocks: 0 });
    let line = writer.log.split(|&byte| byte == b'\n').count() - 3;
    boot(&mut writer, 2, "");
    let ran = Log::new(&writer.log).import(&[]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let why = format!("the image gave up in the boot from log line {line} on: there is no word bogus=3");
    assert!(ran.complaint().ends_with(&why), "{ran:?}");
    assert!(ran.stdout.contains("on bare metal"), "{}", ran.stdout);
}

/// A hole swallows one boot's end and the next one's beginning, and the numbers of the lines go on.
#[test]
fn two_halves_of_boots_are_no_boot() {
    let mut writer = Writer::default();
    boot(&mut writer, 2, "");
    let first = writer.log.len();
    boot(&mut writer, 2, "");
    let (middle, rest) = (first * 2 / 3, first + first * 2 / 3);
    let ran = Log::new(&[&writer.log[..middle], &writer.log[rest..]].concat()).import(&[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.complaint().ends_with("the log ends before the run does: what is whole of it was used"), "{ran:?}");
    assert!(ran.stdout.contains("lacks its first record: left out"), "{}", ran.stdout);
}

/// It may be the only copy of a measurement on another machine.
#[test]
fn the_log_itself_is_never_replaced() {
    let bytes = log(1, 2);
    let log = Log::new(&bytes);
    fs::hard_link(log.place("serial.log"), log.place("hard.json")).expect("a link");
    std::os::unix::fs::symlink("serial.log", log.place("soft.json")).expect("a link");
    for option in ["--json", "--csv", "--html", "--bmf"] {
        for name in ["serial.log", "hard.json", "soft.json"] {
            let place = log.place(name);
            let ran = log.import(&[option, place.to_str().expect("a plain path")]);
            assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
            assert!(ran.complaint().contains("which is read, are the same file (write to another one)"), "{ran:?}");
        }
    }
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" import - --csv serial.log < serial.log"#]).arg(binary());
    let ran = Running::start(command.current_dir(log.directory.path())).finish();
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(fs::read(log.place("serial.log")).expect("the log"), bytes);
}

#[test]
fn what_is_no_log_is_refused() {
    let refused = |path: &Path, what: &str| {
        let ran = kipi([Path::new("import"), path]);
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.complaint().contains(what), "{ran:?}");
    };
    let log = Log::new(b"SeaBIOS\r\nBooting from Hard Disk...\r\nLinux version 6.18\r\n");
    let nothing = "serial.log: there is no run of the standalone image in it; ";
    refused(&log.place("serial.log"), &format!("{nothing}no line of it begins with ~kipi as its records do"));
    let wrapped: Vec<u8> = fixture::log(1, 2).chunks(80).flat_map(|row| [row, b"\n"].concat()).collect();
    fs::write(log.place("serial.log"), wrapped).expect("a file");
    refused(&log.place("serial.log"), &format!("{nothing}log line "));
    let ran = kipi([Path::new("import"), &log.place("serial.log")]);
    assert!(ran.complaint().len() < 400 && ran.complaint().ends_with(" more"), "{ran:?}");
    fs::write(log.place("run.json"), r#"{"schema": "kipi.measurement/1"}"#).expect("a file");
    refused(&log.place("run.json"), "run.json: it is a document already (kipi.measurement/1), and no log");
    refused(&log.place("nothing.log"), "nothing.log: No such file");
    fs::write(log.place("serial.log"), fixture::log(1, 2)).expect("a file");
    let compared = kipi([Path::new("compare"), &log.place("serial.log"), Path::new("--new"), &log.place("run.json")]);
    assert_eq!(compared.status, Some(2), "{compared:?}");
    assert!(compared.complaint().contains("it is a log of the standalone image: kipi import "), "{compared:?}");
    refused(Path::new("/dev/zero"), "/dev/zero: it is a character device, not a file or a pipe");
}
