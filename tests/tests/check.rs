//! `kipi check`: the suite passes here, and finds what a broken guest does wrong.

use kipi_tests::{Ran, Running, binary, hypervisor, run_tests, skip, test, turn};
use std::process::Command;

fn main() -> std::process::ExitCode {
    run_tests()
}

const GOOD: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const BAD_INPUT: Option<i32> = Some(2);
const HOST_CANNOT: Option<i32> = Some(4);

fn check(arguments: &[&str]) -> Ran {
    Running::start(Command::new(binary()).arg("check").args(arguments)).finish()
}

/// What a host's own defects keep from being run there, which are no news: parts of names, with commas between.
fn left_out() -> Vec<String> {
    let names = std::env::var("KIPI_TEST_SKIP").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Runs on real vCPUs, or says why not.
fn check_here(arguments: &[&str]) -> Option<Ran> {
    let _turn = turn();
    hypervisor()?;
    let ran = check(arguments);
    // Nothing has passed, and nothing failed.
    if ran.status == HOST_CANNOT && ran.stdout.contains("undecided in ") {
        skip("threads had too little of a CPU, again and again, to tell anything");
        return None;
    }
    Some(ran)
}

#[test]
fn every_test_passes_or_says_why_not() {
    let left_out = left_out();
    for name in &left_out {
        eprintln!("SKIP: {name}, which KIPI_TEST_SKIP leaves out");
    }
    for group in ["contract/", "restriction/", "trap/", "state/", "native/", "processor/"] {
        let mut arguments = vec!["--filter", group, "--format", "tap"];
        arguments.extend(left_out.iter().flat_map(|name| ["--skip", name.as_str()]));
        let Some(ran) = check_here(&arguments) else { return };
        assert_eq!(ran.status, GOOD, "{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stderr, "");
        assert!(ran.stdout.lines().any(|line| line.starts_with("ok 1 - ")), "{}", ran.stdout);
    }
}

/// Ten seconds each: local APICs of kipi's and of KVM's. The other routes take as long, and are run by hand.
#[test]
fn a_mad_guest_harms_nobody() {
    for name in ["hostile/vmm-host", "hostile/xapic"] {
        let Some(ran) = check_here(&["--filter", name]) else { return };
        assert_eq!(ran.status, GOOD, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(" machines: "), "{}", ran.stdout);
    }
}

/// With `fault` in the guest, the test of `clause` must fail, and that of `bystander` must not.
fn finds(fault: &str, clause: &str, bystander: &str) {
    let name = format!("contract/{clause}/xapic");
    let Some(ran) = check_here(&["--filter", &name, "--inject", fault]) else { return };
    assert_eq!(ran.status, FAILED, "{fault}: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(&format!("FAIL  {name}")), "{fault}: {}", ran.stdout);
    let name = format!("contract/{bystander}/xapic");
    let Some(ran) = check_here(&["--filter", &name, "--inject", fault]) else { return };
    assert_eq!(ran.status, GOOD, "{fault}: {}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_dropped_ipi_is_found() {
    finds("drop-ipi", "nothing-lost", "completes");
}

#[test]
fn an_ipi_that_is_delivered_twice_is_found() {
    finds("duplicate-ipi", "nothing-twice", "nothing-lost");
}

#[test]
fn an_ipi_to_the_wrong_vcpu_is_found() {
    finds("wrong-target", "nothing-lost", "runs-once");
    finds("wrong-target", "nothing-twice", "all-results");
}

#[test]
fn a_worker_that_runs_twice_is_found() {
    finds("worker-twice", "runs-once", "completes");
}

#[test]
fn a_swapped_result_is_found() {
    finds("swap-result", "all-results", "own-value");
}

#[test]
fn a_gate_that_opens_early_is_found() {
    finds("early-gate", "starts-together", "restores-caller");
}

/// With `fault` in the guest, a processor test must fail, and say that vCPU 1 was not reset, or did not start.
fn is_missed(fault: &str, what: &str) {
    let name = "processor/starts-out-of-hlt/xapic";
    let Some(ran) = check_here(&["--filter", name, "--inject", fault, "--format", "tap"]) else { return };
    assert_eq!(ran.status, FAILED, "{fault}: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(&format!("not ok 1 - {name}")), "{fault}: {}", ran.stdout);
    assert!(ran.stdout.contains(&format!("{what}: 0x0, expected 0x1")), "{fault}: {}", ran.stdout);
}

#[test]
fn a_lost_init_is_found() {
    is_missed("lost-init", "resets of vCPU 1 by INIT");
}

#[test]
fn a_lost_sipi_is_found() {
    is_missed("lost-sipi", "starts of vCPU 1 by SIPI after INIT");
}

#[test]
fn tests_are_listed_and_picked_by_name() {
    let ran = check(&["--list"]);
    assert_eq!(ran.status, GOOD);
    assert!(ran.stdout.lines().any(|line| line == "contract/starts-together/x2apic"), "{}", ran.stdout);
    let picked = check(&["--list", "--filter", "restriction/"]);
    assert!(picked.stdout.lines().count() > 5 && picked.stdout.lines().all(|line| line.starts_with("restriction/")));
}

#[test]
fn a_filter_that_matches_nothing_is_bad_input() {
    let ran = check(&["--filter", "pigeon"]);
    assert_eq!(ran.status, BAD_INPUT);
    assert!(ran.complaint().contains("'pigeon'") && ran.complaint().contains("--list"), "{}", ran.complaint());
}

#[test]
fn native_tests_need_no_kvm() {
    let _turn = turn();
    let ran = check(&["--device", "/nonexistent/kvm", "--filter", "native/completes"]);
    // A single CPU, or one that others use, lets none of them pass.
    assert!(matches!(ran.status, GOOD | HOST_CANNOT), "{ran:?}");
    assert!(ran.stdout.contains("native/completes/native-futex") && ran.stderr.is_empty(), "{ran:?}");
}

#[test]
fn without_kvm_it_says_so() {
    for filter in ["completes", "contract"] {
        let ran = check(&["--device", "/nonexistent/kvm", "--filter", filter]);
        assert_eq!((ran.status, ran.stdout.as_str()), (HOST_CANNOT, ""), "nothing is begun");
        assert!(ran.complaint().contains("/nonexistent/kvm"), "{}", ran.complaint());
    }
}

#[test]
fn the_seed_is_said_and_can_be_repeated() {
    let arguments = ["--filter", "trap/called-random/xapic", "--seed", "77"];
    let (Some(first), Some(second)) = (check_here(&arguments), check_here(&arguments)) else { return };
    assert!(first.stdout.contains("seed 77"), "{}", first.stdout);
    let counted = |ran: &Ran| ran.stdout.lines().find(|line| line.starts_with("ok")).map(|line| line[60..].to_owned());
    assert_eq!(counted(&first), counted(&second), "the same sets were called");
}

#[test]
fn junit_is_one_document() {
    let Some(ran) = check_here(&["--filter", "restriction/faults", "--format", "junit"]) else { return };
    assert_eq!(ran.status, GOOD, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("<?xml") && ran.stdout.trim_end().ends_with("</testsuites>"), "{}", ran.stdout);
    assert!(ran.stdout.contains(r#"<testcase name="x2apic" classname="restriction/faults""#), "{}", ran.stdout);
}

#[test]
fn json_is_one_document() {
    let Some(ran) = check_here(&["--filter", "restriction/faults", "--format", "JSON", "--seed", "1_0"]) else {
        return;
    };
    assert_eq!((ran.status, ran.stderr.as_str()), (GOOD, ""));
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON, and nothing else");
    let schema = serde_json::from_str(include_str!("../../resources/check.schema.json")).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!((&document["head"]["seed"], &document["head"]["planned"]), (&10.into(), &1.into()));
    assert_eq!(document["tests"][0]["outcome"], "passed");
    assert!(document["started"].is_number() && document["date"].is_string(), "{document}");
    assert_eq!((&document["command"][1], &document["command"][3]), (&"check".into(), &"restriction/faults".into()));
    assert_eq!(document["host"]["key"].as_str().map(str::len), Some(16));
    assert_eq!(document["config"]["filter"], serde_json::json!(["restriction/faults"]));
}
