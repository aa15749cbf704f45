//! The cells' times in those of the same calls on the host's own processors.

use super::cells::{Row, rows_of, table as of_rows};
use crate::report::table::{Column, Table, Value};
use crate::results::measurement::Measurement;
use crate::results::metric::MetricName;
use crate::results::times_native::{METRICS, TimesNative};

const TITLE: &str =
    "Times native: medians over those of the same calls on the host's own processors, by pairs of blocks";

/// How many pairs there are tells how far a ratio without an interval is to be trusted.
const PAIRS_RANK: u8 = 1;

/// Its round trip, for the main table: never left out, since it is what most readers come for.
pub(super) fn column(rows: &[Row<'_>]) -> Option<Column> {
    let of = |(_, cell): &Row<'_>| cell.times_native(MetricName::RoundTrip).map(ratio);
    Column::number_if_any("×", "native", 0, rows.iter().map(of))
}

/// A row for each cell and each native cell that it is divided by.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    // Documents have them by divisor.
    let (rows, by_divisor) =
        rows_of(measurement, |cell| cell.times_native.chunk_by(|one, next| one.divisor == next.divisor));
    let mut table = of_rows(TITLE, &rows)?;
    // All of a divisor's have its route, and as many pairs.
    let firsts = |value: fn(&TimesNative) -> Value| by_divisor.iter().map(|times| value(&times[0])).collect();
    table.columns.push(Column::key("divided by", firsts(|times| Value::text(times.divisor.route.name()))));
    table.columns.push(Column::number("", "pairs", PAIRS_RANK, firsts(|times| Value::Count(times.pairs))));
    // A metric is more important than what refines another one.
    let refinements = u8::try_from(METRICS.len()).unwrap_or(u8::MAX);
    for (&metric, rank) in METRICS.iter().zip(0..) {
        let values = |value: &dyn Fn(&TimesNative) -> Value| -> Vec<Value> {
            let of = |times: &&[TimesNative]| Value::or_missing(times.iter().find(|it| it.metric == metric).map(value));
            by_divisor.iter().map(of).collect()
        };
        let natively = values(&|times| {
            let error = error(measurement, times);
            Value::Time(times.divisor_ns).unless_below(error, metric.clock_differences())
        });
        let interval = values(&|times| Value::or_missing(times.ci95.map(Value::TimesRange)));
        let ratio = values(&ratio);
        if ratio.iter().any(|value| *value != Value::Missing) {
            table.columns.push(Column::number(label(metric), "natively", refinements + 2 * rank + 1, natively));
            table.columns.push(Column::number(label(metric), "×", rank, ratio));
            table.columns.push(Column::number(label(metric), "95 %", refinements + 2 * rank, interval));
        }
    }
    Some(table)
}

fn ratio(times: &TimesNative) -> Value {
    let bound = times.at_least.map(Value::TimesAtLeast);
    Value::or_missing(times.ratio.map(Value::Times).or(bound))
}

/// How far the clocks may have moved the divisor.
fn error(measurement: &Measurement, times: &TimesNative) -> Option<f64> {
    let divisor = measurement.cells.iter().find(|cell| cell.id == times.divisor)?;
    times.metric.clock_error(divisor.clock.error_ns, None)
}

fn label(metric: MetricName) -> &'static str {
    match metric {
        MetricName::RoundTrip => "round trip",
        MetricName::Delivery => "delivery",
        MetricName::StartSkew => "start skew",
        other => other.name(),
    }
}
