use super::super::fixture::{HOSTILE, TAMED, head, summary, test, tests, written};
use super::*;
use crate::results::sandbox::{Sandbox, State};

fn xml(head: &Head, tests: &[Finished], summary: &Summary) -> String {
    let mut bytes = Vec::new();
    written(Junit::new, &mut bytes, (head, tests, summary));
    String::from_utf8(bytes).expect("UTF-8")
}

/// The document, read by a crate that takes no time without a zone.
pub(in crate::report) fn read(text: &str) -> Report {
    let (_, rest) = text.split_once("timestamp=\"").expect("a time");
    let (time, _) = rest.split_once('"').expect("its end");
    Report::deserialize_from_str(&text.replacen(time, &format!("{time}Z"), 1)).expect("JUnit")
}

/// Every element's name and attributes. Their values have neither `<` nor `>`.
fn elements(text: &str) -> Vec<(&str, Vec<&str>)> {
    let tags = text.split('<').filter_map(|part| part.split_once('>')).map(|(tag, _)| tag.trim_end_matches('/'));
    tags.filter(|tag| tag.starts_with(|first: char| first.is_ascii_lowercase()))
        .map(|tag| {
            let (name, rest) = tag.split_once(' ').unwrap_or((tag, ""));
            // Behind each closing quote is the next name.
            let names = rest.split('"').step_by(2).filter_map(|name| name.trim().strip_suffix('='));
            (name, names.collect())
        })
        .collect()
}

/// What the schemas say of an element's attributes: those that Ant's (JUnit.xsd) or Surefire's (surefire-test-report.xsd) demands,
/// and besides, those that Jenkins' xUnit plug-in (junit-10.xsd) knows, and Ant's.
pub(in crate::report) fn assert_schemas_hold(text: &str) {
    let known: [(&str, &[&str], &[&str]); 9] = [
        ("testsuites", &[], &["name", "time", "tests", "failures", "errors"]),
        ("testsuite", &["name", "tests", "failures", "errors", "time", "timestamp", "hostname"], &["skipped"]),
        ("properties", &[], &[]),
        ("property", &["name", "value"], &[]),
        ("testcase", &["name", "time"], &["classname"]),
        ("failure", &["type"], &["message"]),
        ("error", &["type"], &["message"]),
        ("skipped", &[], &["message"]),
        ("system-out", &[], &[]),
    ];
    for (element, attributes) in elements(text) {
        let of_element = known.iter().find(|(name, ..)| *name == element);
        let (_, demanded, allowed) = of_element.unwrap_or_else(|| panic!("an element {element}"));
        for attribute in *demanded {
            assert!(attributes.contains(attribute), "{element} without {attribute}: {text}");
        }
        for attribute in &attributes {
            assert!(demanded.contains(attribute) || allowed.contains(attribute), "{element}/@{attribute}");
        }
    }
}

fn value_of<'a>(suite: &'a TestSuite, name: &str) -> Option<&'a str> {
    suite.properties.iter().find(|property| property.name.as_str() == name).map(|property| property.value.as_str())
}

fn value_of_extra<'a>(suite: &'a TestSuite, name: &str) -> &'a str {
    suite.extra.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value.as_str()).expect("an attribute")
}

/// What a case that did not pass says, as attribute and as text.
fn reasons(case: &TestCase) -> [Option<&str>; 2] {
    match &case.status {
        TestCaseStatus::Success { .. } => [None; 2],
        TestCaseStatus::NonSuccess { message, description, .. }
        | TestCaseStatus::Skipped { message, description, .. } => [message.as_deref(), description.as_deref()],
    }
}

#[test]
fn every_outcome_has_its_case() {
    let text = xml(&head(), &tests(), &summary());
    let report = read(&text);
    let [suite] = report.test_suites.as_slice() else { panic!("one suite") };
    let timestamp = suite.timestamp.expect("a time").format("%Y-%m-%dT%H:%M:%S").to_string();
    let host = value_of_extra(suite, "hostname");
    let text = text.replace(&format!("timestamp=\"{timestamp}\" hostname=\"{host}\""), "timestamp=T hostname=H");
    assert_eq!(
        text,
        r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="kipi" tests="3" failures="1" errors="0" time="1.250">
    <testsuite name="kipi check" tests="3" skipped="1" errors="0" failures="1" time="1.250" timestamp=T hostname=H>
        <properties>
            <property name="kipi" value="0.1.0"/>
            <property name="kernel" value="6.18.44"/>
            <property name="kvm" value="kvm_amd"/>
            <property name="cpu" value="AMD EPYC"/>
            <property name="cpus" value="2"/>
            <property name="seed" value="123"/>
            <property name="interrupted" value="false"/>
            <property name="not-run" value="0"/>
        </properties>
        <testcase name="halt" classname="contract/x2apic/all-but-self" time="1.235">
            <system-out>96 calls, 288 workers</system-out>
        </testcase>
        <testcase name="xapic" classname="trap/device-interrupt" time="0.012">
            <failure message="vector 0x31 came 2 times, not once" type="failed">vector 0x31 came 2 times, not once</failure>
            <system-out>7 calls</system-out>
        </testcase>
        <testcase name="x2apic" classname="size/300" time="0.000">
            <skipped message="this host&apos;s KVM allows 288 vCPUs">this host&apos;s KVM allows 288 vCPUs</skipped>
        </testcase>
    </testsuite>
</testsuites>
"#
    );
}

#[test]
fn the_schemas_of_ci_servers_hold() {
    assert_schemas_hold(&xml(&head(), &tests(), &summary()));
}

#[test]
fn an_interrupted_run_is_a_whole_document_that_says_so() {
    let [passed, ..] = tests();
    let text = xml(&head(), &[passed], &Summary { interrupted: true, not_run: 2, ..summary() });
    let report = read(&text);
    let [suite] = report.test_suites.as_slice() else { panic!("one suite") };
    assert_eq!((report.tests, suite.tests, suite.failures, suite.errors), (2, 2, 0, 1), "{text}");
    assert!(text.contains(r#"<error message="interrupted: 2 tests not run" type="interrupted">"#), "{text}");
    assert_schemas_hold(&text);
    assert_eq!(value_of(suite, "seed"), Some("123"));
    assert_eq!((value_of(suite, "interrupted"), value_of(suite, "not-run")), (Some("true"), Some("2")));
}

#[test]
fn the_sandbox_is_named_once() {
    let partly = Sandbox { state: State::Partly, missing: vec!["seccomp: ENOSYS".to_owned()], ..Sandbox::off() };
    let on = Sandbox { state: State::On, ..Sandbox::off() };
    for (sandbox, told) in [(on, "on"), (partly, "in part, without seccomp: ENOSYS"), (Sandbox::off(), "off")] {
        let text = xml(&Head { sandbox: Some(sandbox), ..head() }, &tests(), &summary());
        assert_eq!(value_of(&read(&text).test_suites[0], "sandbox"), Some(told));
        assert_eq!(text.matches("sandbox").count(), 1, "{text}");
    }
}

#[test]
fn nothing_breaks_the_document() {
    let hostile = |outcome| test(&format!("{HOSTILE}/{HOSTILE}"), outcome, 5, HOSTILE);
    let run = [
        hostile(Outcome::Passed),
        hostile(Outcome::Failed(HOSTILE.to_owned())),
        hostile(Outcome::Skipped(HOSTILE.to_owned())),
    ];
    let text = xml(&Head { kernel: HOSTILE.to_owned(), ..head() }, &run, &summary());
    let allowed = |character| matches!(character, '\n' | ' '..='\u{7e}' | '\u{a0}'..='\u{fffd}');
    assert!(text.chars().all(allowed), "{text:?}");

    let report = read(&text);
    let [suite] = report.test_suites.as_slice() else { panic!("one suite") };
    assert_eq!(value_of(suite, "kernel"), Some(TAMED));
    let [passed, failed, skipped] = suite.test_cases.as_slice() else { panic!("three cases") };
    for case in [passed, failed, skipped] {
        assert_eq!((case.classname.as_deref(), case.name.as_str()), (Some(TAMED), TAMED));
        assert_eq!(case.system_out.as_deref(), Some(TAMED));
    }
    assert_eq!(reasons(failed), [Some(TAMED); 2]);
    assert_eq!(reasons(skipped), [Some(TAMED); 2]);
}

#[test]
fn a_name_of_one_part_has_no_class() {
    let case = case(&test("smoke", Outcome::Passed, 5, ""));
    assert_eq!((case.classname, case.name.as_str()), (None, "smoke"));
}
