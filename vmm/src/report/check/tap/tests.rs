use super::super::fixture::{HOSTILE, TAMED, head, summary, test, tests, written};
use super::*;
use crate::report::check::tap::reader::{self, Stream};
use std::process::Command;

fn tap(head: &Head, tests: &[Finished], summary: &Summary) -> String {
    of_version(Version::V13, (head, tests, summary))
}

fn of_version(version: Version, run: (&Head, &[Finished], &Summary)) -> String {
    let mut bytes = Vec::new();
    written(|writer| Tap::new(writer, version), &mut bytes, run);
    String::from_utf8(bytes).expect("UTF-8")
}

fn parse(text: &str) -> Stream {
    reader::parse(text, 13)
}

/// What Perl's harness says of a stream; `None`, after a line that says so: there is no such harness here.
fn prove(text: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("check.tap");
    std::fs::write(&file, text).expect("a file");
    let Ok(output) = Command::new("prove").args(["--exec", "cat", "--verbose"]).arg(&file).output() else {
        eprintln!("SKIP: there is no prove");
        return None;
    };
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Some(said.concat())
}

#[test]
fn every_outcome_has_its_line() {
    assert_eq!(
        tap(&head(), &tests(), &summary()),
        "\
TAP version 13
1..3
# kipi 0.1.0, Linux 6.18.44, KVM: kvm_amd, AMD EPYC, 2 CPUs
# seed 123
ok 1 - contract/x2apic/all-but-self/halt
  ---
  duration_ms: 1234.567
  detail: \"96 calls, 288 workers\"
  ...
not ok 2 - trap/device-interrupt/xapic
  ---
  message: \"vector 0x31 came 2 times, not once\"
  duration_ms: 12.345
  detail: \"7 calls\"
  ...
ok 3 - size/300/x2apic # SKIP this host's KVM allows 288 vCPUs
# 1 passed, 1 failed, 1 skipped in 1.250 s
"
    );
}

#[test]
fn a_harness_reads_what_was_written() {
    let stream = parse(&tap(&head(), &tests(), &summary()));
    assert_eq!((stream.plan, stream.plan_first, stream.bail_out), (Some(3), true, None));
    assert_eq!(stream.comments[1], "seed 123");
    let [passed, failed, skipped] = stream.points.try_into().expect("three tests");
    assert!(passed.ok && !failed.ok && skipped.ok);
    assert_eq!(
        passed.yaml,
        [("duration_ms".into(), 1234.567.into()), ("detail".into(), "96 calls, 288 workers".into())]
    );
    assert_eq!(failed.description, "trap/device-interrupt/xapic");
    assert_eq!(failed.yaml[0], ("message".into(), "vector 0x31 came 2 times, not once".into()));
    assert_eq!(skipped.skip.as_deref(), Some("this host's KVM allows 288 vCPUs"));
    assert_eq!(skipped.yaml, []);
}

#[test]
fn an_interrupted_run_bails_out() {
    let [passed, ..] = tests();
    let interrupted = Summary { failed: 0, skipped: 0, interrupted: true, not_run: 2, ..summary() };
    let stream = parse(&tap(&head(), &[passed], &interrupted));
    assert_eq!((stream.plan, stream.points.len()), (Some(3), 1));
    assert_eq!(stream.bail_out.as_deref(), Some("interrupted: 1 passed, 0 failed, 0 skipped, 2 not run"));
}

#[test]
fn version_14_differs_in_its_first_line() {
    let tests = tests();
    let run = (&head(), &tests[..], &summary());
    let [old, new] = [Version::V13, Version::V14].map(|version| of_version(version, run));
    assert_eq!(new, old.replacen("TAP version 13", "TAP version 14", 1));
    assert_eq!(reader::parse(&new, 14).points.len(), 3);
}

#[test]
fn prove_reads_a_run_without_a_parse_error() {
    let [passed, failed, skipped] = tests();
    let odd = test("size/#2", Outcome::Skipped(HOSTILE.to_owned()), 0, "");
    let run = [passed.clone(), skipped.clone(), odd];
    let Some(said) = prove(&tap(&head(), &run, &summary())) else { return };
    assert!(said.contains("Result: PASS") && !said.contains("Parse errors"), "{said}");
    assert!(said.contains("(less 2 skipped subtests: 1 okay)") || said.contains("\nok\n"), "{said}");
    let Some(said) = prove(&tap(&head(), &[passed, failed, skipped], &summary())) else { return };
    assert!(said.contains("Failed 1/3 subtests") && said.contains("Result: FAIL"), "{said}");
    assert!(!said.contains("Parse errors"), "{said}");
}

#[test]
fn nothing_breaks_the_stream() {
    let hostile = |outcome| test(HOSTILE, outcome, 5, HOSTILE);
    let run = [
        hostile(Outcome::Passed),
        hostile(Outcome::Failed(HOSTILE.to_owned())),
        hostile(Outcome::Skipped(HOSTILE.to_owned())),
        test("size/2", Outcome::Skipped(String::new()), 0, ""),
    ];
    let [kipi, kernel, kvm, cpu] = [HOSTILE; 4].map(str::to_owned);
    let text = tap(&Head { kipi, kernel, kvm, cpu, planned: 4, ..head() }, &run, &summary());
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    let stream = parse(&text);
    assert_eq!((stream.plan, stream.bail_out, stream.comments.len()), (Some(4), None, 3));
    let [passed, failed, skipped, silent] = stream.points.try_into().expect("four tests");
    assert!([&passed, &failed, &skipped].iter().all(|point| point.description == TAMED));
    assert_eq!(passed.yaml[1], ("detail".into(), TAMED.into()));
    assert_eq!(failed.yaml[0], ("message".into(), TAMED.into()));
    assert_eq!(skipped.skip.as_deref(), Some(TAMED));
    assert_eq!(silent.skip.as_deref(), Some(""));
}
