use super::*;
use crate::report::check::fixture::{HOSTILE, TAMED};
use crate::report::wrap::width_of;
use crate::results::fixture::id;
use crate::results::overhead::fixture::overhead;
use guest_stub::abi::cell::Under;
use pulldown_cmark::{Event, Options, Parser};

fn told(overhead: &Overhead, format: Format) -> String {
    render(overhead, format, 80).expect("finite").expect("it is told so")
}

#[test]
fn a_row_has_both_times_what_is_added_and_how_many_times_as_long_it_takes() {
    let text = told(&overhead(), Format::Text);
    assert!(text.lines().all(|line| width_of(line) <= 80), "{text}");
    let row = |state: &str| {
        let line = text.lines().find(|line| line.starts_with(state)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("user"), "user 2.00 µs 75.0 µs +73.0 µs 37.5 36.0–39.0");
    assert_eq!(row("halt"), "halt 20.0 µs 15.0 µs -5.00 µs 0.750 –");
    assert!(text.contains("differs  tsc: 2596.094 MHz → 2000.000 MHz (times compare, cycles do not)"), "{text}");
    assert!(text.contains("Only the base has 1 cell: ") && text.contains("No interval: a run of fewer"), "{text}");
    assert!(!text.contains("NOT COMPARABLE"));
}

#[test]
fn what_only_one_side_has_is_named_among_its_own() {
    let mut overhead = overhead();
    for row in &mut overhead.cells {
        row.id.under = Under::named("qemu");
    }
    let text = told(&overhead, Format::Text);
    assert!(text.contains("Only the base has 1 cell: xapic user\n"), "no VMM of kipi's was near it: {text}");
    overhead.only_in_new = vec![id("memory", "spin")];
    let text = told(&overhead, Format::Text);
    assert!(text.contains("Only the new side has 1 cell: kipi memory spin\n"), "{text}");
}

#[test]
fn figures_that_could_be_misread_are_explained() {
    let plain = told(&overhead(), Format::Text);
    assert!(!plain.contains("not known") && !plain.contains("logarithms"), "{plain}");
    let mut overhead = overhead();
    (overhead.cells[0].ratio, overhead.cells[0].ci95) = (0.00223, Some([0.000_01, 58.3]));
    for format in [Format::Text, Format::Markdown] {
        let told = told(&overhead, format).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("0.00223") && !told.contains("58.3"), "{told}");
        assert!(told.contains("not known: the ends of the interval are a factor of 1000 or more apart"), "{told}");
        assert!(told.contains("where runs differ much, as in 1 row, it is not new in base"), "{told}");
    }
}

#[test]
fn what_is_meaningless_says_why_and_the_way_out() {
    let mut overhead = overhead();
    overhead.cells.clear();
    overhead.differences[0] = Difference {
        factor: "kipi".to_owned(),
        item: None,
        base: vec!["0.1.0".to_owned()],
        new: vec!["0.2.0".to_owned()],
        allowed: false,
    };
    overhead.not_comparable = vec!["kipi: 0.1.0 → 0.2.0".to_owned()];
    let text = told(&overhead, Format::Text);
    assert!(text.contains("DIFFERS  kipi: 0.1.0 → 0.2.0 (another code was measured: --expect kipi"), "{text}");
    assert!(text.ends_with("NOT COMPARABLE: kipi: 0.1.0 → 0.2.0\n"), "{text}");
}

#[test]
fn formats_that_carry_a_verdict_have_none_of_it() {
    for format in [Format::Junit, Format::Tap, Format::Bmf] {
        assert_eq!(render(&overhead(), format, 80).expect("finite"), None);
    }
}

#[test]
fn texts_of_documents_are_no_markup() {
    let markdown = told(&hostile(HOSTILE), Format::Markdown);
    let events = Parser::new_ext(&markdown, Options::ENABLE_TABLES);
    let strange: Vec<Event<'_>> = events
        .filter(|event| {
            matches!(
                event,
                Event::Start(
                    pulldown_cmark::Tag::Link { .. }
                        | pulldown_cmark::Tag::Image { .. }
                        | pulldown_cmark::Tag::Heading { .. }
                )
            )
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}: {markdown}");
    let texts: String = Parser::new_ext(&markdown, Options::ENABLE_TABLES)
        .filter_map(|event| if let Event::Text(text) = event { Some(text.to_string()) } else { None })
        .collect();
    assert!(texts.contains(TAMED), "{texts}");
}

#[test]
fn the_document_comes_back_from_json() {
    let value: serde_json::Value = serde_json::from_str(&told(&overhead(), Format::Json)).expect("JSON");
    jsonschema::validator_for(&json::overhead_schema()).expect("a schema").validate(&value).expect("valid");
    assert_eq!(serde_json::from_value::<Overhead>(value).expect("an overhead"), overhead());
}
