use super::*;
use crate::results::detail::Arrival;
use crate::results::fixture;
use crate::results::measurement::{ByInitiator, DeliveryTo};
use crate::results::trace;

fn detail() -> CellDetail {
    CellDetail {
        curves: vec![Curve::of("round_trip", &[-5.0, 100.0, 2_000.0]), Curve::of("delivery", &[50.0, 60.0])],
        arrivals: vec![Arrival { vcpu: 1, p50: 50.0, p99: 60.0 }, Arrival { vcpu: 2, p50: 70.0, p99: 90.0 }],
        calls: trace::fixture().calls,
    }
}

#[test]
fn the_numbers_are_the_documents() {
    let measurement = fixture::measurement();
    let page = render(&measurement, &[detail(), detail()]);
    for cell in &measurement.cells {
        assert!(page.contains(&name(cell)));
        for (metric, stat, ..) in COLUMNS {
            let Some(found) = cell.metrics.get(metric) else { continue };
            let value = statistic(found, stat);
            let text = format!("data-metric=\"{metric}\" data-stat=\"{stat}\" data-value=\"{value}\"");
            assert!(page.contains(&text), "{text}");
        }
    }
    assert!(page.find("Every call went right") < page.find("<table"), "the verdict comes first");
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
        ByInitiator { initiator: 0, rounds: 20, targets: vec![target(1, 100.0), target(2, 300.0)] },
        ByInitiator { initiator: 2, rounds: 20, targets: vec![target(0, 200.0), target(1, -5.0)] },
    ];
    let page = render(&measurement, &[detail(), detail()]);
    for text in ["from vCPU 0", "from vCPU 2", "data-from=\"2\" data-to=\"1\" data-value=\"-5\"", "70%", "10%"] {
        assert!(page.contains(text), "no {text}: {page}");
    }
    assert_eq!(page.matches("data-from=").count(), 4, "nobody calls itself");
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
