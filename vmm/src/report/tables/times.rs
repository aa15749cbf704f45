//! The cells' times in those of cells that are like them: the same calls on the host's own processors, or under kipi's own VMM.

use super::cells::{Row, rows_of, table as of_rows};
use crate::report::table::{Column, Table, Value};
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use crate::results::times::{METRICS, Times};

/// How many pairs there are tells how far a ratio without an interval is to be trusted.
const PAIRS_RANK: u8 = 1;

/// The interval of what another VMM adds: what is within it is nothing.
const INTERVAL_RANK: u8 = 1;

/// What cells are divided by.
struct Divided {
    title: &'static str,
    of: fn(&Cell) -> &[Times],
    /// What stands above the divisor's time.
    divisor: &'static str,
    /// Whether a cell has several divisors.
    has_several: bool,
}

const NATIVE: Divided = Divided {
    title: "Times native: medians over those of the same calls on the host's own processors, by pairs of blocks, or of boots",
    of: |cell| &cell.times_native,
    divisor: "natively",
    has_several: true,
};

const OWN_VMM: Divided = Divided {
    title: "Times kipi's VMM: medians over those of the same calls under kipi's own VMM, by pairs of boots",
    of: |cell| &cell.times_own_vmm,
    divisor: "kipi's VMM",
    has_several: false,
};

/// The round trip in the native one, for the main table: never left out, since it is what most readers come for.
pub(super) fn native(rows: &[Row<'_>]) -> Option<Column> {
    let of = |(_, cell): &Row<'_>| cell.times_native(MetricName::RoundTrip).map(ratio);
    Column::number_if_any("×", "native", 0, rows.iter().map(of))
}

/// The round trip in that under kipi's own VMM, whose own rows have nothing to say, and the ratio's interval; none where no cell ran under
/// another one.
pub(super) fn own_vmm(rows: &[Row<'_>]) -> Vec<Column> {
    if rows.iter().all(|(_, cell)| cell.times_own_vmm.is_empty()) {
        return Vec::new();
    }
    let values = |of: fn(&Times) -> Value| {
        let value = |(_, cell): &Row<'_>| match cell.id.under {
            None => Value::Nothing,
            Some(_) => Value::or_missing(cell.times_own_vmm(MetricName::RoundTrip).map(of)),
        };
        rows.iter().map(value).collect()
    };
    vec![
        Column::number("× kipi's VMM", "p50", 0, values(ratio)),
        Column::number("× kipi's VMM", "95 %", INTERVAL_RANK, values(interval)),
    ]
}

/// The tables of all metrics.
pub(super) fn tables(measurement: &Measurement) -> impl Iterator<Item = Table> + '_ {
    [NATIVE, OWN_VMM].into_iter().filter_map(|divided| table(measurement, &divided))
}

/// A row for each cell and each cell that it is divided by.
fn table(measurement: &Measurement, divided: &Divided) -> Option<Table> {
    // Documents have them by divisor.
    let (rows, by_divisor) =
        rows_of(measurement, |cell| (divided.of)(cell).chunk_by(|one, next| one.divisor == next.divisor));
    let mut table = of_rows(divided.title, &rows)?;
    // All of a divisor's have its route, and as many pairs.
    let firsts = |value: fn(&Times) -> Value| by_divisor.iter().map(|times| value(&times[0])).collect();
    if divided.has_several {
        table.columns.push(Column::key("divided by", firsts(|times| Value::text(times.divisor.route.name()))));
    }
    table.columns.push(Column::number("", "pairs", PAIRS_RANK, firsts(|times| Value::Count(times.pairs))));
    // A metric is more important than what refines another one.
    let refinements = u8::try_from(METRICS.len()).unwrap_or(u8::MAX);
    for (&metric, rank) in METRICS.iter().zip(0..) {
        let values = |value: &dyn Fn(&Times) -> Value| -> Vec<Value> {
            let of = |times: &&[Times]| Value::or_missing(times.iter().find(|it| it.metric == metric).map(value));
            by_divisor.iter().map(of).collect()
        };
        let divisors = values(&|times| {
            let error = error(measurement, times);
            Value::Time(times.divisor_ns).unless_below(error, metric.clock_differences())
        });
        let (ratios, intervals) = (values(&ratio), values(&interval));
        if ratios.iter().any(|value| *value != Value::Missing) {
            table.columns.push(Column::number(label(metric), divided.divisor, refinements + 2 * rank + 1, divisors));
            table.columns.push(Column::number(label(metric), "×", rank, ratios));
            table.columns.push(Column::number(label(metric), "95 %", refinements + 2 * rank, intervals));
        }
    }
    Some(table)
}

fn ratio(times: &Times) -> Value {
    let bound = times.at_least.map(Value::TimesAtLeast);
    Value::or_missing(times.ratio.map(Value::Times).or(bound))
}

fn interval(times: &Times) -> Value {
    Value::or_missing(times.ci95.map(Value::TimesRange))
}

/// How far the clocks may have moved the divisor.
fn error(measurement: &Measurement, times: &Times) -> Option<f64> {
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
