//! The comparison in Bencher Metric Format: a benchmark for each cell, and one for the whole.

use crate::report::bmf::{Benchmarks, Figure, LATENCY, Measures, encode};
use crate::report::json::JsonError;
use crate::results::comparison::row::Row;
use crate::results::comparison::{Comparison, Verdict};

/// The benchmark of the whole comparison, which no cell is named like.
const WHOLE: &str = "kipi compare";

/// The document.
pub(super) fn render(comparison: &Comparison) -> Result<String, JsonError> {
    let mut benchmarks: Benchmarks = comparison.cells.iter().map(|row| (row.name(), measures(row))).collect();
    benchmarks.insert(WHOLE.to_owned(), whole(comparison));
    encode(&benchmarks)
}

/// The new side's time, and the changes as fractions.
fn measures(row: &Row) -> Measures {
    let (raw, judged) = (row.raw, row.judged());
    Measures::from([
        (LATENCY, Figure::new(row.new_ns, None)),
        ("raw-change", Figure::new(raw.estimate, raw.interval)),
        ("change", Figure::new(judged.estimate, judged.interval)),
    ])
}

fn whole(comparison: &Comparison) -> Measures {
    let rows = comparison.cells.iter().chain(&comparison.references).map(|row| row.verdict);
    let slower = rows.chain(comparison.gates.iter().map(|gate| gate.verdict)).filter(|it| *it == Verdict::Slower);
    let count = |number: usize| Figure::new(number as f64, None);
    Measures::from([
        ("slower", count(slower.count())),
        ("worse-findings", count(comparison.worse_findings().count())),
        ("undecided", Figure::new(comparison.undecided as f64, None)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::comparison::fixture::comparison;
    use crate::results::comparison::row::Change;
    use serde_json::{Value, json};

    #[test]
    fn a_cell_has_its_change_and_the_whole_its_counts() {
        let document: Value = serde_json::from_str(&render(&comparison()).unwrap()).unwrap();
        assert_eq!(document.as_object().unwrap().len(), comparison().cells.len() + 1);
        assert_eq!(document[WHOLE]["slower"], json!({ "value": 2.0 }), "a cell and a tail");
        assert_eq!(document[WHOLE]["worse-findings"], json!({ "value": 4.0 }));
        assert_eq!(document[WHOLE]["undecided"], json!({ "value": 3.0 }));
        let cell = &document["x2apic, all-but-self, halt, 2 vCPUs, guest"];
        let Change { estimate, interval, .. } = comparison().cells[0].judged();
        let [low, high] = interval.unwrap();
        assert_eq!(cell["change"], json!({ "value": estimate, "lower_value": low, "upper_value": high }));
        assert_eq!(cell[LATENCY], json!({ "value": comparison().cells[0].new_ns }));
    }
}
