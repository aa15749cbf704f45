//! Other programs read what kipi writes for them. A program that is not installed is skipped, with a line that says so.

use kipi_tests::{Ran, Running, binary, hypervisor, turn};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `kipi measure` of one cell for a few rounds; `None` where there is no KVM.
fn measured(options: &[&str]) -> Option<Ran> {
    let _turn = turn();
    hypervisor()?;
    let cell = ["--route", "xapic", "--target-state", "halt", "--vcpus", "2", "--observe", "guest", "--rounds", "20"];
    let ran = Running::start(Command::new(binary()).arg("measure").args(cell).args(options)).finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    Some(ran)
}

/// Lets a program read a file on its standard input, and expects that it has no complaint.
fn accepts(program: &mut Command, file: &Path) {
    let name = program.get_program().to_string_lossy().into_owned();
    let input = File::open(file).expect("a file");
    match program.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{name}: {said}");
        }
        Err(error) => eprintln!("SKIP: {name}: {error}"),
    }
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
    accepts(Command::new("promtool").args(["check", "metrics"]), &file);
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
