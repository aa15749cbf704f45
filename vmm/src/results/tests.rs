//! Documents that earlier versions have written are read, and nothing in them is lost.

use super::measurement::Measurement;
use super::trace::Trace;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a document of before, and finds all of it in what is written of it now, which may say more.
fn survives<T: DeserializeOwned + Serialize>(text: &str) {
    let document: T = serde_json::from_str(text).expect("a document of this schema");
    let before = serde_json::from_str(text).expect("JSON");
    find("", &before, &serde_json::to_value(document).expect("JSON"));
}

fn find(place: &str, before: &Value, now: &Value) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (key, value) in before {
                let place = format!("{place}.{key}");
                find(&place, value, now.get(key).unwrap_or_else(|| panic!("{place} is lost")));
            }
        }
        (Value::Array(before), Value::Array(now)) => {
            assert_eq!(before.len(), now.len(), "entries of {place}");
            before.iter().zip(now).for_each(|(before, now)| find(place, before, now));
        }
        _ => assert_eq!(before, now, "{place}"),
    }
}

#[test]
fn a_measurement_of_before_is_read() {
    survives::<Measurement>(include_str!("tests/measurement.json"));
}

#[test]
fn a_trace_of_before_is_read() {
    survives::<Trace>(include_str!("tests/trace.json"));
}

#[test]
#[should_panic(expected = ".cells.rounds")]
fn a_value_that_has_changed_is_noticed() {
    find("", &serde_json::json!({"cells": [{"rounds": 1}]}), &serde_json::json!({"cells": [{"rounds": 2, "more": 0}]}));
}
