//! Cells are divided by native ones, block by block of the same turn.

use crate::invented::{CLOCK_ERROR, KHZ, Outcome, alike, assert_valid, config, disturbed, run};
use guest_stub::abi::TargetState;
use kipi::config::routes::Route;
use kipi::config::{CellId, Config};
use kipi::events::samples::{Block, CpuTime};
use kipi::guest::blocks::BlockSpec;
use kipi::results::metric::MetricName;
use kipi::results::times::Times;
use kipi_tests::test;
use std::cell::Cell;

/// As [`alike`]; natively, all of it takes a tenth.
fn tenfold(spec: &BlockSpec) -> Block {
    let mut block = alike(spec);
    if spec.cell.route == Route::NativeRseq {
        for round in &mut block.rounds {
            round.t2 = round.t0 + 90;
            round.participants[1].a = Some(round.t0 + 40);
        }
    }
    block
}

fn busy() -> Config {
    let routes = vec![Route::X2Apic, Route::NativeRseq];
    Config { routes, target_states: vec![TargetState::User], boots: Some(10), ..config() }
}

/// What the guest's cell is in the native one.
fn times(outcome: &Outcome, metric: MetricName) -> &Times {
    let is_guest = |id: CellId| id.route == Route::X2Apic && id.target_state == TargetState::User;
    let guest = outcome.document.cells.iter().find(|cell| is_guest(cell.id)).expect("a guest's cell");
    let found = guest.times_native(metric).unwrap_or_else(|| panic!("no {metric:?}"));
    assert_eq!(found.divisor.route, Route::NativeRseq);
    found
}

fn is(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 1e-9)
}

#[test]
fn a_guests_times_are_divided_by_native_ones() {
    let outcome = run(&busy(), &|_, spec| Ok(tenfold(spec)));
    assert_eq!(KHZ, 1_000_000, "a cycle is a nanosecond");
    let round_trip = times(&outcome, MetricName::RoundTrip);
    assert!(is(Some(round_trip.own_ns), 900.0) && is(Some(round_trip.divisor_ns), 90.0), "{round_trip:?}");
    assert!(is(round_trip.ratio, 10.0) && round_trip.pairs == 10, "{round_trip:?}");
    let [low, high] = round_trip.ci95.expect("ten boots");
    assert!(is(Some(low), 10.0) && is(Some(high), 10.0), "every round is alike: {low} to {high}");
    // What the clocks may be off by widens it.
    let delivery = times(&outcome, MetricName::Delivery);
    let error = CLOCK_ERROR as f64;
    let [low, high] = delivery.ci95.expect("ten boots");
    assert!(is(delivery.ratio, 10.0), "{delivery:?}");
    assert!(is(Some(low), (400.0 - error) / (40.0 + error)) && is(Some(high), (400.0 + error) / (40.0 - error)));
    let native = outcome.document.cells.iter().find(|cell| cell.id.route == Route::NativeRseq).expect("a native cell");
    assert!(native.times_native.is_empty(), "it is what others are divided by");
    assert_valid(&outcome.document);
}

#[test]
fn a_divisor_within_the_clocks_error_is_a_bound() {
    // Starts are 30 apart, and the clocks 35; in the guest, they are 100 apart.
    let outcome = run(&busy(), &|_, spec| {
        let mut block = alike(spec);
        if spec.cell.route == Route::X2Apic {
            block.rounds.iter_mut().for_each(|round| round.participants[1].w = Some(round.t0 + 600));
        }
        Ok(block)
    });
    let skew = times(&outcome, MetricName::StartSkew);
    assert_eq!((skew.ratio, skew.ci95), (None, None), "{skew:?}");
    let [least, most] = [100.0 - 35.0, 30.0 + 35.0];
    assert!(is(skew.at_least, least / most), "{skew:?}");
    assert_valid(&outcome.document);
}

#[test]
fn what_both_blocks_of_a_pair_share_is_no_uncertainty() {
    // Each boot is slower than the one before, natively as well.
    let boots = Cell::new(0_u64);
    let outcome = run(&busy(), &|number, spec| {
        boots.set(boots.get() + u64::from(number == 0));
        let mut block = tenfold(spec);
        block.rounds.iter_mut().for_each(|round| round.t2 = round.t0 + (round.t2 - round.t0) * (10 + boots.get()));
        Ok(block)
    });
    let times = times(&outcome, MetricName::RoundTrip);
    let [low, high] = times.ci95.expect("ten boots");
    assert!(times.ratio.is_some_and(|ratio| low <= ratio && ratio <= high) && low > 9.0 && high < 11.2, "{times:?}");
}

#[test]
fn only_undisturbed_blocks_are_paired() {
    // The guest's first two blocks are disturbed, and not when they are measured again.
    let outcome = run(&busy(), &|_, spec| Ok(tenfold(spec)));
    let all = times(&outcome, MetricName::RoundTrip).pairs;
    let seen = Cell::new(0);
    let outcome = run(&busy(), &|_, spec| {
        if spec.cell.route == Route::X2Apic && spec.warmup > 0 {
            seen.set(seen.get() + 1);
            if seen.get() <= 2 {
                return Ok(disturbed(spec));
            }
        }
        Ok(tenfold(spec))
    });
    let again = times(&outcome, MetricName::RoundTrip);
    assert!(again.pairs == all && is(again.ratio, 10.0), "measured again, each is one of a pair: {again:?}");
    let outcome =
        run(&busy(), &|_, spec| Ok(if spec.cell.route == Route::NativeRseq { disturbed(spec) } else { tenfold(spec) }));
    let guest = outcome.document.cells.iter().find(|cell| cell.id.route == Route::X2Apic).expect("a guest's cell");
    assert_eq!(guest.times_native, [], "a cell that was never quiet divides nothing");
    let [undivided] = outcome.document.undivided.as_slice() else {
        panic!("it says why: {:?}", outcome.document.undivided)
    };
    assert_eq!((undivided.id, undivided.reason.as_str()), (guest.id, "never quiet in one turn with native-rseq"));
    assert_valid(&outcome.document);
}

#[test]
fn halted_targets_are_divided_by_busy_and_by_sleeping_threads() {
    let routes = vec![Route::X2Apic, Route::NativeRseq, Route::NativeFutex];
    let config = Config { routes, target_states: vec![TargetState::User, TargetState::Halt], ..busy() };
    let outcome = run(&config, &|_, spec| Ok(tenfold(spec)));
    let is_halted = |id: CellId| id.route == Route::X2Apic && id.target_state == TargetState::Halt;
    let halted = outcome.document.cells.iter().find(|cell| is_halted(cell.id)).expect("halted targets");
    let of_round_trips = halted.times_native.iter().filter(|times| times.metric == MetricName::RoundTrip);
    let ratios: Vec<_> = of_round_trips.map(|times| (times.divisor.route, times.ratio)).collect();
    assert_eq!(ratios, [(Route::NativeRseq, Some(10.0)), (Route::NativeFutex, Some(1.0))]);
}

#[test]
fn the_cpu_time_of_a_guests_calls_is_divided_by_native_ones() {
    let outcome = run(&busy(), &|_, spec| {
        let rounds = spec.rounds as u64;
        let each = rounds * if spec.cell.route == Route::NativeRseq { 20 } else { 300 };
        let cpu = CpuTime { initiator_ns: each, targets_ns: each, ..CpuTime::of_rounds(rounds, each) };
        Ok(Block { cpu: Some(cpu), ..tenfold(spec) })
    });
    let of = |route| {
        let cell = outcome.document.cells.iter().find(|cell| cell.id.route == route).expect("a cell");
        cell.host_cpu.clone().expect("its clocks were read")
    };
    let (guest, native) = (of(Route::X2Apic), of(Route::NativeRseq));
    assert_eq!((guest.total_ns, guest.per_target_ns, guest.wall_ns), (600.0, 300.0, 300.0));
    let [divided] = guest.times_native.as_slice() else { panic!("one divisor: {guest:?}") };
    assert_eq!((divided.divisor.route, divided.pairs), (Route::NativeRseq, 10));
    assert_eq!((divided.own_ns, divided.divisor_ns, divided.ratio), (600.0, 40.0, 15.0));
    assert_eq!(divided.ci95, Some([15.0, 15.0]), "every block is alike");
    assert!(native.times_native.is_empty(), "it is what others are divided by");
    assert_valid(&outcome.document);
}
