//! Reads a stream as a harness does.

use serde_json::Value;
use std::iter::Peekable;
use std::str::Lines;

/// A test as a harness sees it.
#[derive(Debug, PartialEq)]
pub(in crate::report) struct Point {
    pub(in crate::report) ok: bool,
    pub(in crate::report) description: String,
    pub(in crate::report) skip: Option<String>,
    pub(in crate::report) yaml: Vec<(String, Value)>,
}

/// A stream as a harness sees it.
#[derive(Debug, Default)]
pub(in crate::report) struct Stream {
    pub(in crate::report) plan: Option<usize>,
    /// The plan stood before every test.
    pub(in crate::report) plan_first: bool,
    pub(in crate::report) points: Vec<Point>,
    pub(in crate::report) comments: Vec<String>,
    pub(in crate::report) bail_out: Option<String>,
}

/// Reads a stream, and accepts nothing that the specification allows a harness to reject.
pub(in crate::report) fn parse(text: &str, version: u32) -> Stream {
    let body = text.strip_prefix(&format!("TAP version {version}\n")).expect("the version comes first");
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

/// Undoes the name's escapes; an unescaped `#` must be that of `# SKIP reason`, which is as it stands.
fn split_directive(rest: &str) -> (String, Option<String>) {
    let mut description = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | '#')) => description.push(escaped),
                other => panic!("a lone backslash before {other:?} in {rest:?}"),
            },
            '#' => {
                let description = description.strip_suffix(' ').expect("a space before the directive");
                let reason = characters.as_str().strip_prefix(" SKIP").expect("a directive that is known");
                return (description.to_owned(), Some(reason.strip_prefix(' ').unwrap_or_default().to_owned()));
            }
            other => description.push(other),
        }
    }
    (description, None)
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
