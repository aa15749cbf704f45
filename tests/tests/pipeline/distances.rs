//! Deliveries by how far apart initiator and target are.

use crate::invented::{Outcome, alike, assert_valid, config, run};
use kipi::config::Config;
use kipi::results::distance::Distance;
use kipi::results::metric::MetricName;
use kipi_tests::test;

fn pinned(pin: &[usize]) -> Outcome {
    let outcome = run(&Config { pin: pin.to_vec(), ..config() }, &|_, spec| Ok(alike(spec)));
    assert_valid(&outcome.document);
    outcome
}

#[test]
fn a_pair_has_the_deliveries_of_its_cell() {
    for pin in [[0, 1], [1, 1]] {
        for cell in pinned(&pin).document.cells {
            let delivery = &cell.metrics[&MetricName::Delivery];
            let [only] = cell.by_distance.as_slice() else { panic!("one pair: {:?}", cell.by_distance) };
            assert_eq!(
                (only.pairs, only.n, only.p50_ns, only.ci95_ns),
                (1, delivery.n, delivery.p50, delivery.ci95.p50)
            );
            // What CPUs 0 and 1 share is this machine's.
            assert_eq!(only.distance == Distance::SameCpu, pin == [1, 1]);
        }
    }
}

#[test]
fn threads_without_a_cpu_are_nowhere() {
    assert!(pinned(&[]).document.cells.iter().all(|cell| cell.by_distance.is_empty()));
}
