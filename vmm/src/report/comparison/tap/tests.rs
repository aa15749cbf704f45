use super::*;
use crate::report::check::fixture::{HOSTILE, TAMED};
use crate::report::check::tap::reader::{Point, parse};
use crate::report::comparison::hostile;
use crate::results::comparison::Overall;
use crate::results::comparison::fixture::comparison;

fn points(comparison: &Comparison) -> Vec<Point> {
    let stream = parse(&render(comparison), 13);
    assert_eq!((stream.plan, stream.plan_first), (Some(stream.points.len()), true));
    stream.points
}

fn find<'a>(points: &'a [Point], name: &str) -> &'a Point {
    points.iter().find(|point| point.description == name).unwrap_or_else(|| panic!("no {name:?} in {points:#?}"))
}

const HALT: &str = "x2apic, all-but-self, halt, 2 vCPUs, guest";

#[test]
fn what_is_worse_is_not_ok() {
    let points = points(&comparison());
    let slower = find(&points, &format!("cells: {HALT}: round_trip p50"));
    assert!(!slower.ok && slower.skip.is_none());
    let message = slower.yaml[0].1.as_str().unwrap();
    assert!(message.starts_with("slower: +6.0 % (+5.0 to +7.0 %) divided by xapic, all-but-self, halt"), "{message}");
    assert!(message.ends_with("60.0 µs → 64.8 µs, +8.0 %"), "{message}");
    assert!(!find(&points, &format!("findings: integrity: {HALT}: calls")).ok);
    let tail = find(&points, &format!("tails: {HALT}: p99 +20 %"));
    assert_eq!(
        (tail.ok, tail.yaml[0].1.as_str()),
        (false, Some("slower: 210 of 10000 rounds beyond 120 µs, where 1 % may be"))
    );
    let faster = find(&points, "cells: x2apic, all-but-self, user, 2 vCPUs, guest: round_trip p50");
    assert!(faster.ok && faster.skip.is_none());
    assert!(
        find(&points, "findings: exits: x2apic, all-but-self, user, 2 vCPUs, guest: stats exits").ok,
        "fewer exits"
    );
}

#[test]
fn what_is_undecided_is_skipped_with_what_it_would_take() {
    let points = points(&comparison());
    let undecided = find(&points, "cells: kvm-pv, all-but-self, halt, 2 vCPUs, guest: round_trip p50");
    let reason = undecided.skip.as_deref().unwrap();
    assert!(
        undecided.ok && reason.starts_with("undecided, about 4 more runs a side would decide it: +4.0 %"),
        "{reason}"
    );
    assert_eq!(points.iter().filter(|point| point.skip.is_some()).count(), 3);
}

#[test]
fn sides_that_are_not_comparable_are_not_ok() {
    let not_comparable = Comparison { verdict: Overall::NotComparable, ..comparison() };
    let points = points(&not_comparable);
    assert_eq!((points[0].ok, points[0].description.as_str()), (false, "sides: comparable"));
    assert_eq!(points[0].yaml[0].1, "not expected: settings kvm.halt_poll_ns: 200000 → 0");
    assert!(self::points(&comparison())[0].ok);
}

#[test]
fn nothing_breaks_the_stream() {
    let comparison = Comparison { verdict: Overall::NotComparable, ..hostile(HOSTILE) };
    let text = render(&comparison);
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    let points = points(&comparison);
    assert!(points.iter().any(|point| point.description == format!("findings: acceleration: {TAMED}")), "{points:#?}");
}
