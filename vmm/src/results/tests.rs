//! Documents that earlier versions have written are read, and nothing in them is lost.

use super::measurement::Measurement;
use super::trace::Trace;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn read<T: DeserializeOwned>(text: &str) -> (T, Value) {
    let document = serde_json::from_str(text).expect("a document of this schema");
    (document, serde_json::from_str(text).expect("JSON"))
}

fn written(document: impl Serialize) -> Value {
    serde_json::to_value(document).expect("JSON")
}

#[test]
fn a_measurement_of_before_is_read() {
    let (measurement, mut expected) = read::<Measurement>(include_str!("tests/measurement.json"));
    // What was skipped had no vantage.
    for skipped in expected["skipped"].as_array_mut().expect("a list") {
        skipped["observe"] = "guest".into();
    }
    assert_eq!(written(measurement), expected);
}

#[test]
fn a_trace_of_before_is_read() {
    let (trace, mut expected) = read::<Trace>(include_str!("tests/trace.json"));
    // What was asked for had no vantage.
    expected["config"]["observe"] = "guest".into();
    assert_eq!(written(trace), expected);
}
