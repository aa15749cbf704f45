//! The suite's results as one JSON document.

use super::Sink;
use crate::report::json::{JsonError, write_check};
use crate::results::check::{CHECK_SCHEMA, CheckConfig, CheckRun, Finished, Head, Summary};
use crate::results::measurement::host::Host;
use std::io::{self, Write};

/// What the document alone says of a run.
#[derive(Debug, Clone)]
pub struct About {
    /// When it began, as in the document.
    pub started: Option<f64>,
    /// The same as a date.
    pub date: Option<String>,
    /// The command line.
    pub command: Vec<String>,
    /// Where it runs.
    pub host: Host,
    /// What was asked for.
    pub config: CheckConfig,
}

/// Collects the tests, and writes the document at the end.
#[derive(Debug)]
pub struct Json<W: Write> {
    writer: W,
    about: About,
    head: Option<Head>,
    tests: Vec<Finished>,
}

impl<W: Write> Json<W> {
    /// A document without tests.
    pub fn new(writer: W, about: About) -> Self {
        Self { writer, about, head: None, tests: Vec::new() }
    }
}

impl<W: Write> Sink for Json<W> {
    fn start(&mut self, head: &Head) -> io::Result<()> {
        self.head = Some(head.clone());
        Ok(())
    }

    fn finished(&mut self, test: &Finished) -> io::Result<()> {
        self.tests.push(test.clone());
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let Some(head) = self.head.take() else { return Ok(()) };
        let About { started, date, command, host, config } = self.about.clone();
        let run = CheckRun {
            schema: CHECK_SCHEMA.to_owned(),
            started,
            date,
            command,
            host: Some(host),
            config: Some(config),
            head,
            tests: std::mem::take(&mut self.tests),
            summary: summary.clone(),
        };
        write_check(&run, &mut self.writer).map_err(|error| match error {
            JsonError::Write(error) => error,
            JsonError::NotFinite { .. } => io::Error::other(error),
        })?;
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{about, head, summary, tests, written};
    use super::*;
    use crate::report::json::check_schema;
    use serde_json::Value;

    #[test]
    fn the_document_has_all_of_a_run() {
        let mut bytes = Vec::new();
        written(|writer| Json::new(writer, about()), &mut bytes, (&head(), &tests(), &summary()));
        let document: Value = serde_json::from_slice(&bytes).expect("JSON");
        let validator = jsonschema::validator_for(&check_schema()).expect("the schema is a schema");
        assert!(validator.is_valid(&document), "{document}");
        assert_eq!(document["schema"], "kipi.check/1");
        let [passed, failed, skipped] = [0, 1, 2].map(|index| &document["tests"][index]);
        assert_eq!((&passed["outcome"], &passed["detail"]), (&"passed".into(), &"96 calls, 288 workers".into()));
        assert_eq!(
            (&failed["outcome"], &failed["reason"]),
            (&"failed".into(), &"vector 0x31 came 2 times, not once".into())
        );
        assert_eq!((&skipped["outcome"], &skipped["seconds"]), (&"skipped".into(), &0.0.into()));
        let About { host, .. } = about();
        assert_eq!(
            (&document["date"], &document["host"]["key"]),
            (&"2025-11-27T08:00:00.000Z".into(), &host.key.into())
        );
        assert_eq!((&document["command"][1], &document["config"]["filter"]), (&"check".into(), &["trap/"][..].into()));
        assert_eq!((&document["head"]["seed"], &document["summary"]["failed"]), (&123.into(), &1.into()));
        let run: CheckRun = serde_json::from_slice(&bytes).expect("what was written");
        assert_eq!((run.tests.as_slice(), run.summary), (tests().as_slice(), summary()));
    }
}
