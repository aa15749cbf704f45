//! Results in Bencher Metric Format (<https://bencher.dev/docs/reference/bencher-metric-format>): a benchmark's measures by its
//! name, each with a value and, where it has an interval, the interval's ends.
//!
//! A measure has no unit there: times are in nanoseconds, the unit of Bencher's own measure `latency`, which the median of the
//! round trip takes.

use super::json::{self, JsonError};
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::{Metric, MetricName};
use crate::results::source::Source;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bencher's own measure of time, which every project has from the start.
pub(super) const LATENCY: &str = "latency";

/// The benchmarks by name: at most 1024 characters, of which no two may differ in case alone.
pub(super) type Benchmarks = BTreeMap<String, Measures>;

/// A benchmark's measures by slug: at most 64 characters of lower case, digits and hyphens.
pub(super) type Measures = BTreeMap<&'static str, Figure>;

/// A measure's value, and the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Figure {
    value: f64,
    #[serde(rename = "lower_value", skip_serializing_if = "Option::is_none")]
    lower: Option<f64>,
    #[serde(rename = "upper_value", skip_serializing_if = "Option::is_none")]
    upper: Option<f64>,
}

impl Figure {
    pub(super) fn new(value: f64, interval: Option<[f64; 2]>) -> Self {
        Self { value, lower: interval.map(|[low, _]| low), upper: interval.map(|[_, high]| high) }
    }
}

/// The cells that were asked for.
///
/// # Errors
/// [`JsonError::NotFinite`] for a NaN or an infinity.
pub fn render(measurement: &Measurement) -> Result<String, JsonError> {
    encode(&measurement.asked().map(|cell| (cell.id.to_string(), measures(cell))).collect())
}

/// Writes the benchmarks.
///
/// # Errors
/// [`JsonError::NotFinite`] for a NaN or an infinity.
pub(super) fn encode(benchmarks: &Benchmarks) -> Result<String, JsonError> {
    json::to_text(benchmarks)
}

fn measures(cell: &Cell) -> Measures {
    let mut measures = Measures::from([("wrong-calls", Figure::new(wrong_calls(cell) as f64, None))]);
    for (&name, metric) in &cell.metrics {
        let Some([p50, p99]) = slugs(name) else { continue };
        let &Metric { p50: median, p99: percentile, ci95, .. } = metric;
        measures.extend([(p50, Figure::new(median, ci95.p50)), (p99, Figure::new(percentile, ci95.p99))]);
    }
    // Counts vary far less than times, and tell sooner that a call exits more often.
    if let Some(exits) = cell.exits.iter().find(|exits| exits.source == Source::Stats && exits.reason == "exits") {
        let [initiator, target] = [exits.initiator, exits.per_target].map(|count| Figure::new(count, None));
        measures.extend([("initiator-exits", initiator), ("target-exits", target)]);
    }
    measures
}

fn wrong_calls(cell: &Cell) -> u64 {
    let integrity = cell.integrity;
    integrity.lost + integrity.duplicate + integrity.late + integrity.timed_out
}

/// The measures of a metric's median and 99th percentile; `None`: it explains others, and nobody would want an alert on it.
const fn slugs(metric: MetricName) -> Option<[&'static str; 2]> {
    match metric {
        MetricName::RoundTrip => Some([LATENCY, "round-trip-p99"]),
        MetricName::Delivery => Some(["delivery-p50", "delivery-p99"]),
        MetricName::ArrivalSkew => Some(["arrival-skew-p50", "arrival-skew-p99"]),
        MetricName::StartSkew => Some(["start-skew-p50", "start-skew-p99"]),
        MetricName::SendCost
        | MetricName::StartBarrier
        | MetricName::Overlap
        | MetricName::VmmStartSkew
        | MetricName::SkewSlope
        | MetricName::ObservedExit
        | MetricName::SkewGap
        | MetricName::KernelDelivery
        | MetricName::DeliveryGap
        | MetricName::Halted
        | MetricName::Away
        | MetricName::Reentry => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::integrity::Integrity;
    use serde_json::json;

    /// <https://bencher.dev/bmf.json>
    fn schema() -> serde_json::Value {
        json!({
            "$schema": "http://json-schema.org/draft-07/schema",
            "type": "object",
            "patternProperties": { ".+": {
                "type": "object",
                "patternProperties": { ".+": {
                    "type": "object",
                    "properties": {
                        "value": { "type": "number" },
                        "lower_value": { "type": "number" },
                        "upper_value": { "type": "number" }
                    },
                    "required": ["value"]
                } }
            } }
        })
    }

    fn document(measurement: &Measurement) -> serde_json::Value {
        let document = serde_json::from_str(&render(measurement).unwrap()).unwrap();
        jsonschema::draft7::validate(&schema(), &document).unwrap();
        document
    }

    #[test]
    fn a_cell_is_a_benchmark_with_its_measures() {
        let document = document(&fixture::measurement());
        assert_eq!(document.as_object().unwrap().len(), 2);
        let cell = &document["x2apic, all-but-self, halt, 2 vCPUs, guest"];
        assert_eq!(cell[LATENCY], json!({ "value": 842.0, "lower_value": 0.95 * 842.0, "upper_value": 1.05 * 842.0 }));
        assert_eq!(cell["round-trip-p99"], json!({ "value": 1684.0 }), "no interval, no ends");
        assert_eq!(cell["wrong-calls"], json!({ "value": 0.0 }));
        assert_eq!(cell["initiator-exits"], json!({ "value": 2.0 }));
        assert_eq!(cell.get("send-cost"), None);
    }

    #[test]
    fn calls_that_went_wrong_are_summed() {
        let mut measurement = fixture::measurement();
        measurement.cells[0].integrity = Integrity { lost: 1, duplicate: 2, late: 3, timed_out: 4 };
        let document = document(&measurement);
        assert_eq!(document["x2apic, all-but-self, spin, 2 vCPUs, guest"]["wrong-calls"]["value"], 10.0);
    }

    #[test]
    fn a_cell_that_nobody_asked_for_is_no_benchmark() {
        let mut measurement = fixture::measurement();
        measurement.cells[0].beside = true;
        assert_eq!(document(&measurement).as_object().unwrap().len(), 1);
    }

    #[test]
    fn slugs_are_what_bencher_takes() {
        let slugs: Vec<&str> = MetricName::ALL.iter().filter_map(|&metric| slugs(metric)).flatten().collect();
        let is_slug = |slug: &str| {
            slug.len() <= 64 && slug.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
        };
        assert_eq!(slugs.len(), 8);
        assert!(slugs.iter().all(|slug| is_slug(slug)), "{slugs:?}");
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        let mut measurement = fixture::measurement();
        measurement.cells[0].metrics.get_mut(&MetricName::RoundTrip).unwrap().p50 = f64::NAN;
        assert!(render(&measurement).unwrap_err().to_string().contains("latency.value is NaN"));
    }
}
