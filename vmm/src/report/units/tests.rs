use super::*;

#[test]
fn time_has_three_digits_in_every_unit() {
    assert_eq!(time(842.0), "842 ns");
    assert_eq!(time(84.2), "84.2 ns");
    assert_eq!(time(8.42), "8.42 ns");
    assert_eq!(time(0.125), "0.125 ns");
    assert_eq!(time(12_300.0), "12.3 µs");
    assert_eq!(time(1_200_000.0), "1.20 ms");
    assert_eq!(time(2.5e9), "2.50 s");
    assert_eq!(time(1.234e12), "1234 s");
    assert_eq!(time(-1e300), "-1.00e291 s");
}

#[test]
fn time_changes_unit_where_the_rounding_does() {
    assert_eq!(time(999.4), "999 ns");
    assert_eq!(time(999.5), "1.00 µs");
    assert_eq!(time(1_000.0), "1.00 µs");
    assert_eq!(time(999_499.0), "999 µs");
    assert_eq!(time(999_500.0), "1.00 ms");
    assert_eq!(time(999_499_999.0), "999 ms");
    assert_eq!(time(999_500_000.0), "1.00 s");
}

#[test]
fn rounding_up_never_adds_a_digit() {
    assert_eq!(time(0.9994), "0.999 ns");
    assert_eq!(time(0.9995), "1.00 ns");
    assert_eq!(time(9.994), "9.99 ns");
    assert_eq!(time(9.995), "10.0 ns");
    assert_eq!(time(99.94), "99.9 ns");
    assert_eq!(time(99.95), "100 ns");
    assert_eq!(time(99_950.0), "100 µs");
}

#[test]
fn time_is_signed_and_zero_is_not() {
    assert_eq!(time(-842.0), "-842 ns");
    assert_eq!(time(-999.5), "-1.00 µs");
    assert_eq!(time(0.0), "0 ns");
    assert_eq!(time(-0.0), "0 ns");
    assert_eq!(time(-0.0001), "0.000 ns");
}

#[test]
fn time_hides_no_number_that_is_none() {
    assert_eq!(time(f64::NAN), "NaN ns");
    assert_eq!(time(f64::INFINITY), "inf ns");
}

#[test]
fn range_has_one_unit_while_both_ends_keep_their_digits() {
    assert_eq!(range(11_900.0, 12_800.0), "11.9–12.8 µs");
    assert_eq!(range(991_000.0, 1_010_000.0), "0.991–1.01 ms");
    assert_eq!(range(0.0, 842.0), "0–842 ns");
    assert_eq!(range(-120.0, 1_200.0), "-0.120 to 1.20 µs");
    assert_eq!(range(3_410.0, 16_100_000.0), "3.41 µs–16.1 ms");
    assert_eq!(range(99_400.0, 1_000_000.0), "99.4 µs–1.00 ms");
    assert_eq!(range(99_600.0, 1_000_000.0), "0.100–1.00 ms");
    assert_eq!(range(-5_000.0, -10.0), "-5.00 µs to -10.0 ns");
    assert_eq!(range(-10.0, 5_000.0), "-10.0 ns to 5.00 µs");
    assert_eq!(range(0.01, 842.0), "0.010–842 ns");
}

#[test]
fn bounded_tells_what_the_clock_cannot() {
    assert_eq!(bounded(34.9, Some(35.0)), "≤ ε");
    assert_eq!(bounded(-34.9, Some(35.0)), "≤ ε");
    assert_eq!(bounded(35.0, Some(35.0)), "35.0 ns");
    assert_eq!(bounded(0.0, Some(0.0)), "0 ns");
    assert_eq!(bounded(34.9, None), "34.9 ns", "nothing is known to be larger");
    assert_eq!((below_error(1), below_error(2)), ("≤ ε".to_owned(), "≤ 2ε".to_owned()));
    assert_eq!((epsilon(Some(35.0)), epsilon(None)), ("35.0 ns".to_owned(), "unknown".to_owned()));
}

#[test]
fn per_call_keeps_rare_apart_from_never() {
    assert_eq!(per_call(0.0), "0");
    assert_eq!(per_call(0.0001), "<0.01");
    assert_eq!(per_call(0.005), "0.01");
    assert_eq!(per_call(1.0), "1.00");
    assert_eq!(per_call(340.4), "340");
    assert_eq!(per_call(2e9), "2.00e9");
}

#[test]
fn share_is_a_percentage() {
    assert_eq!((share(0.254).as_str(), share(-0.001).as_str()), ("25 %", "0 %"));
}

#[test]
fn ratio_has_three_decimals() {
    assert_eq!(ratio(0.98249), "0.982");
    assert_eq!(ratio(1.0), "1.000");
}

#[test]
fn times_have_three_digits_however_few_they_are() {
    for (value, text) in [
        (1234.0, "1234"),
        (37.46, "37.5"),
        (1.0, "1.00"),
        (0.9996, "1.00"),
        (0.75, "0.750"),
        (0.099_96, "0.100"),
        (0.026_04, "0.0260"),
        (0.002_184, "0.00218"),
        (0.000_218_4, "0.000218"),
        (0.000_021_84, "2.18e-5"),
        (0.0, "0"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(times(value), text);
    }
}

#[test]
fn an_interval_whose_ends_say_nothing_is_said_to_be_so() {
    assert_eq!(times_range([0.0155, 0.0304]), "0.0155–0.0304");
    assert_eq!(times_range([0.9, 899.0]), "0.900–899");
    for vague in [[0.002, 4.47e7], [0.0, 583.0], [0.9, 900.0], [1e-20, 7.96e30]] {
        assert_eq!(times_range(vague), "not known", "{vague:?}");
    }
    assert_eq!(times_range([0.0, 0.0]), "0–0");
}

#[test]
fn a_change_has_its_sign_and_two_digits() {
    let texts = [0.05, -0.0004, 0.0996, -0.123, 1.5].map(change);
    assert_eq!(texts, ["+5.0 %", "+0.0 %", "+10 %", "-12 %", "+150 %"]);
    assert_eq!(change_range([-0.003, 0.041]), "-0.3 to +4.1 %");
}

#[test]
fn percentages_have_the_decimals_that_they_need() {
    for (fraction, text) in
        [(0.01, "1 %"), (0.07, "7 %"), (0.2, "20 %"), (0.001, "0.1 %"), (0.0025, "0.25 %"), (0.0, "0 %")]
    {
        assert_eq!(percent(fraction), text);
    }
}
