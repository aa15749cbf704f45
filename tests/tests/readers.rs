//! Other programs read what kipi writes for them. A program that is not installed is skipped, with a line that says so.

use kipi_tests::{Ran, Running, binary, hypervisor, run_tests, skip, test, turn};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// Runs `kipi measure` of one cell for a few rounds; `None` where there is no KVM.
fn measured(options: &[&str]) -> Option<Ran> {
    let _turn = turn();
    hypervisor()?;
    let cell = ["--route", "xapic", "--target-state", "halt", "--vcpus", "2", "--observe", "guest", "--rounds", "20"];
    let ran = Running::start(Command::new(binary()).arg("measure").args(cell).args(options)).finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    Some(ran)
}

/// Lets a program run to its end; `None` if it is not installed.
fn run(program: &mut Command) -> Option<Output> {
    match program.output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip(format_args!("{}: {error}", program.get_program().display()));
            None
        }
    }
}

/// Lets promtool read a file, and expects that it has no complaint.
fn promtool_accepts(file: &Path) {
    let input = File::open(file).expect("a file");
    let Some(output) = run(Command::new("promtool").args(["check", "metrics"]).stdin(input)) else { return };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Ten made-up runs a side, in `base` and `new`: the new side's times are so many times as long, and its kernel is another.
fn two_sides(times: f64) -> TempDir {
    const DOCUMENT: &str = include_str!("../../vmm/src/results/tests/measurement.json");
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    for (side, factor) in [("base", 1.0), ("new", times)] {
        fs::create_dir(directory.path().join(side)).expect("a directory");
        for run in 0..10 {
            let mut document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
            document["host"]["kernel"] = side.into();
            for cell in document["cells"].as_array_mut().expect("cells") {
                // A cell that nothing was measured of has none.
                let Some(metric) = cell["metrics"].get_mut("round_trip") else { continue };
                let stretch = factor * (1.0 + 0.001 * f64::from((7 * run) % 10));
                for statistic in ["min", "p50", "p90", "p99", "p999", "max"] {
                    metric[statistic] = (metric[statistic].as_f64().expect("a time") * stretch).into();
                }
            }
            let path = directory.path().join(side).join(format!("{run}.json"));
            fs::write(path, document.to_string()).expect("a document");
        }
    }
    directory
}

/// Compares two sides, whose kernel may differ.
fn compare(sides: &Path, options: &[&str]) -> Ran {
    let mut command = Command::new(binary());
    command.args(["compare", "--decide", "--expect", "kernel"]).args(options);
    Running::start(command.arg(sides.join("base")).arg("--new").arg(sides.join("new"))).finish()
}

#[test]
fn prometheus_has_no_complaint_about_a_measurement() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = directory.path().join("kipi.prom");
    let Some(ran) = measured(&["--exits", "--prometheus", file.to_str().expect("a plain path")]) else { return };
    assert!(ran.stdout.contains("xapic"), "the table is printed as well: {}", ran.stdout);
    let text = fs::read_to_string(&file).expect("the file");
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(count("kipi_run_info{"), 1, "{text}");
    assert_eq!(count("kipi_wrong_calls{call=\"broadcast\",route=\"xapic\","), 4, "{text}");
    assert!(count("kipi_exit_cost_p50_seconds{act=\"cpuid\"") == 1, "{text}");
    assert_eq!(count("kipi_rounds{call=\"broadcast\",route=\"xapic\",destination=\"all-but-self\""), 1, "{text}");
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 1, "a temporary file is left");
    promtool_accepts(&file);
}

#[test]
fn a_measurements_benchmarks_go_to_standard_output_alone() {
    let Some(ran) = measured(&["--bmf", "-"]) else { return };
    let benchmarks: Value = serde_json::from_str(&ran.stdout).expect("JSON and nothing else");
    let names: Vec<&String> = benchmarks.as_object().expect("benchmarks").keys().collect();
    assert_eq!(names, ["xapic, all-but-self, halt, 2 vCPUs, guest"], "cells that nobody asked for are left out");
    let latency = &benchmarks[names[0]]["latency"];
    assert!(latency["value"].as_f64().is_some_and(|ns| ns > 0.0), "{latency}");
}

#[test]
fn prometheus_has_no_complaint_about_a_comparison() {
    let sides = two_sides(1.2);
    let file = sides.path().join("compare.prom");
    let ran = compare(sides.path(), &["--prometheus", file.to_str().expect("a plain path")]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(1), ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("WORSE"), "the text is printed as well: {}", ran.stdout);
    let text = fs::read_to_string(&file).expect("the file");
    assert!(text.contains("\nkipi_compare_verdict{verdict=\"worse\"} 1.0\n"), "{text}");
    promtool_accepts(&file);
    let alone = compare(sides.path(), &["--prometheus", "-"]);
    assert_eq!((alone.status, alone.stdout), (Some(1), text), "standard output has one document");
}

/// Perl's harness counts a test for each line, and finds no line that is no TAP.
#[test]
fn prove_counts_what_a_comparison_found() {
    for (times, status, verdict) in [(1.0, Some(0), "Result: PASS"), (1.2, Some(1), "Result: FAIL")] {
        let sides = two_sides(times);
        let ran = compare(sides.path(), &["--format", "tap"]);
        assert_eq!((ran.status, ran.stderr.as_str()), (status, ""), "{}", ran.stdout);
        let file = sides.path().join("compare.tap");
        fs::write(&file, &ran.stdout).expect("a file");
        let Some(output) = run(Command::new("prove").args(["--exec", "cat", "--verbose"]).arg(&file)) else { return };
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(verdict) && !said.contains("Parse errors"), "{said}");
    }
}
