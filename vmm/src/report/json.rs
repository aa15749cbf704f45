//! The measurement as JSON, and the JSON Schema that it keeps to.

use crate::results::measurement::{Cell, Instruments, Measurement, Metric, Spread};
use serde_json::Value;
use std::io::{self, Write};

/// Why a measurement could not be written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// A value that JSON has no number for; written as `null` it would be lost in silence.
    #[error(
        "cannot write the measurement as JSON: {place}: {field} is {value}, which JSON has no number for \
         (the text report shows it, and --csv has the samples behind it)"
    )]
    NotFinite {
        /// The cell, or the virtual machine of the instruments.
        place: String,
        /// The metric and its statistic, or the instrument and its statistic.
        field: String,
        /// NaN or an infinity.
        value: f64,
    },
    /// The writer's own error.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes the measurement, pretty-printed and with a newline at its end.
///
/// # Errors
/// [`JsonError::NotFinite`], before anything is written, for a NaN or an infinity anywhere in the document;
/// [`JsonError::Write`] for the writer's own.
pub fn write(measurement: &Measurement, mut writer: impl Write) -> Result<(), JsonError> {
    measurement.instruments.iter().try_for_each(check_instruments)?;
    measurement.cells.iter().enumerate().try_for_each(|(index, cell)| check_cell(index, cell))?;
    serde_json::to_writer_pretty(&mut writer, measurement).map_err(io::Error::from)?;
    writer.write_all(b"\n")?;
    Ok(())
}

/// The JSON Schema of a measurement, made from the types.
pub fn schema() -> Value {
    schemars::schema_for!(Measurement).to_value()
}

fn check_instruments(instruments: &Instruments) -> Result<(), JsonError> {
    let place = || format!("instruments of {} vCPUs, local APIC {}", instruments.vcpus, instruments.local_apic);
    for (name, spread) in [
        ("stamp_ns", &instruments.stamp_ns),
        ("exit_leg_ns", &instruments.exit_leg_ns),
        ("exit_round_trip_ns", &instruments.exit_round_trip_ns),
    ] {
        let Spread { n: _, min, p50, p99, max } = *spread;
        let values = [("min", min), ("p50", p50), ("p99", p99), ("max", max)];
        values.into_iter().try_for_each(|(statistic, value)| check(place, || format!("{name}.{statistic}"), value))?;
    }
    if let Some(value) = instruments.first_broadcast_ns {
        check(place, || "first_broadcast_ns".to_owned(), value)?;
    }
    check(place, || "boot_ns".to_owned(), instruments.boot_ns)?;
    check(place, || "clock.error_ns".to_owned(), instruments.clock.error_ns)
}

fn check_cell(index: usize, cell: &Cell) -> Result<(), JsonError> {
    let place = || format!("cell {index} ({})", cell.id);
    check(place, || "clock.error_ns".to_owned(), cell.clock.error_ns)?;
    for exits in &cell.exits {
        for (who, value) in [("initiator", exits.initiator), ("per_target", exits.per_target)] {
            check(place, || format!("exits {} {}.{who}", exits.source, exits.reason), value)?;
        }
    }
    for (name, metric) in &cell.metrics {
        statistics(metric)
            .try_for_each(|(statistic, value)| check(place, || format!("metric {name}.{statistic}"), value))?;
    }
    Ok(())
}

fn statistics(metric: &Metric) -> impl Iterator<Item = (&'static str, f64)> {
    let Metric { unit: _, n: _, negative: _, min, p50, p90, p99, p999, max, ci95 } = *metric;
    let intervals = [("ci95.p50", ci95.p50), ("ci95.p99", ci95.p99)];
    [("min", min), ("p50", p50), ("p90", p90), ("p99", p99), ("p999", p999), ("max", max)].into_iter().chain(
        intervals.into_iter().filter_map(|(name, interval)| Some((name, interval?))).flat_map(|(name, [low, high])| {
            // The end that is wrong speaks for the interval.
            [(name, low), (name, high)]
        }),
    )
}

fn check(place: impl Fn() -> String, field: impl Fn() -> String, value: f64) -> Result<(), JsonError> {
    if value.is_finite() { Ok(()) } else { Err(JsonError::NotFinite { place: place(), field: field(), value }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::measurement::MEASUREMENT_SCHEMA;
    use jsonschema::Validator;
    use serde_json::json;
    use std::{env, fs, path::Path};

    const SCHEMA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../resources/measurement.schema.json");

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
    fn schema_file_is_the_types_schema() {
        let mut text = serde_json::to_string_pretty(&schema()).expect("JSON");
        text.push('\n');
        if env::var_os("KIPI_BLESS").is_some() {
            fs::create_dir_all(Path::new(SCHEMA_FILE).parent().expect("resources")).expect("directory");
            fs::write(SCHEMA_FILE, &text).expect("schema file");
        }
        let stored = fs::read_to_string(SCHEMA_FILE).unwrap_or_default();
        // Compared as values: the order of keys depends on features that other crates turn on.
        let stored: Value = serde_json::from_str(&stored).unwrap_or_default();
        assert!(
            stored == schema(),
            "resources/measurement.schema.json is not the schema of the types any more; \
             if the change is meant, regenerate it: KIPI_BLESS=1 cargo test -p kipi --lib schema_file"
        );
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
        measurement.cells[1].metrics.get_mut("start_skew").expect("metric").p999 = f64::NAN;
        let mut bytes = Vec::new();
        let error = write(&measurement, &mut bytes).expect_err("NaN");
        assert!(error.to_string().contains(
            "cell 1 (x2apic, all-but-self, halt, 2 vCPUs, guest): metric start_skew.p999 is NaN, \
             which JSON has no number for"
        ));
    }

    #[test]
    fn infinities_are_found_wherever_null_would_pass() {
        let cell = "cell 0 (x2apic, all-but-self, spin, 2 vCPUs, guest)";
        let mut measurement = fixture::measurement();
        let metric = measurement.cells[0].metrics.get_mut("round_trip").expect("metric");
        metric.ci95.p50 = Some([1.0, f64::INFINITY]);
        assert_eq!(place_and_field(&measurement), (cell.into(), "metric round_trip.ci95.p50".into()));

        let mut measurement = fixture::measurement();
        measurement.instruments[0].first_broadcast_ns = Some(f64::NEG_INFINITY);
        assert_eq!(
            place_and_field(&measurement),
            ("instruments of 2 vCPUs, local APIC kernel".into(), "first_broadcast_ns".into())
        );
    }

    #[test]
    fn every_other_number_is_checked_too() {
        let mut measurement = fixture::measurement();
        measurement.instruments[0].exit_leg_ns.p99 = f64::NAN;
        assert_eq!(place_and_field(&measurement).1, "exit_leg_ns.p99");

        let mut measurement = fixture::measurement();
        measurement.cells[0].exits[0].per_target = f64::NAN;
        assert_eq!(place_and_field(&measurement).1, "exits stats exits.per_target");

        let mut measurement = fixture::measurement();
        measurement.cells[0].clock.error_ns = f64::NAN;
        assert_eq!(place_and_field(&measurement).1, "clock.error_ns");
    }

    #[test]
    fn the_writers_error_keeps_its_kind() {
        let error = write(&fixture::measurement(), &mut [0_u8; 10][..]).expect_err("ten bytes are too few");
        assert!(matches!(error, JsonError::Write(error) if error.kind() == io::ErrorKind::WriteZero));
    }
}
