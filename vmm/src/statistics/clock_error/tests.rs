use super::*;

fn exchange(sent: u64, answered: u64, received: u64) -> Exchange {
    Exchange { sent, answered, received }
}

fn bound(exchanges: &[Exchange]) -> Option<u64> {
    Ahead::of(exchanges).map(Ahead::bound)
}

#[test]
fn the_shortest_round_trip_bounds_the_clocks() {
    // Equal clocks, an answer in the middle: the offset lies within half a round trip either way.
    assert_eq!(bound(&[exchange(1000, 1600, 2000), exchange(5000, 5050, 5100)]), Some(50));
    // The partner is 1000 ahead: between 960 and 1040.
    assert_eq!(bound(&[exchange(5000, 6040, 5080)]), Some(1040));
    // The partner is behind.
    assert_eq!(bound(&[exchange(5000, 4040, 5080)]), Some(1040));
    assert_eq!(bound(&[]), None);
    assert_eq!(bound(&[exchange(10, 10, 5)]), None, "time does not run backwards");
    assert_eq!(bound(&[exchange(0, u64::MAX, 1)]), Some(u64::MAX), "garbage is a bad bound, not a panic");
}

/// A partner that is between `least` and `most` ahead.
fn ahead(least: u64, most: u64) -> Ahead {
    const SENT: u64 = 1 << 40;
    Ahead::of(&[exchange(SENT, SENT + most, SENT + most - least)]).unwrap()
}

#[test]
fn of_two_looks_at_the_same_clocks_the_closer_one_counts() {
    let (disturbed, close) = (ahead(0, 35_000_000), ahead(1_000, 1_080));
    assert_eq!((disturbed.and(close).bound(), close.and(disturbed).bound()), (1_080, 1_080));
    assert_eq!(ahead(900, 1_050).and(ahead(1_000, 1_100)).bound(), 1_050, "it lies in both");
}

#[test]
fn clocks_whose_difference_has_changed_keep_the_larger_bound() {
    let (one, other) = (ahead(1_000, 1_080), ahead(50, 90));
    for looks in [[one, other, other], [other, one, other], [other, other, one]] {
        let known = looks.into_iter().reduce(Ahead::and).unwrap();
        assert_eq!(known.bound(), 1_080, "{looks:?}");
    }
}

#[test]
fn a_skew_can_be_off_by_two_clocks() {
    assert_eq!(skew_error(vec![]), 0);
    assert_eq!(skew_error(vec![40]), 40);
    assert_eq!(skew_error(vec![40, 10, 30]), 70);
    assert_eq!(skew_error(vec![u64::MAX, 1]), u64::MAX);
}
