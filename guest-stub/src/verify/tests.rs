use super::*;

#[test]
fn no_two_calls_or_processors_have_the_same_result() {
    let mut results = [0; 64];
    for (place, result) in (0_u32..).zip(&mut results) {
        let (initiator, number, index) = (place / 16, place / 4 % 4, place as usize % 4);
        let argument = argument(initiator, number);
        assert_eq!(initiator_of(argument), initiator as usize);
        *result = result_of(argument, index);
    }
    results.sort_unstable();
    assert!(results.windows(2).all(|pair| pair[0] != pair[1]));
}
