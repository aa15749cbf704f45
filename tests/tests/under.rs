//! `kipi measure --under` on real vCPUs, beside programs that stand for another VMM.

#[path = "../../vmm/src/standalone/fixture.rs"]
mod fixture;

use fixture::{Writer, begin, begin_with, log, start};
use kipi_standalone::records::Record;
use kipi_tests::{ONE_CELL, Ran, assert_valid, binary, document, kipi, run_tests, test};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// What the log's image was asked for in each of its boots, as options beside those of one cell.
const OF_LOG: [&str; 8] = ["--route", "x2apic,msi", "--warmup", "2", "--deadline", "4000", "--native", "none"];
/// Rounds of each cell in one boot of the log.
const ROUNDS: usize = 20;

/// A VMM that writes a log of one boot, and one that ends at once.
struct Vmms(TempDir);

impl Vmms {
    fn new() -> Self {
        let vmms = Self(tempfile::tempdir().expect("a directory for temporary files"));
        fs::write(vmms.place("boot.log"), log(1, 5)).expect("a log");
        vmms
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes the log, the boot's number to a file, and runs on, as a VMM does whose guest halts.
    fn halting(&self) -> String {
        self.playing("halting", "boot.log")
    }

    /// The same of another file.
    fn playing(&self, name: &str, log: &str) -> String {
        let [log, boots] = [log, "boots"].map(|name| self.place(name).display().to_string());
        format!(
            "{name}=sh -c 'test -s {{kernel}} && echo {{append}} >> {boots} && cat {log} > {{serial}} && exec sleep 600'"
        )
    }

    /// In so many boots, each of which is to bring what the log has.
    fn measure(&self, boots: usize, more: &[&str]) -> (Ran, Value) {
        let json = self.place("run.json");
        let [rounds, boots] = [boots * ROUNDS, boots].map(|number| number.to_string());
        let usual = ["--rounds", &rounds, "--boots", &boots, "--json", json.to_str().expect("a plain path")];
        let ran = kipi(ONE_CELL.iter().chain(&OF_LOG).chain(&usual).chain(more));
        let document = document(&fs::read_to_string(&json).unwrap_or_else(|error| panic!("{error}: {ran:?}")));
        (ran, document)
    }
}

/// Cells by the VMM that they ran under, and how many rounds they have.
fn rounds(document: &Value) -> Vec<(&str, u64)> {
    let cells = document["cells"].as_array().expect("cells").iter();
    cells.map(|cell| (cell["under"].as_str().unwrap_or("kipi"), cell["rounds"].as_u64().expect("a count"))).collect()
}

/// What the cells that were asked for have of a field that holds times of others.
fn times<'d>(document: &'d Value, field: &'d str) -> impl Iterator<Item = &'d Value> {
    let of_cell = move |cell: &'d Value| cell.get(field).and_then(Value::as_array).into_iter().flatten();
    asked(document).flat_map(of_cell).filter(|times| times["metric"] == "round_trip")
}

fn asked(document: &Value) -> impl Iterator<Item = &Value> {
    document["cells"].as_array().expect("cells").iter().filter(|cell| cell["beside"] != true)
}

#[test]
fn another_vmm_is_booted_in_turns_and_has_rows_of_its_own() {
    let vmms = Vmms::new();
    let (ran, document) = vmms.measure(3, &["--under", &vmms.halting()]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_valid(&document);
    let of_other = rounds(&document).into_iter().filter(|(under, _)| *under == "halting");
    // A boot of the log has five blocks of four rounds, of two cells.
    assert_eq!(of_other.collect::<Vec<_>>(), [("halting", 60), ("halting", 60)]);
    assert!(rounds(&document).iter().any(|(under, rounds)| *under == "kipi" && *rounds > 0));
    let divided: Vec<&Value> = times(&document, "times_own_vmm").collect();
    assert_eq!(divided.len(), 2, "kipi's own VMM has both: {document}");
    for times in divided {
        assert_eq!((&times["pairs"], &times["ci95"]), (&json!(3), &Value::Null), "boots");
        assert!(times["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{document}");
    }
    assert_eq!(document["under"][0]["name"], "halting");
    assert!(document["under"][0]["command"].as_str().is_some_and(|line| line.contains("{serial}")), "as it was typed");
    let boots = fs::read_to_string(vmms.place("boots")).expect("boots");
    assert_eq!(boots.lines().count(), 3, "{boots}");
    assert!(boots.lines().all(|plan| plan.contains("route=memory,x2apic,msi state=spin rounds=20 ")), "{boots}");
    let usual = ["measure", "--vcpus", "2", "--route", "memory,x2apic,msi", "--target-state", "spin", "--warmup", "2"];
    let more = ["--deadline", "4000", "--rounds", "20", "--boots", "1", "--under", &vmms.halting()];
    let text = kipi(usual.iter().chain(&more));
    assert!(text.stdout.contains("under ") && text.stdout.contains("\nhalting "), "{text:?}");
    assert!(text.stdout.contains("× kipi's VMM") && text.stdout.contains("native"), "{text:?}");
}

/// What is no KVM device stands for a host without KVM.
#[test]
fn where_kipis_own_vmm_cannot_run_the_others_are_measured_and_natively() {
    let vmms = Vmms::new();
    let usual = ["measure", "--vcpus", "2", "--route", "memory,x2apic,msi", "--target-state", "spin", "--warmup", "2"];
    let more = ["--deadline", "4000", "--rounds", "40", "--boots", "2", "--device", "/dev/null"];
    let json = vmms.place("run.json").display().to_string();
    let ran = kipi(usual.iter().chain(&more).chain(&["--under", &vmms.halting(), "--json", &json]));
    let document = document(&fs::read_to_string(&json).unwrap_or_else(|error| panic!("{error}: {ran:?}")));
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_valid(&document);
    assert!(asked(&document).all(|cell| cell["under"] == "halting"), "{document}");
    assert_eq!(document["partial"], false);
    let why = "under kipi: nothing is measured: cannot use KVM: /dev/null is not KVM's device";
    assert!(ran.stdout.contains("WARNING       under kipi: nothing is measured: "), "{ran:?}");
    assert!(
        document["warnings"]
            .as_array()
            .expect("warnings")
            .iter()
            .any(|it| it.as_str().is_some_and(|it| it.starts_with(why)))
    );
    let skipped = document["skipped"].as_array().expect("skipped").iter();
    assert!(skipped.clone().any(|it| it["route"] == "memory" && it.get("under").is_none()), "{document}");
    assert_eq!(times(&document, "times_own_vmm").count(), 0);
    assert!(times(&document, "times_native").count() > 0, "the host's own calls need no KVM: {document}");
    let alone = kipi(["measure", "--device", "/dev/null", "--route", "memory", "--target-state", "spin"]);
    assert_eq!(alone.status, Some(4), "without another VMM, nothing is measured: {alone:?}");
}

#[test]
fn the_others_can_be_the_only_ones() {
    let vmms = Vmms::new();
    let (ran, document) = vmms.measure(2, &["--under-only", "--under", &vmms.halting()]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_valid(&document);
    assert_eq!(rounds(&document), [("halting", 40), ("halting", 40)], "and nothing natively, where that is so asked");
    let skipped = document["skipped"].as_array().expect("skipped");
    assert!(skipped.iter().all(|it| it["under"] == "halting"), "nobody has asked for kipi's own: {document}");
    assert!(!ran.stdout.contains("under kipi:"), "{ran:?}");
    let boots = fs::read_to_string(vmms.place("boots")).expect("boots");
    assert_eq!(boots.lines().count(), 2, "{boots}");
}

#[test]
fn a_vmm_under_which_nothing_can_be_measured_says_why() {
    let vmms = Vmms::new();
    let mut writer = Writer::default();
    begin_with(&mut writer, 5, "KVMKVMKVM", false);
    writer.record(&Record::End { blocks: 0 });
    fs::write(vmms.place("boot.log"), &writer.log).expect("a log");
    let (ran, document) = vmms.measure(1, &["--under-only", "--under", &vmms.halting()]);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    let complaint = ran.complaint();
    assert!(complaint.contains("nothing can be measured: x2apic, all-but-self, spin, "), "{ran:?}");
    assert!(complaint.contains("under halting and 1 more: this made up machine has no such route; msi, "), "{ran:?}");
    assert_eq!(document["skipped"][0]["reason"], "this made up machine has no such route");
}

/// That others are skipped is not why.
#[test]
fn a_cell_of_which_nothing_came_fails_the_run() {
    let vmms = Vmms::new();
    let mut writer = Writer::default();
    begin(&mut writer, 5, "KVMKVMKVM");
    writer.record(&Record::End { blocks: 10 });
    fs::write(vmms.place("boot.log"), &writer.log).expect("a log");
    let (ran, document) = vmms.measure(1, &["--under-only", "--under", &vmms.halting()]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stdout.contains("PARTIAL") && ran.stdout.contains("10 blocks are missing"), "{ran:?}");
    let why = "under halting: no round of x2apic, all-but-self, spin, 2 vCPUs, guest counts";
    assert_eq!(document["error"], why, "{document}");
}

#[test]
fn what_fails_under_one_vmm_is_said_and_takes_nothing_from_the_others() {
    let vmms = Vmms::new();
    let failing = "failing=sh -c 'echo no such machine >&2; exit 3' {kernel} {append}";
    let (ran, document) = vmms.measure(2, &["--under", failing, "--under", &vmms.halting()]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let why = "under failing: it ended before the image did (exit status: 3): no such machine";
    assert!(ran.stderr.contains(why), "{ran:?}");
    assert_eq!(document["partial"], true);
    let of_others: Vec<&str> = rounds(&document).into_iter().map(|(under, _)| under).collect();
    assert!(
        of_others.contains(&"kipi") && of_others.contains(&"halting") && !of_others.contains(&"failing"),
        "{document}"
    );
}

#[test]
fn a_vmm_that_cannot_be_started_so_is_refused() {
    for (arguments, needle) in [
        (["--under", "qemu", "--under", "qemu"], "is not the only VMM of that name"),
        (["--under", "vmm -append {append}", "--rounds", "10"], "it has no {kernel}"),
        (["--under", "vmm -kernel {kernel}", "--rounds", "10"], "it has no {append}"),
        (["--under", "qemu", "--wait", "park"], "leave them out"),
        (["--under", "qemu", "--vcpus", "2,4"], "one number of vCPUs"),
        (["--under", "qemu", "--calibrate", "3"], "cannot be used with"),
        (["--under=qemu", "--under-only", "--exits", "--rounds=9"], "cannot be used with"),
    ] {
        let ran = kipi(["measure"].iter().chain(&arguments));
        assert_eq!(ran.status, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(needle) && ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    }
    let only = kipi(["measure", "--under-only"]);
    assert!(only.status == Some(2) && only.complaint().contains("--under <VMM"), "{only:?}");
}

/// What is wrong with one VMM, and how often it was booted for that.
fn fault(vmms: &Vmms, log: &[u8]) -> (String, usize) {
    fs::write(vmms.place("other.log"), log).expect("a log");
    // It may have to be built first.
    binary();
    let began = Instant::now();
    let (ran, document) = vmms.measure(2, &["--under-only", "--under", &vmms.playing("other", "other.log")]);
    assert!(began.elapsed() < Duration::from_secs(50), "the image's silence is not waited for");
    assert_eq!((ran.status, &document["partial"]), (Some(1), &json!(true)), "{ran:?}");
    let boots = fs::read_to_string(vmms.place("boots")).expect("boots");
    (ran.complaint().to_owned(), boots.lines().count())
}

#[test]
fn an_image_that_gives_up_before_it_measures_ends_its_vmm_at_once_with_its_words() {
    let mut writer = Writer::default();
    start(&mut writer, "");
    writer.record(&Record::Text { text: "vcpus=2: this machine has 1" });
    writer.record(&Record::End { blocks: 0 });
    let (complaint, boots) = fault(&Vmms::new(), &writer.log);
    let why = "under other: the image has given up: vcpus=2: this machine has 1";
    assert!(complaint.contains(why) && boots == 1, "{boots} boots: {complaint}");
}

#[test]
fn a_plan_that_was_not_asked_for_is_not_taken() {
    let (complaint, boots) = fault(&Vmms::new(), &log(1, 3));
    let why = "under other: the image measures with rounds=12 instead of rounds=20: its command line lacks {append}";
    assert!(complaint.contains(why) && boots == 1, "{boots} boots: {complaint}");
}

#[test]
fn what_a_vmm_has_started_is_ended_with_it_in_whatever_session_it_is() {
    let vmms = Vmms::new();
    let [log, orphan] = ["boot.log", "orphan"].map(|name| vmms.place(name).display().to_string());
    let script = format!(
        "setsid sh -c \"echo \\$\\$ > {orphan}; exec sleep 600\" & until test -s {orphan}; do sleep 0.01; done; cat {log} > {{serial}}; \
         exec sleep 600"
    );
    let vmm = format!("leaving=sh -c '{script}' {{kernel}} {{append}}");
    let (ran, _) = vmms.measure(1, &["--under-only", "--under", &vmm]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let pid = fs::read_to_string(orphan).expect("it was started");
    assert!(!fs::exists(format!("/proc/{}", pid.trim())).expect("/proc"), "it runs on: {pid}");
}
