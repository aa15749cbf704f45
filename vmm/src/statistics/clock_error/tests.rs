use super::*;

fn exchange(sent: u64, answered: u64, received: u64) -> Exchange {
    Exchange { sent, answered, received }
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

#[test]
fn a_skew_can_be_off_by_two_clocks() {
    assert_eq!(skew_error(vec![]), 0);
    assert_eq!(skew_error(vec![40]), 40);
    assert_eq!(skew_error(vec![40, 10, 30]), 70);
    assert_eq!(skew_error(vec![u64::MAX, 1]), u64::MAX);
}
