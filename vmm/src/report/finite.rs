//! Numbers that JSON cannot hold: serde_json writes `null` for a NaN or an infinity, which a reader could not tell from a
//! value that is meant to be missing. CBOR holds them, so a document is looked through in CBOR's data model.

use ciborium::Value;
use serde::Serialize;

/// A NaN or an infinity, and where in the document it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NotFinite {
    /// Fields and indices from the outside to the inside: `metrics.start_skew.p999`, `ci95.p50[1]`.
    pub(super) path: String,
    pub(super) value: f64,
}

/// The first value in `document` that is not finite. A document that does not serialise has none.
pub(super) fn find(document: &impl Serialize) -> Option<NotFinite> {
    find_in(&Value::serialized(document).ok()?, "")
}

fn find_in(value: &Value, path: &str) -> Option<NotFinite> {
    match value {
        Value::Float(value) => (!value.is_finite()).then(|| NotFinite { path: path.to_owned(), value: *value }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| find_in(item, &format!("{path}[{index}]")))
        }
        Value::Map(entries) => entries.iter().find_map(|(key, value)| {
            let key = key.as_text().unwrap_or("?");
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            find_in(value, &path)
        }),
        // Neither holds another value, and CBOR's data model may grow.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::metric::MetricName;

    #[test]
    fn a_value_is_found_wherever_it_is() {
        let mut trace = fixture::trace();
        assert_eq!(find(&trace), None);
        trace.calls[0].stages[2].cost_ns = f64::NEG_INFINITY;
        let found = find(&trace).expect("an infinity");
        assert_eq!((found.path.as_str(), found.value), ("calls[0].stages[2].cost_ns", f64::NEG_INFINITY));

        let mut measurement = fixture::measurement();
        measurement.cells[1].metrics.get_mut(&MetricName::RoundTrip).expect("metric").ci95.p50 = Some([1.0, f64::NAN]);
        assert_eq!(find(&measurement).expect("NaN").path, "cells[1].metrics.round_trip.ci95.p50[1]");
        assert_eq!(find(&measurement.cells[0]), None);
        assert_eq!(find(&f64::NAN).expect("NaN").path, "");
    }
}
