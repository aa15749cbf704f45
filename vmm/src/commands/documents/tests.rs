use super::*;
use crate::results::fixture;
use crate::results::histogram::Histogram;
use std::fs;
use tempfile::TempDir;

/// A directory with a document for each change to the one of the fixture.
fn directory(changes: &[fn(&mut Measurement)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (number, change) in changes.iter().enumerate() {
        let mut measurement = fixture::measurement();
        change(&mut measurement);
        let text = serde_json::to_string(&measurement).unwrap();
        fs::write(directory.path().join(format!("run-{number}.json")), text).unwrap();
    }
    directory
}

fn read_all(directory: &TempDir) -> Result<Vec<Run>, String> {
    read(&[directory.path().to_owned()], false).map_err(|error| error.to_string())
}

fn error_of(change: fn(&mut Measurement)) -> String {
    let error = read_all(&directory(&[change])).unwrap_err();
    assert!(!error.contains('\n') && error.contains("run-0.json: "), "{error}");
    error
}

fn error_of_text(text: &str) -> String {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("run.json"), text).unwrap();
    let error = read_all(&directory).unwrap_err();
    assert!(!error.contains('\n'), "{error}");
    error
}

const fn started(measurement: &mut Measurement, at: f64) {
    measurement.started = Some(at);
}

#[test]
fn runs_are_in_order_of_time_if_all_say_when_they_began() {
    let files = |changes: &[fn(&mut Measurement)]| -> Vec<String> {
        let runs = read_all(&directory(changes)).unwrap();
        runs.iter().map(|run| run.file.rsplit_once('/').unwrap().1.to_owned()).collect()
    };
    assert_eq!(files(&[|it| started(it, 9.0), |it| started(it, 3.0)]), ["run-1.json", "run-0.json"]);
    assert_eq!(files(&[|it| started(it, 9.0), |it| it.started = None]), ["run-0.json", "run-1.json"]);
}

#[test]
fn a_set_is_files_patterns_and_directories() {
    let directory = directory(&[|it| started(it, 1.0), |it| started(it, 2.0), |it| started(it, 3.0)]);
    fs::write(directory.path().join("samples.csv"), "no document").unwrap();
    let count = |names: &[PathBuf]| read(names, false).map(|runs| runs.len()).map_err(|error| error.to_string());
    let path = |name: &str| directory.path().join(name);
    assert_eq!(count(&[path("run-0.json"), path("run-2.json")]), Ok(2));
    assert_eq!(count(&[path("run-[12].json")]), Ok(2));
    assert_eq!(count(&[directory.path().to_owned()]), Ok(3));
    assert!(count(&[path("run-7.json")]).unwrap_err().ends_with("run-7.json: no such file or directory"));
    assert!(count(&[path("walk-*.json")]).unwrap_err().ends_with("walk-*.json: no such file or directory"));
    assert!(count(&[path("run-[.json")]).unwrap_err().contains("run-[.json: "));
    assert!(count(&[TempDir::new().unwrap().path().to_owned()]).unwrap_err().contains("there is no .json file"));
    let twice = count(&[path("run-0.json"), directory.path().to_owned()]).unwrap_err();
    assert!(twice.ends_with("are the same run"), "{twice}");
}

#[test]
fn what_is_no_measurement_is_one_line() {
    assert!(error_of_text("{").contains("it is no JSON"));
    assert!(error_of_text("[1, 2]").contains("it has no \"schema\""));
    assert!(error_of_text("{\"schema\": 7}").contains("it has no \"schema\""));
    let other = error_of_text("{\"schema\": \"kipi.measurement/2\"}");
    assert!(other.contains("its schema is kipi.measurement/2, and this kipi compares kipi.measurement/1"), "{other}");
    let empty = error_of_text("{\"schema\": \"kipi.measurement/1\"}");
    assert!(empty.contains("it does not keep to kipi.measurement/1: missing field"), "{empty}");
}

#[test]
fn a_run_that_ended_early_has_to_be_allowed() {
    let partial = |measurement: &mut Measurement| {
        measurement.partial = true;
        measurement.error = Some("the VM stopped".to_owned());
    };
    let error = error_of(partial);
    assert!(error.contains("the run ended early: the VM stopped (--allow-partial"), "{error}");
    assert_eq!(read(&[directory(&[partial]).path().to_owned()], true).unwrap().len(), 1);
}

fn round_trip(measurement: &mut Measurement) -> &mut crate::results::metric::Metric {
    measurement.cells[0].metrics.get_mut(&MetricName::RoundTrip).unwrap()
}

#[test]
fn a_document_that_contradicts_itself_was_changed_by_hand() {
    type Change = fn(&mut Measurement);
    let changes: [(Change, &str); 6] = [
        (|it| round_trip(it).p50 *= 100.0, "quantiles of round_trip do not rise"),
        (|it| round_trip(it).n = 0, "round_trip has 0 values"),
        (|it| it.cells[0].exits[0].initiator = -1.0, "fewer than no exits"),
        (|it| it.cells.push(it.cells[0].clone()), "it has the cell x2apic, all-but-self, spin, 2 vCPUs, guest twice"),
        (|it| it.cells[0].round_trips = Some(Histogram::of([5.0])), "round_trips counts 1 values, round_trip 1000"),
        (|it| round_trip(it).negative = 2_000, "2000 of them negative"),
    ];
    for (change, said) in changes {
        let error = error_of(change);
        assert!(error.contains(said) && error.ends_with("it is not as kipi wrote it"), "{error}");
    }
}
