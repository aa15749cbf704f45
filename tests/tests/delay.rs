//! Calls that are lengthened on purpose take longer by the share that was asked for.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::CellId;
use kipi::config::routes::Route;
use kipi::events::recording::Recording;
use kipi::guest::blocks::BlockSpec;
use kipi::guest::delay::{self, Share};
use kipi::guest::session::Limits;
use kipi::results::metric::MetricName;
use kipi::statistics::metrics;
use kipi::statistics::order::Quantile;
use kipi_tests::{HANG, boot, hypervisor, machine, run_tests, test, turn};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// Pairs of blocks: one as it is, and one that is lengthened.
const PAIRS: usize = 24;

/// By what share calls took longer that were lengthened by that share: the median of pairs of blocks, measured one after the other,
/// either first in turn.
fn growth(share: Share) -> Option<f64> {
    let hypervisor = hypervisor()?;
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    let mut session = boot(&hypervisor, &machine(2), limits);
    let cell = CellId::broadcast(Route::X2Apic, Destination::AllButSelf, TargetState::User, 2);
    let recording = Recording::COUNTS;
    let spec = BlockSpec { cell, initiator: 0, worker: Worker::Stamp, argument: 7, recording, warmup: 2, rounds: 10 };
    let mut median = |share| {
        let block = delay::run(&mut session, &spec, share).expect("a block");
        assert!(block.integrity.is_clean(), "{block:?}");
        let round_trips = metrics::sample(MetricName::RoundTrip, &[&block.rounds]);
        round_trips.map(|sample| sample.quantile(Quantile::P50))
    };
    let mut ratios: Vec<f64> = Vec::new();
    for pair in 0..PAIRS {
        let (plain, longer) = if pair % 2 == 0 {
            let plain = median(Share(0));
            (plain, median(share))
        } else {
            let longer = median(share);
            (median(Share(0)), longer)
        };
        // A host that is busy elsewhere may keep targets from their state in all rounds.
        ratios.extend(plain.zip(longer).map(|(plain, longer)| longer / plain));
    }
    assert!(ratios.len() > PAIRS / 2, "{} pairs", ratios.len());
    ratios.sort_unstable_by(f64::total_cmp);
    Some(ratios[ratios.len() / 2] - 1.0)
}

#[test]
fn calls_take_longer_by_the_share_that_was_asked_for() {
    let _turn = turn();
    let Some(much) = growth(Share(500_000)) else { return };
    assert!((0.3..0.8).contains(&much), "lengthened by 50 %: {much}");
}
