//! Reports of `kipi trace`: a finished [`document::Trace`] as text, as JSON and for the Perfetto UI.

pub mod perfetto;
pub mod text;

use crate::results::trace::Trace;
use serde_json::Value;

/// The trace as JSON, pretty-printed and with a newline at its end.
///
/// # Errors
/// The serialiser's own; there is none for a finite document.
pub fn render_json(trace: &Trace) -> serde_json::Result<String> {
    serde_json::to_string_pretty(trace).map(|text| text + "\n")
}

/// The JSON Schema of a trace, made from the types.
pub fn schema() -> Value {
    schemars::schema_for!(Trace).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, path::Path};

    const SCHEMA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../resources/trace.schema.json");

    #[test]
    fn the_schema_in_resources_is_that_of_the_types() {
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if env::var_os("KIPI_BLESS").is_some() {
            fs::write(SCHEMA_FILE, &text).unwrap();
        }
        let stored = fs::read_to_string(Path::new(SCHEMA_FILE)).unwrap_or_default();
        assert_eq!(stored, text, "run 'just bless' after a change to the document's types");
    }

    #[test]
    fn a_trace_keeps_to_its_schema_and_comes_back_from_json() {
        let trace = crate::results::trace::fixture();
        let text = render_json(&trace).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        jsonschema::validator_for(&schema()).unwrap().validate(&value).unwrap();
        assert_eq!(serde_json::from_value::<Trace>(value).unwrap(), trace);
    }
}
