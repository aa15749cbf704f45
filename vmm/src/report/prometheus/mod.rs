//! Gauges in Prometheus' text format, version 0.0.4, for the node exporter's textfile collector
//! (<https://github.com/prometheus/node_exporter#textfile-collector>): without time stamps, which it refuses, in base units.

mod measurement;
#[cfg(test)]
pub(super) mod reader;

pub use measurement::render;

use guest_stub::abi::cell::CellId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// What tells the samples of a gauge apart.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A gauge and its samples, no two of which have the same labels.
#[derive(Debug)]
pub(super) struct Gauge {
    name: String,
    help: String,
    samples: Vec<(Labels, f64)>,
}

impl Gauge {
    pub(super) fn new(name: impl Into<String>, help: impl Into<String>, samples: Vec<(Labels, f64)>) -> Self {
        Self { name: name.into(), help: help.into(), samples }
    }

    /// A gauge with one sample that needs no label.
    pub(super) fn single(name: &str, help: &str, value: f64) -> Self {
        Self::new(name, help, vec![(Labels::new(), value)])
    }
}

/// A cell's identity. Labels that are empty are absent for Prometheus; they stand here since the samples of a gauge are to have
/// the same labels.
pub(super) fn labels(cell: &CellId) -> Labels {
    let CellId { call, route, destination, target_state, vcpus, observe, idle_before_us, wait, under } = cell;
    vec![
        ("call", call.name().to_owned()),
        ("route", route.name().to_owned()),
        ("destination", destination.name().to_owned()),
        ("target_state", target_state.name().to_owned()),
        ("vcpus", vcpus.to_string()),
        ("observe", observe.name().to_owned()),
        ("idle_before_us", idle_before_us.map(|time| time.to_string()).unwrap_or_default()),
        ("wait", wait.name().to_owned()),
        ("under", under.map(|under| under.name().to_owned()).unwrap_or_default()),
    ]
}

/// What is true is 1, as Prometheus has it.
pub(super) fn truth(truth: bool) -> f64 {
    f64::from(u8::from(truth))
}

/// Writes gauges in their order; one without samples is left out.
///
/// # Errors
/// None but the formatter's own.
pub(super) fn encode(mut gauges: Vec<Gauge>) -> Result<String, fmt::Error> {
    gauges.retain(|gauge| !gauge.samples.is_empty());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Gauges(gauges)));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Gauges(Vec<Gauge>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Gauge { name, help, samples } in &self.0 {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(*value).encode(gauge.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::reader::read;
    use super::*;

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        for hostile in ["a\"b", "a\\", "\\n", "a\nkipi_forged 1", "a# b{c=\"d\"} 2", "µ\r\u{1b}[31m", "", "} 1\n"] {
            let gauges = vec![
                Gauge::new("kipi_one", hostile, vec![(vec![("a", hostile.to_owned()), ("b", "c".to_owned())], -0.5)]),
                Gauge::single("kipi_two", "two", 1e-9),
            ];
            let families = read(&encode(gauges).unwrap());
            let [one, two] = &families[..] else { panic!("{families:?}") };
            assert_eq!((one.name.as_str(), one.help.as_str()), ("kipi_one", hostile));
            assert_eq!(one.samples[0].labels["a"], hostile);
            assert_eq!(one.samples[0].labels["b"], "c");
            assert_eq!((two.name.as_str(), two.samples.len()), ("kipi_two", 1));
        }
    }

    #[test]
    fn a_gauge_without_samples_is_left_out() {
        let gauges = vec![Gauge::new("kipi_none", "nothing", Vec::new()), Gauge::single("kipi_one", "one", 1.0)];
        assert_eq!(encode(gauges).unwrap(), "# HELP kipi_one one\n# TYPE kipi_one gauge\nkipi_one 1.0\n");
    }

    #[test]
    fn what_is_not_finite_is_written_as_prometheus_reads_it() {
        for (value, text) in [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")] {
            let written = encode(vec![Gauge::single("kipi_one", "one", value)]).unwrap();
            assert!(written.ends_with(&format!("kipi_one {text}\n")), "{written}");
        }
    }
}
