use super::*;
use proptest::prelude::*;

fn values(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|&text| Value::text(text)).collect()
}

fn table(columns: Vec<Column>) -> Table {
    Table::new("", columns)
}

fn columns() -> Vec<Column> {
    vec![
        Column::key("route", values(&["xapic", "msi"])),
        Column::number("round trip", "p50", 0, vec![Value::Time(12_300.0), Value::Time(1_000.0)]),
        Column::number("round trip", "p99", 1, vec![Value::Time(20_000.0), Value::Time(5_000.0)]),
        Column::number("overlap", "p50", 2, vec![Value::Count(1), Value::Count(2)]),
    ]
}

fn widest(text: &str) -> usize {
    text.lines().map(width_of).max().unwrap_or(0)
}

#[test]
fn groups_are_ruled_and_numbers_right_aligned() {
    assert_eq!(
        print(&table(columns()), 80),
        "\n       \
                ── round trip ──  overlap\n\
         route      p50      p99      p50\n\
         xapic  12.3 µs  20.0 µs        1\n\
         msi    1.00 µs  5.00 µs        2"
    );
}

#[test]
fn the_least_important_columns_go_first() {
    assert!(!print(&table(columns()), 32).contains("Not shown"));
    let without_one = print(&table(columns()), 31);
    assert!(without_one.contains("Not shown (--json):") && without_one.contains("overlap p50"), "{without_one}");
    assert!(without_one.contains("round trip ──\n"), "{without_one}");
    let without_two = print(&table(columns()), 20).replace('\n', " ");
    assert!(without_two.contains("overlap p50,") && without_two.contains("round trip p99"), "{without_two}");
}

#[test]
fn a_group_of_one_makes_room_for_its_label() {
    let mut columns = columns();
    columns.truncate(2);
    assert_eq!(print(&table(columns), 80).lines().nth(1), Some("       round trip"));
}

#[test]
fn words_share_the_room_that_is_left() {
    let long = "one two three four five six seven eight nine ten";
    let items = Value::Items((1..=8).map(|number| format!("item {number}")).collect());
    let columns = || {
        vec![
            Column::key("key", values(&["k"])),
            Column::words("words", 0, values(&[long])),
            Column::words("items", 0, vec![items.clone()]),
        ]
    };
    let text = print(&table(columns()), 62);
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "key  words                        items",
            "k    one two three four five six  item 1, item 2, item 3,",
            "     seven eight nine ten         item 4, item 5, item 6,",
            "                                  and 2 more",
        ]
    );
    assert!(widest(&print(&table(columns()), 47)) <= 47);
}

#[test]
fn a_table_that_is_too_wide_without_anything_to_leave_out_becomes_lists() {
    let columns = || columns().into_iter().map(|column| Column { rank: 0, ..column }).collect();
    assert_eq!(
        print(&table(columns()), 26),
        "\nxapic:\n  round trip p50 12.3 µs,\n  round trip p99 20.0 µs,\n  overlap p50 1\n\
         msi:\n  round trip p50 1.00 µs,\n  round trip p99 5.00 µs,\n  overlap p50 2"
    );
}

/// Characters whose width does not depend on their neighbours: ASCII, Latin, what tables print besides, and wide ones. Of other
/// scripts, a line's width is not the sum of its parts', and terminals disagree about it.
const TEXT: &str = "[ -~À-ſµ·×≤–一-龥]{0,40}";

/// Values of every sort, senseless ones included.
fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), -1e7..1e7_f64];
    (number, any::<u64>(), prop::collection::vec(TEXT, 0..9), 0..15_u8).prop_map(|(number, count, texts, which)| {
        match which {
            0 => Value::Nothing,
            1 => Value::Missing,
            2 => Value::Text(texts.concat()),
            3 => Value::Items(texts),
            4 => Value::Count(count),
            5 => Value::Time(number),
            6 => Value::Time(number).unless_below(Some(1.0), 1),
            7 => Value::TimeRange([number, -number]),
            8 => Value::Ratio(number),
            9 => Value::RatioRange([number, number]),
            10 => Value::PerCall(number),
            11 => Value::Times(number),
            12 => Value::TimesRange([number, -number]),
            13 => Value::TimesAtLeast(number),
            _ => Value::Share(number),
        }
    })
}

fn any_column() -> impl Strategy<Value = Column> {
    let kind = prop_oneof![Just(Kind::Key), Just(Kind::Number), Just(Kind::Words)];
    let group = prop_oneof![Just(""), Just("round trip"), Just("a label that is wide")];
    (kind, group, "[a-z ]{0,12}", 0..4_u8, prop::collection::vec(any_value(), 3)).prop_map(
        |(kind, group, name, rank, values)| {
            let group = if kind == Kind::Number { group } else { "" };
            Column { group, name, kind, rank, statistic: None, values }
        },
    )
}

proptest! {
    #[test]
    fn no_line_is_ever_too_wide(columns in prop::collection::vec(any_column(), 0..9), width in 4..140_usize) {
        let mut table = Table::new("A title that is longer than a narrow terminal is wide", columns);
        table.common = vec!["something in common".to_owned(), "and more".to_owned()];
        table.notes = vec!["A note that is longer than a narrow terminal is wide".to_owned()];
        let text = print(&table, width);
        prop_assert!(widest(&text) <= width, "{width}:\n{text}");
        prop_assert!(text.lines().all(|line| !line.ends_with(' ')), "{text:?}");
    }
}

#[test]
fn a_row_whose_words_are_in_no_column_is_not_printed() {
    let columns = || {
        vec![
            Column::number("", "at", 0, vec![Value::Count(1), Value::Count(2), Value::Count(3)]),
            Column::words("first", 0, vec![Value::text("begins"), Value::Nothing, Value::Nothing]),
            Column::words("second", 1, vec![Value::Nothing, Value::text("goes on"), Value::Nothing]),
        ]
    };
    let wide = print(&table(columns()), 80);
    assert!(wide.contains("goes on") && wide.lines().count() == 5, "{wide}");
    let narrow = print(&table(columns()), 12);
    assert!(narrow.contains("begins") && narrow.contains("Not shown"), "{narrow}");
    let numbers = narrow.lines().filter(|line| line.trim_start().starts_with(['2'])).count();
    assert_eq!(numbers, 0, "{narrow}");
    assert!(narrow.lines().any(|line| line.trim() == "3"), "a row that never had words stays: {narrow}");
}
