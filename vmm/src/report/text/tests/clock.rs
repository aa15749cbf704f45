//! What is printed of figures that the clocks' error is a part of.

use super::*;
use crate::results::stage::{Breakdown, Stage, StageCost};

#[test]
fn what_is_below_the_clocks_error_is_not_given_a_number() {
    let mut sharp = cell("spin", 12_300.0);
    for (name, metric) in &mut sharp.metrics {
        metric.clock_error = name.clock_error(Some(3.0), Some(1_000.0));
    }
    let report = report_of(vec![cell("halt", 12_300.0), sharp]);
    assert!(line(&report, "halt   12").contains("≤ ε  40.0 ns"));
    assert!(line(&report, "spin   12").contains("20.0 ns  40.0 ns"));
}

#[test]
fn every_figure_that_crosses_clocks_is_held_against_their_error() {
    let mut coarse = cell("spin", 12_300.0);
    coarse.metrics.extend([(MetricName::SkewSlope, metric(-12.0)), (MetricName::ArrivalSkew, metric(100.0))]);
    for (name, metric) in &mut coarse.metrics {
        metric.clock_error = name.clock_error(Some(3_000.0), Some(10_000.0));
    }
    coarse.clock.error_ns = Some(3_000.0);
    let stage = |stage, mean_ns| StageCost { stage, n: 1, mean_ns, min_ns: 0.0, p50_ns: 0.0, max_ns: 0.0 };
    coarse.breakdown = Some(Breakdown {
        sources: vec![Source::Guest],
        rounds: 1_000,
        stages: vec![stage(Stage::Arrival, 12_900.0), stage(Stage::Done, -600.0)],
        remainder_ns: 0.0,
        round_trip_ns: 12_300.0,
        accelerated: None,
        parts: Vec::new(),
    });
    let report = report_of(vec![coarse]);
    let table =
        |title: &str| report.lines().skip_while(|line| !line.contains(title)).nth(4).map(words).unwrap_or_default();
    let calls = "12.3 µs 11.7–12.9 µs 24.6 µs 49.2 µs ≤ ε 4.00 µs ≤ ε ≤ ε ≤ ε ≤ ε ≤ ε";
    assert_eq!(table("Broadcast calls").join(" "), calls, "{report}");
    assert_eq!(table("Theil–Sen").join(" "), "≤ ε ≤ ε ≤ ε");
    let stages = report.lines().find(|line| line.ends_with("12.3 µs")).unwrap_or_default();
    assert_eq!(words(stages).join(" "), "12.9 µs ≤ ε 12.3 µs", "{report}");
}

#[test]
fn an_error_that_is_unknown_is_said() {
    let mut measurement = measurement();
    let clock = &mut measurement.instruments[0].clock;
    (clock.error_ns, clock.method) = (None, "1 of 3 vCPUs exchanged no stamps with vCPU 0".to_owned());
    measurement.cells[0].clock.error_ns = None;
    for (name, metric) in &mut measurement.cells[0].metrics {
        metric.clock_error = name.clock_error(None, None);
    }
    let report = render(&measurement, WIDE, true);
    let clock = "clock         ε unknown for all times but round trips: 1 of 3 vCPUs exchanged no stamps with vCPU 0";
    assert_eq!(line(&report, "clock  "), clock);
    assert!(line(&report, "spin   12").contains("20.0 ns  40.0 ns"), "what was measured is shown");
    let instruments = report.lines().skip_while(|line| *line != "Instruments and start").nth(3).unwrap_or_default();
    assert!(instruments.trim_end().ends_with("unknown"), "{report}");
}
