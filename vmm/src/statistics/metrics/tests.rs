use super::*;
use crate::config::MIN_BOOTS;
use crate::results::measurement::Spread;
use crate::results::metric::{Intervals, Unit};
use crate::statistics::bootstrap::Boots;
use crate::statistics::documents::spread;
use crate::statistics::drift::Drift;
use proptest::prelude::*;

const GHZ: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

fn participant(vcpu: usize, a: Option<u64>, w: u64, x: u64) -> Participant {
    Participant { vcpu, a, halted: None, w: Some(w), x: Some(x), vmm: None, back: None }
}

fn round(participants: Vec<Participant>) -> Round {
    Round { generation: 1, initiator: Some(0), t0: 1000, t1: 1040, t2: 1900, participants, trace: Vec::new() }
}

fn observed(mut round: Round, stamps: &[u64]) -> Round {
    round.participants.iter_mut().zip(stamps).for_each(|(participant, &stamp)| participant.vmm = Some(stamp));
    round
}

fn three() -> Round {
    round(vec![
        participant(0, None, 1400, 1500),
        participant(1, Some(1210), 1420, 1540),
        participant(2, Some(1280), 1410, 1490),
    ])
}

/// Every value of the round, by the metric's name.
fn values(round: &Round) -> Vec<(&'static str, Vec<f64>)> {
    let all = MetricName::ALL.iter().map(|metric| {
        let mut values = Vec::new();
        metric.measure(round, |value| values.push(value));
        (metric.name(), values)
    });
    all.filter(|(_, values)| !values.is_empty()).collect()
}

/// A boot for each block, on a host that does not drift.
fn boots() -> Boots {
    Boots { of_block: (0..20).collect(), drift: Drift::none() }
}

#[test]
fn names_and_order_are_the_documented_ones() {
    let names = MetricName::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>();
    let documented = [
        "send_cost",
        "delivery",
        "arrival_skew",
        "start_skew",
        "start_barrier",
        "overlap",
        "round_trip",
        "vmm_start_skew",
        "skew_slope",
        "observed_exit",
        "skew_gap",
        "kernel_delivery",
        "delivery_gap",
        "halted",
        "away",
        "reentry",
    ];
    assert_eq!(names, documented);
    assert!(MetricName::ALL.is_sorted());
}

#[test]
fn each_halted_target_has_its_time_in_hlt() {
    let mut round = three();
    (round.participants[1].halted, round.participants[2].halted) = (Some(400), Some(1_100));
    let halted = values(&round).into_iter().find(|(name, _)| *name == "halted");
    assert_eq!(halted, Some(("halted", vec![600.0, -100.0])), "a clock that is off is seen");
}

#[test]
fn one_participant_has_no_skew() {
    let expected = vec![("send_cost", vec![40.0]), ("overlap", vec![1.0]), ("round_trip", vec![900.0])];
    assert_eq!(values(&round(vec![participant(0, None, 1400, 1500)])), expected);
}

#[test]
fn one_target_has_no_arrival_skew() {
    // Overlap: from 1420 to 1500, of 100 and 120.
    let two = round(vec![participant(0, None, 1400, 1500), participant(1, Some(1210), 1420, 1540)]);
    let expected = vec![
        ("send_cost", vec![40.0]),
        ("delivery", vec![210.0]),
        ("start_skew", vec![20.0]),
        ("start_barrier", vec![210.0]),
        ("overlap", vec![80.0 / 110.0]),
        ("round_trip", vec![900.0]),
    ];
    assert_eq!(values(&two), expected);
}

#[test]
fn two_targets_have_an_arrival_skew() {
    // Overlap: from 1420 to 1490, of 100, 120 and 80.
    let expected = vec![
        ("send_cost", vec![40.0]),
        ("delivery", vec![210.0, 280.0]),
        ("arrival_skew", vec![70.0]),
        ("start_skew", vec![20.0]),
        ("start_barrier", vec![140.0]),
        ("overlap", vec![0.7]),
        ("round_trip", vec![900.0]),
    ];
    assert_eq!(values(&three()), expected);
}

#[test]
fn a_ping_has_no_workers_and_nothing_to_do_with_them() {
    let without_worker = |vcpu, a| Participant { vcpu, a, halted: None, w: None, x: None, vmm: None, back: None };
    let expected = vec![("send_cost", vec![40.0]), ("delivery", vec![210.0]), ("round_trip", vec![900.0])];
    assert_eq!(values(&round(vec![without_worker(0, None), without_worker(1, Some(1210))])), expected);
    assert_eq!(values(&round(vec![without_worker(0, Some(1210))])), expected, "to oneself");
}

#[test]
fn an_initiator_that_interrupts_itself_is_a_target() {
    let mut all = three();
    all.participants[0].a = Some(1050);
    let values: BTreeMap<_, _> = values(&all).into_iter().collect();
    assert_eq!(values["delivery"], [50.0, 210.0, 280.0]);
    assert_eq!(values["arrival_skew"], [230.0]);
    // Slopes 160, 70 and 230 / 2.
    assert_eq!(values["skew_slope"], [115.0]);
}

#[test]
fn slope_needs_three_different_indices() {
    let mut all = three();
    all.participants[0].a = Some(1050);
    all.participants[0].vcpu = 1;
    assert_eq!(skew_slope(&all), None);
}

#[test]
fn both_vantages_are_compared() {
    // Observed exits of 100, 130 and 60 cycles: from 1470 to 1550.
    let values: BTreeMap<_, _> = values(&observed(three(), &[1500, 1550, 1470])).into_iter().collect();
    assert_eq!(values["vmm_start_skew"], [80.0]);
    assert_eq!(values["observed_exit"], [100.0, 130.0, 60.0]);
    assert_eq!(values["skew_gap"], [60.0]);
}

#[test]
fn the_vantages_may_disagree_either_way() {
    let closer = observed(three(), &[1500, 1505, 1500]);
    assert_eq!(values(&closer).last(), Some(&("skew_gap", vec![-15.0])));
}

#[test]
fn a_missing_vmm_stamp_takes_the_skew_but_not_the_other_exits() {
    let values: BTreeMap<_, _> = values(&observed(three(), &[1500, 1550])).into_iter().collect();
    assert_eq!(values["observed_exit"], [100.0, 130.0]);
    assert!(!values.contains_key("vmm_start_skew") && !values.contains_key("skew_gap"));
}

#[test]
fn one_observed_participant_has_an_exit_and_no_skew() {
    let one = observed(round(vec![participant(0, None, 1400, 1500)]), &[1450]);
    assert_eq!(values(&one).last(), Some(&("observed_exit", vec![50.0])));
}

#[test]
fn overlap_of_workers_that_do_not_meet_is_zero() {
    let apart = [participant(0, None, 1400, 1500), participant(1, Some(1210), 1600, 1700)];
    assert_eq!(overlap(&apart), Some(0.0));
}

#[test]
fn overlap_of_workers_without_duration_does_not_exist() {
    assert_eq!(overlap(&[participant(0, None, 5, 5), participant(1, Some(1), 5, 5)]), None);
    assert_eq!(overlap(&[]), None);
}

#[test]
fn overlap_of_workers_that_end_before_they_start_is_zero() {
    let backward = overlap(&[participant(0, None, 10, 5), participant(1, Some(1), 10, 5)]).expect("a duration");
    assert!(backward == 0.0 && backward.is_sign_positive());
}

#[test]
fn negative_delivery_is_counted_and_kept() {
    let mut early = three();
    early.participants[1].a = Some(970);
    let samples = collect(&[&[early, three()]]);
    let delivery = MetricName::Delivery.to_document(&samples[&MetricName::Delivery], &boots(), GHZ, Some(60.0));
    assert_eq!((delivery.n, delivery.negative, delivery.min, delivery.max), (4, 1, -30.0, 280.0));
}

#[test]
fn a_metric_without_values_is_left_out() {
    let samples = collect(&[&[three()], &[]]);
    assert_eq!(samples.len(), 7);
    assert!(!samples.contains_key(&MetricName::VmmStartSkew));
    assert!(collect(&[]).is_empty());
}

#[test]
fn cycles_become_nanoseconds_and_ratios_stay() {
    let khz = NonZeroU64::new(2_500_000).expect("not zero");
    let samples = collect(&[&[three()]]);
    let document = |metric: MetricName| metric.to_document(&samples[&metric], &boots(), khz, None);
    let trip = document(MetricName::RoundTrip);
    assert_eq!((trip.unit, trip.p50), (Unit::Ns, 360.0));
    assert_eq!(trip.ci95, Intervals { p50: None, p99: None });
    let overlap = document(MetricName::Overlap);
    assert_eq!((overlap.unit, overlap.p50), (Unit::Ratio, 0.7));
    assert_eq!(MetricName::SkewSlope.unit(), Unit::NsPerVcpu);
}

#[test]
fn intervals_are_taken_over_boots_and_converted() {
    let khz = NonZeroU64::new(2_000_000).expect("not zero");
    let block = [three(), three()];
    let samples = collect(&[&block[..]; MIN_BOOTS]);
    let trip = MetricName::RoundTrip.to_document(&samples[&MetricName::RoundTrip], &boots(), khz, Some(0.0));
    assert_eq!(trip.n, 10);
    assert_eq!(trip.ci95, Intervals { p50: Some([450.0; 2]), p99: Some([450.0; 2]) });
    // One boot fewer is too few.
    let samples = collect(&[&block[..]; MIN_BOOTS - 1]);
    let trip = MetricName::RoundTrip.to_document(&samples[&MetricName::RoundTrip], &boots(), khz, Some(0.0));
    assert_eq!(trip.ci95, Intervals { p50: None, p99: None });
}

#[test]
fn spread_of_hand_computed_cycles() {
    let khz = NonZeroU64::new(2_000_000).expect("not zero");
    let expected = Spread { n: 4, min: -1.0, p50: 10.0, p99: 50.0, max: 50.0 };
    assert_eq!(spread(&[100, 20, -2, 30], khz), Some(expected));
    assert_eq!(spread(&[], khz), None);
}

fn any_participant() -> impl Strategy<Value = Participant> {
    let stamp = || prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), 1000..1100_u64];
    (
        0..4_usize,
        prop::option::of(stamp()),
        prop::option::of(stamp()),
        prop::option::of(stamp()),
        prop::option::of(stamp()),
    )
        .prop_map(|(vcpu, a, w, x, vmm)| Participant { vcpu, a, halted: a, w, x, vmm, back: None })
}

proptest! {
    #[test]
    fn senseless_stamps_give_finite_values(
        [t0, t1, t2] in any::<[u64; 3]>(),
        participants in prop::collection::vec(any_participant(), 0..6),
    ) {
        let round = Round { generation: 0, initiator: Some(0), t0, t1, t2, participants, trace: Vec::new() };
        for (metric, sample) in collect(&[&[round]]) {
            prop_assert!(sample.values().all(|(value, _)| value.is_finite()), "{metric:?}");
            prop_assert!(metric.to_document(&sample, &boots(), GHZ, None).max.is_finite());
        }
    }
}

#[test]
fn an_absence_is_told_from_the_way_back_into_the_guest() {
    let mut round = three();
    assert!(values(&round).iter().all(|(name, _)| !["away", "reentry"].contains(name)));
    (round.participants[1].back, round.participants[2].back) = (Some(1200), Some(1285));
    let all = values(&round);
    let of = |name: &str| all.iter().find(|(metric, _)| *metric == name).map(|(_, values)| values.clone());
    assert_eq!(of("away"), Some(vec![200.0, 285.0]));
    assert_eq!(of("reentry"), Some(vec![10.0, -5.0]), "signed, like delivery");
    round.participants[1].a = None;
    assert_eq!(values(&round).iter().filter(|(name, _)| *name == "reentry").count(), 1, "who polls has no arrival");
}
