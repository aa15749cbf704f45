use super::*;
use crate::results::comparison;
use crate::results::fixture;
use crate::results::history;
use crate::results::measurement::MEASUREMENT_SCHEMA;
use crate::results::metric::MetricName;
use jsonschema::Validator;
use serde_json::json;
use std::{env, fs, path::Path};

fn written(measurement: &Measurement) -> String {
    let mut bytes = Vec::new();
    write(measurement, &mut bytes).expect("a vector takes everything");
    String::from_utf8(bytes).expect("UTF-8")
}

fn sample() -> Value {
    serde_json::from_str(&written(&fixture::measurement())).expect("JSON")
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).expect("the schema is a schema")
}

fn place_and_field(measurement: &Measurement) -> (String, String) {
    let mut bytes = Vec::new();
    let error = write(measurement, &mut bytes).expect_err("not finite");
    assert_eq!(bytes, b"", "nothing is written of a document that cannot be written whole");
    match error {
        JsonError::NotFinite { place, field, .. } => (place, field),
        JsonError::Write(error) => panic!("unexpected: {error}"),
    }
}

#[test]
fn schema_files_are_the_types_schemas() {
    for (file, schema) in [
        ("measurement.schema.json", schema()),
        ("trace.schema.json", trace_schema()),
        ("comparison.schema.json", comparison_schema()),
        ("history.schema.json", history_schema()),
        ("overhead.schema.json", overhead_schema()),
        ("check.schema.json", check_schema()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources").join(file);
        if env::var_os("KIPI_BLESS").is_some() {
            let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
            fs::write(&path, text).expect("schema file");
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        // Compared as values: the order of keys depends on features that other crates turn on.
        let stored: Value = serde_json::from_str(&stored).unwrap_or_default();
        assert!(
            stored == schema,
            "resources/{file} is not the schema of the types any more; \
             if the change is meant, regenerate it: KIPI_BLESS=1 cargo test -p kipi --lib schema_file"
        );
    }
}

#[test]
fn what_is_written_reads_back_and_ends_in_a_newline() {
    let measurement = fixture::measurement();
    let text = written(&measurement);
    assert!(text.ends_with("}\n"));
    assert!(text.contains("\n  \"cells\": ["), "pretty-printed");
    assert_eq!(serde_json::from_str::<Measurement>(&text).expect("JSON"), measurement);
}

#[test]
fn a_sample_keeps_to_the_schema() {
    let errors: Vec<String> = validator().iter_errors(&sample()).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn a_missing_field_is_rejected() {
    let mut document = sample();
    document["cells"][0].as_object_mut().expect("a cell").remove("integrity");
    assert!(!validator().is_valid(&document));
}

#[test]
fn an_unknown_field_is_rejected() {
    let mut document = sample();
    document["cells"][0]["integrity"]["slow"] = json!(1);
    assert!(!validator().is_valid(&document));
}

#[test]
fn another_schema_is_rejected() {
    let mut document = sample();
    assert_eq!(document["schema"], MEASUREMENT_SCHEMA);
    document["schema"] = json!("kipi.measurement/2");
    assert!(!validator().is_valid(&document));
}

#[test]
fn null_is_rejected_where_a_number_belongs() {
    let mut document = sample();
    document["cells"][0]["metrics"]["round_trip"]["p50"] = Value::Null;
    assert!(!validator().is_valid(&document));
}

#[test]
fn a_metric_that_is_no_number_is_named_with_its_cell() {
    let mut measurement = fixture::measurement();
    measurement.cells[1].metrics.get_mut(&MetricName::StartSkew).expect("metric").p999 = f64::NAN;
    let mut bytes = Vec::new();
    let error = write(&measurement, &mut bytes).expect_err("NaN");
    assert!(error.to_string().contains(
        "cell 1 (x2apic, all-but-self, halt, 2 vCPUs, guest): metrics.start_skew.p999 is NaN, \
         which JSON has no number for"
    ));
}

#[test]
fn infinities_are_found_wherever_null_would_pass() {
    let cell = "cell 0 (x2apic, all-but-self, spin, 2 vCPUs, guest)";
    let mut measurement = fixture::measurement();
    let metric = measurement.cells[0].metrics.get_mut(&MetricName::RoundTrip).expect("metric");
    metric.ci95.p50 = Some([1.0, f64::INFINITY]);
    assert_eq!(place_and_field(&measurement), (cell.into(), "metrics.round_trip.ci95.p50[1]".into()));

    let mut measurement = fixture::measurement();
    measurement.instruments[0].first_broadcast_ns = Some(f64::NEG_INFINITY);
    assert_eq!(place_and_field(&measurement), ("document".into(), "instruments[0].first_broadcast_ns".into()));
}

#[test]
fn every_other_number_is_checked_too() {
    let mut measurement = fixture::measurement();
    measurement.instruments[0].exit_leg_ns.p99 = f64::NAN;
    assert_eq!(place_and_field(&measurement).1, "instruments[0].exit_leg_ns.p99");

    let mut measurement = fixture::measurement();
    measurement.cells[0].exits[0].per_target = f64::NAN;
    assert_eq!(place_and_field(&measurement).1, "exits[0].per_target");

    let mut measurement = fixture::measurement();
    measurement.cells[0].clock.error_ns = Some(f64::NAN);
    assert_eq!(place_and_field(&measurement).1, "clock.error_ns");
}

#[test]
fn the_writers_error_keeps_its_kind() {
    let error = write(&fixture::measurement(), &mut [0_u8; 10][..]).expect_err("ten bytes are too few");
    assert!(matches!(error, JsonError::Write(error) if error.kind() == io::ErrorKind::WriteZero));
}

#[test]
fn a_trace_keeps_to_its_schema_and_comes_back_from_json() {
    let trace = fixture::trace();
    let mut bytes = Vec::new();
    write_trace(&trace, &mut bytes).expect("a vector takes everything");
    let value: Value = serde_json::from_slice(&bytes).expect("JSON");
    jsonschema::validator_for(&trace_schema()).expect("a schema").validate(&value).expect("valid");
    assert_eq!(serde_json::from_value::<Trace>(value).expect("a trace"), trace);
}

#[test]
fn a_comparison_keeps_to_its_schema_and_comes_back_from_json() {
    let comparison = comparison::fixture::comparison();
    let text = to_text(&comparison).expect("all its numbers are finite");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    jsonschema::validator_for(&comparison_schema()).expect("a schema").validate(&value).expect("valid");
    assert_eq!(serde_json::from_value::<Comparison>(value).expect("a comparison"), comparison);
}

#[test]
fn a_history_keeps_to_its_schema_and_comes_back_from_json() {
    let history = history::fixture::history();
    let mut bytes = Vec::new();
    write_history(&history, &mut bytes).expect("a vector takes everything");
    let value: Value = serde_json::from_slice(&bytes).expect("JSON");
    jsonschema::validator_for(&history_schema()).expect("a schema").validate(&value).expect("valid");
    assert_eq!(serde_json::from_value::<History>(value).expect("a history"), history);
}
