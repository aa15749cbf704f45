use super::*;
use crate::comparison::references;
use crate::results::fixture;
use crate::results::metric::MetricName;
use guest_stub::abi::cell::Route;
use guest_stub::random::SplitMix64;

/// Hosts of two kinds, 12 each; those of the second take three times as long. All cells of a host vary by 20 %, each by 2 %.
fn hosts() -> Vec<Run> {
    let mut random = SplitMix64(4);
    let mut uniform = move || (random.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
    let host = |index: usize| {
        let mut measurement = fixture::measurement();
        measurement.cells[0].id = CellId { route: Route::XApic, ..measurement.cells[1].id };
        measurement.host.kernel = if index < 12 { "6.12" } else { "6.18" }.to_owned();
        let of_host = if index < 12 { 60_000.0 } else { 180_000.0 } * (1.0 + 0.2 * uniform());
        for cell in &mut measurement.cells {
            cell.metrics.insert(MetricName::RoundTrip, fixture::metric(of_host * (1.0 + 0.02 * uniform())));
        }
        Run { file: format!("host-{index}.json"), measurement }
    };
    (0..24).map(host).collect()
}

fn lengthen(run: &mut Run, cell: usize, factor: f64) {
    let metric = run.measurement.cells[cell].metrics.get_mut(&MetricName::RoundTrip).unwrap();
    *metric = fixture::metric(metric.p50 * factor);
}

fn find_in(runs: &[Run]) -> Vec<(String, f64)> {
    let pairs = references::pair(runs, runs, None);
    assert_eq!(pairs.judged.len(), 1);
    find(runs, &pairs, 0.05).into_iter().map(|outlier| (outlier.file, outlier.change)).collect()
}

#[test]
fn hosts_as_their_kind_are_none() {
    assert_eq!(find_in(&hosts()), []);
}

#[test]
fn a_host_that_is_not_is_named() {
    let mut hosts = hosts();
    lengthen(&mut hosts[7], 1, 1.15);
    // All of this one is slow.
    lengthen(&mut hosts[3], 0, 2.0);
    lengthen(&mut hosts[3], 1, 2.0);
    let found = find_in(&hosts);
    let [(file, change)] = &found[..] else { panic!("{found:?}") };
    assert!(file == "host-7.json" && (change - 0.15).abs() < 0.03, "{found:?}");
}

#[test]
fn few_hosts_of_a_kind_have_no_outlier() {
    let mut hosts = hosts();
    hosts.truncate(FEWEST - 1);
    lengthen(&mut hosts[2], 1, 3.0);
    assert_eq!(find_in(&hosts), []);
}
