//! The one model of a table: text and HTML print it, so that both show the same numbers.

use super::units;
use crate::results::metric::MetricName;
use std::fmt;

/// What stands where a value was not, or could not be, measured.
const NO_VALUE: &str = "–";

/// A table: columns of equally many values, and what is said about them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) title: String,
    /// What all rows have in common.
    pub(super) common: Vec<String>,
    pub(super) columns: Vec<Column>,
    /// The index in the document of the cell that each row is about; empty if rows are not about cells.
    pub(super) cells: Vec<usize>,
    /// Sentences that belong below the table.
    pub(super) notes: Vec<String>,
}

impl Table {
    /// A table whose rows are not about cells, without notes.
    pub(super) fn new(title: impl Into<String>, columns: Vec<Column>) -> Self {
        Self { title: title.into(), common: Vec::new(), columns, cells: Vec::new(), notes: Vec::new() }
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }
}

/// What a column's values are, which decides how they are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the row is about: left-aligned, in one line.
    Key,
    /// A number: right-aligned, in one line.
    Number,
    /// Words: left-aligned, in several lines where there is little room.
    Words,
}

/// A statistic of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistic {
    /// The median.
    P50,
    /// The 99th percentile.
    P99,
    /// The largest value.
    Max,
    /// The median's 95 % interval.
    Interval,
}

impl Statistic {
    /// The field of the document's metric that holds it.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
            Self::Interval => "ci95.p50",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// The label above neighbouring columns that share it; empty: none.
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The order in which columns are left out where there is little room: the largest first, 0 never.
    pub(super) rank: u8,
    /// What the values are in the document, if they are a metric's.
    pub(super) statistic: Option<(MetricName, Statistic)>,
    pub(super) values: Vec<Value>,
}

impl Column {
    /// A column that tells what a row is about.
    pub(super) fn key(name: &str, values: Vec<Value>) -> Self {
        Self { group: "", name: name.to_owned(), kind: Kind::Key, rank: 0, statistic: None, values }
    }

    /// A column of words.
    pub(super) fn words(name: &str, rank: u8, values: Vec<Value>) -> Self {
        Self { kind: Kind::Words, rank, ..Self::key(name, values) }
    }

    /// A column of numbers under a group's label.
    pub(super) fn number(group: &'static str, name: &str, rank: u8, values: Vec<Value>) -> Self {
        Self { group, kind: Kind::Number, rank, ..Self::key(name, values) }
    }

    /// The same, unless no row has a value.
    pub(super) fn number_if_any(
        group: &'static str,
        name: &str,
        rank: u8,
        values: impl Iterator<Item = Option<Value>>,
    ) -> Option<Self> {
        let values: Vec<Option<Value>> = values.collect();
        let any = values.iter().any(Option::is_some);
        any.then(|| Self::number(group, name, rank, values.into_iter().map(Value::or_missing).collect()))
    }

    /// Group and name, as they are spoken of.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.group, self.name).trim_start().to_owned()
    }
}

/// A value with its unit. `Display` gives it as people read it, [`Value::number`] as the document has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// There is nothing to say.
    Nothing,
    /// It was not, or could not be, measured.
    Missing,
    Text(String),
    /// Words of which each item stays in one piece.
    Items(Vec<String>),
    Count(u64),
    /// ns.
    Time(f64),
    /// A value within the clocks' error, and of how many differences of two clocks' stamps it is made.
    BelowError {
        number: Option<f64>,
        differences: u8,
    },
    /// ns: low, high.
    TimeRange([f64; 2]),
    Ratio(f64),
    /// Low, high.
    RatioRange([f64; 2]),
    /// How many times as much, and low, high.
    Times(f64),
    TimesRange([f64; 2]),
    /// At least so many times.
    TimesAtLeast(f64),
    /// An average for each call.
    PerCall(f64),
    /// A fraction that is read as a percentage.
    Share(f64),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// [`Value::Missing`] for `None`.
    pub(super) fn or_missing(value: Option<Self>) -> Self {
        value.unwrap_or(Self::Missing)
    }

    /// [`Value::BelowError`] if the clocks' error, in the value's unit, is larger than the value. `None`: it is unknown.
    pub(super) fn unless_below(self, error: Option<f64>, differences: u8) -> Self {
        let is_below = match &self {
            Self::Time(value) | Self::Ratio(value) | Self::Share(value) => units::is_below(*value, error),
            Self::TimeRange(ends) | Self::RatioRange(ends) => ends.iter().all(|end| units::is_below(*end, error)),
            Self::Nothing
            | Self::Missing
            | Self::Text(_)
            | Self::Items(_)
            | Self::Count(_)
            | Self::BelowError { .. }
            | Self::Times(_)
            | Self::TimesRange(_)
            | Self::TimesAtLeast(_)
            | Self::PerCall(_) => false,
        };
        if is_below { Self::BelowError { number: self.number(), differences } } else { self }
    }

    /// The number in the document's unit, if it is one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Time(value) | Self::Ratio(value) | Self::Times(value) | Self::PerCall(value) | Self::Share(value) => {
                Some(*value)
            }
            Self::BelowError { number, .. } => *number,
            Self::Count(count) => Some(*count as f64),
            Self::Nothing
            | Self::Missing
            | Self::Text(_)
            | Self::Items(_)
            | Self::TimeRange(_)
            | Self::RatioRange(_)
            | Self::TimesRange(_)
            | Self::TimesAtLeast(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Missing => f.write_str(NO_VALUE),
            Self::Text(text) => f.write_str(text),
            Self::Items(items) => f.write_str(&items.join(", ")),
            Self::Count(count) => write!(f, "{count}"),
            Self::Time(ns) => f.write_str(&units::time(*ns)),
            Self::BelowError { differences, .. } => f.write_str(&units::below_error(*differences)),
            Self::TimeRange([low, high]) => f.write_str(&units::range(*low, *high)),
            Self::Ratio(ratio) => f.write_str(&units::ratio(*ratio)),
            Self::RatioRange([low, high]) => write!(f, "{}–{}", units::ratio(*low), units::ratio(*high)),
            Self::Times(times) => f.write_str(&units::times(*times)),
            Self::TimesRange(ends) => f.write_str(&units::times_range(*ends)),
            Self::TimesAtLeast(times) => write!(f, "≥ {}", units::times(*times)),
            Self::PerCall(count) => f.write_str(&units::per_call(*count)),
            Self::Share(fraction) => f.write_str(&units::share(*fraction)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_printed_with_its_unit_and_kept_as_the_document_has_it() {
        for (value, text, number) in [
            (Value::Time(12_300.0), "12.3 µs", Some(12_300.0)),
            (Value::Time(-20.0).unless_below(Some(35.0), 1), "≤ ε", Some(-20.0)),
            (Value::Time(60.0).unless_below(Some(70.0), 2), "≤ 2ε", Some(60.0)),
            (Value::Time(-35.0).unless_below(Some(35.0), 1), "-35.0 ns", Some(-35.0)),
            (Value::Time(20.0).unless_below(None, 1), "20.0 ns", Some(20.0)),
            (Value::Ratio(0.0).unless_below(Some(0.0), 0), "0.000", Some(0.0)),
            (Value::TimeRange([-20.0, 30.0]).unless_below(Some(35.0), 1), "≤ ε", None),
            (Value::TimeRange([-20.0, 40.0]).unless_below(Some(35.0), 1), "-20.0 to 40.0 ns", None),
            (Value::TimeRange([11_900.0, 12_800.0]), "11.9–12.8 µs", None),
            (Value::RatioRange([0.5, 1.0]), "0.500–1.000", None),
            (Value::Times(11.06), "11.1", Some(11.06)),
            (Value::TimesRange([9.96, 123.4]), "9.96–123", None),
            (Value::TimesRange([0.001, 123.4]), "not known", None),
            (Value::TimesAtLeast(5.5), "≥ 5.50", None),
            (Value::Share(0.25), "25 %", Some(0.25)),
            (Value::Items(vec!["2 lost".to_owned(), "1 late".to_owned()]), "2 lost, 1 late", None),
            (Value::Missing, "–", None),
            (Value::Nothing, "", None),
        ] {
            assert_eq!((value.to_string().as_str(), value.number()), (text, number));
        }
    }

    #[test]
    fn a_column_is_spoken_of_with_its_group() {
        assert_eq!(Column::number("round trip", "p99", 0, Vec::new()).title(), "round trip p99");
        assert_eq!(Column::key("route", Vec::new()).title(), "route");
    }
}
