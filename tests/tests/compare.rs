//! `kipi compare` as a user meets it: what can be named, what is printed, and the status.

use kipi_tests::{Ran, kipi, run_tests, test};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// A document of a run, with two cells over two routes and the memory route's.
const DOCUMENT: &str = include_str!("../../vmm/benches/error_rates/template.json");

/// A directory of runs, the x2apic cells of which take this many times as long.
fn side(at: &TempDir, name: &str, runs: u32, factor: f64, change: impl Fn(&mut Value)) -> String {
    let directory = at.path().join(name);
    fs::create_dir(&directory).expect("a directory");
    for run in 0..runs {
        let mut document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        for (number, cell) in (0..).zip(document["cells"].as_array_mut().expect("cells")) {
            let own = 1.0 + 0.002 * f64::from((run * 7 + number * 3) % 11);
            let planted = if cell["route"] == "x2apic" { factor } else { 1.0 };
            let round_trip = &mut cell["metrics"]["round_trip"];
            round_trip["p50"] = json!(round_trip["p50"].as_f64().expect("a time") * own * planted);
            round_trip["min"] = json!(1.0);
            for quantile in ["p90", "p99", "p999", "max"] {
                round_trip[quantile] = json!(1e9);
            }
        }
        change(&mut document);
        let path = directory.join(format!("run-{run:02}.json"));
        fs::write(path, document.to_string()).expect("a file");
    }
    text(&directory)
}

fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

fn compare(base: &str, new: &str, more: &[&str]) -> Ran {
    kipi(["compare", base, "--new", new].iter().chain(more))
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a directory for temporary files")
}

#[test]
fn what_changed_decides_the_status() {
    let at = temporary();
    let base = side(&at, "base", 10, 1.0, |_| ());
    let same = side(&at, "same", 10, 1.001, |_| ());
    let slow = side(&at, "slow", 10, 1.06, |_| ());
    let good = compare(&base, &same, &[]);
    assert_eq!(good.status, Some(0), "{good:?}");
    assert!(good.stdout.contains("3 cells same") && good.stdout.contains("nothing worse"), "{}", good.stdout);
    let worse = compare(&base, &slow, &[]);
    assert_eq!(worse.status, Some(1), "{worse:?}");
    assert!(worse.stdout.contains("slower") && worse.stdout.contains("WORSE"), "{}", worse.stdout);
    assert_eq!(compare(&slow, &base, &[]).status, Some(0), "faster is not worse");
    for ran in [good, worse] {
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    }
}

#[test]
fn what_else_differs_has_to_be_expected() {
    let at = temporary();
    let base = side(&at, "base", 5, 1.0, |_| ());
    let other = |document: &mut Value| document["host"]["kernel"] = json!("6.99.0");
    let new = side(&at, "new", 5, 1.001, other);
    let refused = compare(&base, &new, &[]);
    assert_eq!(refused.status, Some(3), "{refused:?}");
    assert!(refused.stdout.contains("6.99.0 (not expected: --expect kernel)"), "{}", refused.stdout);
    assert_eq!(compare(&base, &new, &["--expect", "kernel"]).status, Some(0));
    let lost = |document: &mut Value| document["cells"][0]["integrity"]["lost"] = json!(1);
    let new = side(&at, "lost", 5, 1.001, |document| {
        other(document);
        lost(document);
    });
    assert_eq!(compare(&base, &new, &[]).status, Some(1), "a lost call is one on any kernel");
}

#[test]
fn undecided_is_a_status_where_it_was_to_be_decided() {
    let at = temporary();
    let [base, new] = ["base", "new"].map(|name| side(&at, name, 1, if name == "new" { 1.02 } else { 1.0 }, |_| ()));
    let ran = compare(&base, &new, &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("fewer than three runs a side"), "{}", ran.stdout);
    assert_eq!(compare(&base, &new, &["--decide"]).status, Some(5));
}

#[test]
fn the_document_keeps_to_its_schema() {
    let at = temporary();
    let [base, new] = ["base", "new"].map(|name| side(&at, name, 3, 1.0 + 0.001 * name.len() as f64, |_| ()));
    let ran = compare(&base, &new, &["--format", "json"]);
    let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let schema = include_str!("../../resources/comparison.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema").validate(&document).expect("valid");
    assert_eq!(document["base"]["runs"], 3);
}

#[test]
fn an_overhead_is_a_table_and_no_verdict() {
    let at = temporary();
    let metal = side(&at, "metal", 3, 0.1, |document| document["host"]["cpu"] = json!("another CPU"));
    let kvm = side(&at, "kvm", 3, 1.0, |_| ());
    let ran = kipi(["compare", "--as-overhead", &metal, &kvm]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.contains("differs  cpu: another CPU → "), "{ran:?}");
    let x2apic = ran.stdout.lines().find(|line| line.starts_with("x2apic")).unwrap_or_else(|| panic!("{ran:?}"));
    assert!(x2apic.split_whitespace().any(|word| word == "10.0"), "ten times as long: {ran:?}");
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    let json = kipi(["compare", &metal, "--new", &kvm, "--as-overhead", "--format", "json"]);
    let document: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let schema: Value = serde_json::from_str(include_str!("../../resources/overhead.schema.json")).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema").validate(&document).expect("valid");
    assert_eq!(document["cells"][0]["interval_of"], "runs");
    let markdown = kipi(["compare", "--as-overhead", &metal, &kvm, "--format", "markdown"]);
    assert!(markdown.status == Some(0) && markdown.stdout.contains("| --- | --: |"), "{markdown:?}");
}

#[test]
fn an_overhead_of_other_code_is_refused() {
    let at = temporary();
    let metal = side(&at, "metal", 1, 0.1, |document| document["host"]["kipi"] = json!("0.0.9"));
    let kvm = side(&at, "kvm", 1, 1.0, |_| ());
    let refused = kipi(["compare", "--as-overhead", &metal, &kvm]);
    assert_eq!(refused.status, Some(3), "{refused:?}");
    assert!(refused.stdout.contains("NOT COMPARABLE: kipi: 0.0.9 → "), "{refused:?}");
    assert_eq!(kipi(["compare", "--as-overhead", &metal, &kvm, "--expect", "kipi"]).status, Some(0));
    let cases: [(&[&String], &[&str], &str); 5] = [
        (&[&metal], &[], "takes two names"),
        (&[&metal, &kvm, &kvm], &[], "takes two names"),
        (&[&kvm, &kvm], &[], "compare with themselves"),
        (&[&metal, &kvm], &["--format", "tap", "--expect", "kipi"], "has no verdict"),
        (&[&metal, &kvm], &["--decide"], "cannot be used with"),
    ];
    for (names, options, needle) in cases {
        let ran = kipi(
            ["compare", "--as-overhead"]
                .into_iter()
                .chain(names.iter().map(|it| it.as_str()))
                .chain(options.iter().copied()),
        );
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.complaint().contains(needle), "{needle}: {ran:?}");
    }
}

#[test]
fn what_cannot_be_compared_is_one_line() {
    let at = temporary();
    let base = side(&at, "base", 2, 1.0, |_| ());
    let empty = at.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    let partial = side(&at, "partial", 1, 1.01, |document| document["partial"] = json!(true));
    let other = side(&at, "other", 1, 1.01, |document| document["schema"] = json!("kipi.measurement/9"));
    let edited =
        side(&at, "edited", 1, 1.01, |document| document["cells"][0]["metrics"]["round_trip"]["p50"] = json!(-4));
    for (new, said) in [
        ("nowhere.json", "nowhere.json: no such file"),
        (&text(&empty), "there is no .json file in it"),
        (&partial, "the run ended early"),
        (&other, "its schema is kipi.measurement/9"),
        (&edited, "it is not as kipi wrote it"),
    ] {
        let ran = compare(&base, new, &[]);
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(said) && ran.stderr.lines().count() == 1, "{ran:?}");
    }
    let ran = compare(&base, &partial, &["--allow-partial", "--reference", "memory/halt"]);
    assert!(ran.status == Some(2) && ran.stderr.contains("--reference memory/halt: no run of"), "{ran:?}");
    for options in [["--gate", "p99"], ["--threshold", "0"], ["--expect", "weather"], ["--reference", "memory"]] {
        assert_eq!(compare(&base, &base, &options).status, Some(2), "{options:?}");
    }
}
