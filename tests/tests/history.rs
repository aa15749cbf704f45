//! `kipi history` from its command line: documents of a real run, dated and changed.

use kipi_tests::{document, hypervisor, kipi, run_tests, test, turn};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn main() -> std::process::ExitCode {
    run_tests()
}

const RUNS: usize = 30;
const CHANGED_AT: usize = 18;

/// A month of the one run, from which on the kernel is another one and the first cell takes 10 % longer; each cell of each run varies by up to 1 %.
fn write_runs(directory: &Path, measured: &Value) {
    for run in 0..RUNS {
        let mut measurement = measured.clone();
        measurement["started"] = (1_764_230_400.0 + 86_400.0 * run as f64).into();
        if run >= CHANGED_AT {
            measurement["host"]["kernel"] = "99.1".into();
        }
        for (index, cell) in measurement["cells"].as_array_mut().expect("cells").iter_mut().enumerate() {
            let slower = if run >= CHANGED_AT && index == 0 { 1.1 } else { 1.0 };
            let factor = slower * (1.0 + 0.001 * (((run * 7 + index * 3) % 19) as f64 - 9.0));
            // By the medians of whole runs: one block more or less is then no other time.
            cell["blocks"] = Value::Array(Vec::new());
            let metric = &mut cell["metrics"]["round_trip"];
            for quantile in ["min", "p50", "p90", "p99", "p999", "max"] {
                metric[quantile] = (metric[quantile].as_f64().expect("a number") * factor).into();
            }
            metric["ci95"]["p50"] = Value::Null;
        }
        // By falling name, so that it is the documents that give the order.
        fs::write(directory.join(format!("{:02}.json", RUNS - run)), measurement.to_string()).expect("a file");
    }
}

#[test]
fn a_month_of_runs_has_its_change_where_it_is() {
    if hypervisor().is_none() {
        return;
    }
    let _turn = turn();
    let options = ["--vcpus=2", "--route=x2apic,xapic", "--target-state=halt", "--rounds=20", "--boots=1", "--json=-"];
    let measured = kipi(options);
    assert_eq!(measured.status, Some(0), "{measured:?}");
    let directory = tempfile::tempdir().expect("a directory");
    write_runs(directory.path(), &document(&measured.stdout));
    let outputs = tempfile::tempdir().expect("a directory");
    let [html, json] = ["history.html", "history.json"].map(|name| outputs.path().join(name));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let ran = kipi([
        "history".to_owned(),
        path(directory.path()),
        "--html".to_owned(),
        path(&html),
        "--json".to_owned(),
        path(&json),
    ]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.contains("17, 18") && ran.stdout.contains("→ 99.1"), "{}", ran.stdout);
    let page = fs::read_to_string(html).expect("the page");
    assert!(page.contains("between runs 17 and 18") && page.ends_with("</html>\n"), "{page}");
    let history: Value = serde_json::from_str(&fs::read_to_string(json).expect("the document")).expect("JSON");
    assert_eq!(history["runs"][0]["file"], path(&directory.path().join("30.json")));
    let changes: Vec<&Value> = history["courses"]
        .as_array()
        .expect("courses")
        .iter()
        .flat_map(|course| course["changes"].as_array().expect("changes"))
        .collect();
    assert!(!changes.is_empty() && changes.iter().all(|change| change["first_after"] == CHANGED_AT), "{changes:#?}");
    assert!(
        changes.iter().all(|change| (change["change"].as_f64().expect("a number").abs() - 0.1).abs() < 0.02),
        "{changes:#?}"
    );
}

#[test]
fn what_is_no_run_is_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8").to_owned();
    let refused = |arguments: &[&str]| {
        let ran = kipi(arguments);
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        ran.complaint().to_owned()
    };
    assert!(refused(&["history", &path]).contains("no .json file"));
    assert!(refused(&["history"]).contains("RUNS"));
    fs::write(directory.path().join("other.json"), "{\"schema\": \"kipi.trace/1\"}").expect("a file");
    assert!(refused(&["history", &path]).contains("kipi.trace/1"));
}
