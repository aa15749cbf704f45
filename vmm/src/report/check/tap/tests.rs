use super::super::fixture::{HOSTILE, TAMED, head, summary, test, tests, written};
use super::*;
use crate::report::check::tap::reader::{self, Stream};

fn tap(head: &Head, tests: &[Finished], summary: &Summary) -> String {
    let mut bytes = Vec::new();
    written(Tap::new, &mut bytes, (head, tests, summary));
    String::from_utf8(bytes).expect("UTF-8")
}

fn parse(text: &str) -> Stream {
    reader::parse(text, 14)
}

#[test]
fn every_outcome_has_its_line() {
    assert_eq!(
        tap(&head(), &tests(), &summary()),
        "\
TAP version 14
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
