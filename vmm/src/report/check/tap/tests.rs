use super::super::fixture::{HOSTILE, TAMED, head, summary, test, tests, written};
use super::*;
use serde_json::Value;
use std::iter::Peekable;
use std::str::Lines;

fn tap(head: &Head, tests: &[Finished], summary: &Summary) -> String {
    let mut bytes = Vec::new();
    written(Tap::new, &mut bytes, (head, tests, summary));
    String::from_utf8(bytes).expect("UTF-8")
}

/// A test as a harness sees it.
#[derive(Debug, PartialEq)]
struct Point {
    ok: bool,
    description: String,
    skip: Option<String>,
    yaml: Vec<(String, Value)>,
}

/// A stream as a harness sees it.
#[derive(Debug, Default)]
struct Stream {
    plan: Option<usize>,
    /// The plan stood before every test.
    plan_first: bool,
    points: Vec<Point>,
    comments: Vec<String>,
    bail_out: Option<String>,
}

/// Reads a stream, and accepts nothing that the specification allows a harness to reject.
fn parse(text: &str) -> Stream {
    let body = text.strip_prefix("TAP version 14\n").expect("the version comes first");
    assert!(body.ends_with('\n') && !body.contains('\r'), "{text:?}");
    let mut stream = Stream::default();
    let mut lines = body.lines().peekable();
    while let Some(line) = lines.next() {
        assert_eq!(stream.bail_out, None, "nothing follows a bail-out: {line:?}");
        let planned_last = stream.plan.is_some() && !stream.plan_first;
        if let Some(count) = line.strip_prefix("1..") {
            assert_eq!(stream.plan, None, "one plan");
            stream.plan = Some(count.parse().expect("the plan's number"));
            stream.plan_first = stream.points.is_empty();
        } else if let Some(comment) = line.strip_prefix("# ") {
            stream.comments.push(comment.to_owned());
        } else if let Some(reason) = line.strip_prefix("Bail out! ") {
            stream.bail_out = Some(reason.to_owned());
        } else {
            assert!(!planned_last, "a test behind the last plan: {line:?}");
            let point = point(line, stream.points.len() + 1, &mut lines);
            stream.points.push(point);
        }
    }
    stream
}

fn point(line: &str, number: usize, lines: &mut Peekable<Lines<'_>>) -> Point {
    let (ok, rest) = match line.strip_prefix("not ") {
        Some(rest) => (false, rest),
        None => (true, line),
    };
    let rest = rest.strip_prefix(&format!("ok {number} - ")).unwrap_or_else(|| panic!("no TAP: {line:?}"));
    let (description, skip) = split_directive(rest);
    Point { ok, description, skip, yaml: yaml(lines) }
}

/// Undoes the escapes; an unescaped `#` must be that of `# SKIP reason`.
fn split_directive(rest: &str) -> (String, Option<String>) {
    let mut parts = vec![String::new()];
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        let part = parts.last_mut().expect("never empty");
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | '#')) => part.push(escaped),
                other => panic!("a lone backslash before {other:?} in {rest:?}"),
            },
            '#' => parts.push(String::new()),
            other => part.push(other),
        }
    }
    match parts.as_slice() {
        [description] => (description.clone(), None),
        [description, directive] => {
            let description = description.strip_suffix(' ').expect("a space before the directive");
            let reason = directive.strip_prefix(" SKIP").expect("a directive that is known");
            (description.to_owned(), Some(reason.strip_prefix(' ').unwrap_or_default().to_owned()))
        }
        _ => panic!("more than one directive in {rest:?}"),
    }
}

/// The block behind a test, if there is one: keys with numbers or strings.
fn yaml(lines: &mut Peekable<Lines<'_>>) -> Vec<(String, Value)> {
    if lines.next_if_eq(&"  ---").is_none() {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    loop {
        let line = lines.next().and_then(|line| line.strip_prefix("  ")).expect("the block's indent until its end");
        if line == "..." {
            return pairs;
        }
        let (key, value) = line.split_once(": ").expect("a key and a value");
        assert!(key.chars().all(|character| character.is_ascii_lowercase() || character == '_'), "{key:?}");
        pairs.push((key.to_owned(), serde_json::from_str(value).expect("a number or a string")));
    }
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
