//! Documents as JSON, and the JSON Schemas that they keep to.

use super::finite::{self, NotFinite};
use crate::results::check::CheckRun;
use crate::results::comparison::Comparison;
use crate::results::history::History;
use crate::results::measurement::Measurement;
use crate::results::overhead::Overhead;
use crate::results::trace::Trace;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};

/// Why a document could not be written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// A value that JSON has no number for; written as `null` it would be lost in silence.
    #[error(
        "cannot write the document as JSON: {place}: {field} is {value}, which JSON has no number for \
         (the text report shows it, and --csv has the samples behind it)"
    )]
    NotFinite {
        /// The cell, or the part of the document.
        place: String,
        /// The fields that lead to the value: `metrics.start_skew.p999`.
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
pub fn write(measurement: &Measurement, writer: impl Write) -> Result<(), JsonError> {
    for (index, cell) in measurement.cells.iter().enumerate() {
        refuse(|| format!("cell {index} ({})", cell.id), finite::find(cell))?;
    }
    write_document(measurement, writer)
}

/// As [`write()`], of a trace.
///
/// # Errors
/// As [`write()`].
pub fn write_trace(trace: &Trace, writer: impl Write) -> Result<(), JsonError> {
    write_document(trace, writer)
}

/// As [`write()`], of a comparison.
///
/// # Errors
/// As [`write()`].
pub fn write_comparison(comparison: &Comparison, writer: impl Write) -> Result<(), JsonError> {
    write_document(comparison, writer)
}

/// As [`write()`], of a history.
///
/// # Errors
/// As [`write()`].
pub fn write_history(history: &History, writer: impl Write) -> Result<(), JsonError> {
    write_document(history, writer)
}

/// As [`write()`], of a run of the conformance suite.
///
/// # Errors
/// As [`write()`].
pub fn write_check(run: &CheckRun, writer: impl Write) -> Result<(), JsonError> {
    write_document(run, writer)
}

/// The JSON Schema of such a run, made from the types.
pub fn check_schema() -> Value {
    schemars::schema_for!(CheckRun).to_value()
}

/// The JSON Schema of a measurement, made from the types.
pub fn schema() -> Value {
    schemars::schema_for!(Measurement).to_value()
}

/// The JSON Schema of a trace, made from the types.
pub fn trace_schema() -> Value {
    schemars::schema_for!(Trace).to_value()
}

/// The JSON Schema of a comparison, made from the types.
pub fn comparison_schema() -> Value {
    schemars::schema_for!(Comparison).to_value()
}

/// The JSON Schema of an overhead, made from the types.
pub fn overhead_schema() -> Value {
    schemars::schema_for!(Overhead).to_value()
}

/// As [`write()`], of any document, as text.
///
/// # Errors
/// [`JsonError::NotFinite`].
pub(super) fn to_text(document: &impl Serialize) -> Result<String, JsonError> {
    let mut text = Vec::new();
    write_document(document, &mut text)?;
    String::from_utf8(text).map_err(|error| JsonError::Write(io::Error::other(error)))
}

/// The JSON Schema of a history, made from the types.
pub fn history_schema() -> Value {
    schemars::schema_for!(History).to_value()
}

fn write_document(document: &impl Serialize, mut writer: impl Write) -> Result<(), JsonError> {
    refuse(|| "document".to_owned(), finite::find(document))?;
    serde_json::to_writer_pretty(&mut writer, document).map_err(io::Error::from)?;
    writer.write_all(b"\n")?;
    Ok(())
}

fn refuse(place: impl Fn() -> String, found: Option<NotFinite>) -> Result<(), JsonError> {
    found.map_or(Ok(()), |NotFinite { path: field, value }| Err(JsonError::NotFinite { place: place(), field, value }))
}

#[cfg(test)]
mod tests;
