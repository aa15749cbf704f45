use super::*;
use crate::report::table::{Statistic, Value};
use crate::results::detail::{Arrival, Curve};
use crate::results::disturbance::{Disturbance, Kind};
use crate::results::fixture;
use crate::results::initiators::{ByInitiator, DeliveryTo};

fn detail() -> CellDetail {
    CellDetail {
        curves: vec![
            Curve::of(MetricName::RoundTrip, &[-5.0, 100.0, 2_000.0]),
            Curve::of(MetricName::Delivery, &[50.0, 60.0]),
        ],
        arrivals: vec![Arrival { vcpu: 1, p50: 50.0, p99: 60.0 }, Arrival { vcpu: 2, p50: 70.0, p99: 90.0 }],
        calls: fixture::trace().calls,
    }
}

#[test]
fn the_numbers_are_the_documents() {
    let measurement = fixture::measurement();
    let page = render(&measurement, &[detail(), detail()]);
    let mut compared = 0;
    for (index, cell) in measurement.cells.iter().enumerate() {
        assert!(page.contains(&name(cell)));
        assert!(
            page.contains(&format!("<tr data-cell=\"{index}\"")) && page.contains(&format!("href=\"#cell-{index}\""))
        );
    }
    let tables = tables::result(&measurement).into_iter().chain(tables::details(&measurement));
    for column in tables.flat_map(|table| table.columns) {
        let Some((metric, statistic)) = column.statistic.filter(|(_, it)| *it != Statistic::Interval) else { continue };
        for (value, cell) in column.values.iter().zip(&measurement.cells) {
            let found = &cell.metrics[&metric];
            let expected = match statistic {
                Statistic::P50 => found.p50,
                Statistic::P99 => found.p99,
                Statistic::Max | Statistic::Interval => found.max,
            };
            let (metric, statistic) = (metric.name(), statistic.field());
            let shown =
                format!("data-metric=\"{metric}\" data-stat=\"{statistic}\" data-value=\"{expected}\">{value}<");
            assert!(page.contains(&shown), "{shown}");
            assert_ne!(*value, Value::Missing);
            compared += 1;
        }
    }
    assert!(compared >= 18, "{compared} numbers");
    assert!(page.find("Every call went right") < page.find("<table"), "the verdict comes first");
    assert!(page.find("Quiet: not checked") < page.find("<table"), "so does whether the machine was quiet");
}

#[test]
fn texts_of_documents_bring_no_control_characters() {
    let mut measurement = fixture::standalone();
    measurement.host.cpu = "a\u{1b}[2J\u{7f}CPU\u{9b}\u{202e}".to_owned();
    measurement.warnings.push("bell\u{7}".to_owned());
    let page = render(&measurement, &[]);
    assert!(page.contains(r"a\u{1b}[2J\u{7f}CPU\u{9b}\u{202e}") && page.contains(r"bell\u{7}"), "{page}");
    assert!(!page.contains(|it: char| it.is_control() && it != '\n'), "{page}");
    let plain = render(&fixture::measurement(), &[detail(), detail()]);
    assert!(!plain.contains(r"\u{"), "the page's own characters stay as they are");
}

#[test]
fn the_page_needs_nothing_else_and_runs_nothing() {
    let page = render(&fixture::measurement(), &[detail(), detail()]);
    for part in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn what_a_guest_or_a_host_says_is_text() {
    let mut measurement = fixture::measurement();
    measurement.warnings = vec!["<b onclick=\"x\">&".to_owned()];
    measurement.host.cpu = "<script>".to_owned();
    let page = render(&measurement, &[]);
    assert!(!page.contains("<script") && !page.contains("<b onclick"), "{page}");
    assert!(page.contains("&lt;b onclick=&quot;x&quot;&gt;&amp;"), "{page}");
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let page = render(&fixture::measurement(), &[detail()]);
    assert!(page.contains("values of zero or less have no place"), "{page}");
}

#[test]
fn the_heat_map_has_a_row_for_each_initiator_and_its_numbers() {
    let mut measurement = fixture::measurement();
    let target = |vcpu, p50_ns| DeliveryTo { vcpu, p50_ns };
    measurement.cells[0].by_initiator = vec![
        ByInitiator {
            initiator: 0,
            rounds: 20,
            targets: vec![target(1, 100.0), target(2, 300.0)],
            disturbances: Vec::new(),
        },
        ByInitiator {
            initiator: 2,
            rounds: 20,
            targets: vec![target(0, 200.0), target(1, -5.0)],
            disturbances: Vec::new(),
        },
    ];
    let page = render(&measurement, &[detail(), detail()]);
    assert!(!page.contains("disturbed"), "{page}");
    for text in ["from vCPU 0", "from vCPU 2", "data-from=\"2\" data-to=\"1\" data-value=\"-5\"", "70%", "10%"] {
        assert!(page.contains(text), "no {text}: {page}");
    }
    assert_eq!(page.matches("data-from=").count(), 4, "nobody calls itself");
    let kind = Kind::Preempted;
    measurement.cells[0].by_initiator[1].disturbances =
        vec![Disturbance { kind, amount: 20.0, unit: kind.unit(), vcpu: Some(1), cpu: Some(1) }];
    let page = render(&measurement, &[detail(), detail()]);
    assert!(page.contains("from vCPU 2 (disturbed)") && !page.contains("from vCPU 0 (disturbed)"), "{page}");
}

#[test]
fn a_run_of_the_standalone_image_names_no_kernel() {
    let page = render(&fixture::standalone(), &[]);
    assert!(page.contains("<title>kipi: standalone image under KVMKVMKVM</title>"), "{page}");
    assert!(page.contains("<dt>Log</dt><dd>serial.log, read by kipi 0.1.0</dd>"), "{page}");
    assert!(!page.contains("Linux") && !page.contains("KVM: "), "{page}");
}

#[test]
fn a_broken_or_empty_run_says_so_first() {
    let mut measurement = fixture::measurement();
    measurement.cells[0].integrity.lost = 3;
    assert!(render(&measurement, &[]).contains("Calls went WRONG in 1 of 2 cells"));
    measurement.cells.clear();
    (measurement.partial, measurement.error) = (true, Some("made up".to_owned()));
    let page = render(&measurement, &[]);
    assert!(page.contains("Nothing was measured") && page.contains("ended early: made up"), "{page}");
}
