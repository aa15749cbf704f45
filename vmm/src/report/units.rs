//! Numbers for people: three significant digits, and the unit that keeps them short.

/// What a time below the clock's error is printed as.
pub const BELOW_ERROR: &str = "≤ ε";

/// Units and their length in ns, in ascending order.
const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];

/// A time in ns with three significant digits in the unit that suits it: `842 ns`, `12.3 µs`, `-1.20 ms`.
///
/// Below 1 ns three decimals are kept (`0.125 ns`). A value that is no number is shown as what it is (`NaN ns`).
pub fn time(ns: f64) -> String {
    let (name, length) = unit(ns.abs());
    format!("{} {name}", digits(ns / length))
}

/// Two times in ns as a range in one unit, the larger one's: `11.9–12.8 µs`; `-0.120 to 1.20 µs` if one is negative.
pub fn range(low: f64, high: f64) -> String {
    let (name, length) = unit(low.abs().max(high.abs()));
    let dash = if low < 0.0 || high < 0.0 { " to " } else { "–" };
    format!("{}{dash}{} {name}", digits(low / length), digits(high / length))
}

/// As [`time`], but `≤ ε` for a value whose magnitude is below the clock's error, in ns like the value.
pub fn bounded(ns: f64, error: f64) -> String {
    if ns.abs() < error { BELOW_ERROR.to_owned() } else { time(ns) }
}

/// A ratio: `0.982`.
pub fn ratio(value: f64) -> String {
    without_negative_zero(format!("{value:.3}"))
}

/// A fraction as a percentage: `25 %`.
pub fn share(fraction: f64) -> String {
    format!("{} %", without_negative_zero(whole(100.0 * fraction)))
}

/// A count for each call, on average: `0`, `<0.01`, `1.02`, `340`. Only a true zero is `0`.
pub fn per_call(count: f64) -> String {
    if count == 0.0 {
        "0".to_owned()
    } else if count > 0.0 && count < 0.005 {
        "<0.01".to_owned()
    } else if count.abs() < 99.995 {
        format!("{count:.2}")
    } else {
        whole(count)
    }
}

/// The unit in which a magnitude, rounded to three digits, stays below 1000, or the largest one.
fn unit(magnitude: f64) -> (&'static str, f64) {
    let [units @ .., largest] = UNITS;
    if !magnitude.is_finite() {
        return UNITS[0];
    }
    units.into_iter().find(|(_, length)| magnitude / length < 999.5).unwrap_or(largest)
}

/// Three significant digits, but at most three decimals, and all digits of the integer part up to a million.
fn digits(value: f64) -> String {
    let magnitude = value.abs();
    without_negative_zero(if magnitude == 0.0 {
        "0".to_owned()
    } else if magnitude < 0.9995 {
        format!("{value:.3}")
    } else if magnitude < 9.995 {
        format!("{value:.2}")
    } else if magnitude < 99.95 {
        format!("{value:.1}")
    } else {
        whole(value)
    })
}

/// Without decimals, and from a million on in scientific notation: a senseless value must not take a whole screen.
fn whole(value: f64) -> String {
    if value.is_finite() && value.abs() >= 1e6 { format!("{value:.2e}") } else { format!("{value:.0}") }
}

/// A negative number that rounds to zero is written without its sign.
fn without_negative_zero(text: String) -> String {
    match text.strip_prefix('-') {
        Some(magnitude) if magnitude.chars().all(|character| matches!(character, '0' | '.')) => magnitude.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
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
    fn range_has_one_unit() {
        assert_eq!(range(11_900.0, 12_800.0), "11.9–12.8 µs");
        assert_eq!(range(991_000.0, 1_010_000.0), "0.991–1.01 ms");
        assert_eq!(range(0.0, 842.0), "0–842 ns");
        assert_eq!(range(-120.0, 1_200.0), "-0.120 to 1.20 µs");
        assert_eq!(range(-5_000.0, -10.0), "-5.00 to -0.010 µs");
    }

    #[test]
    fn bounded_tells_what_the_clock_cannot() {
        assert_eq!(bounded(34.9, 35.0), "≤ ε");
        assert_eq!(bounded(-34.9, 35.0), "≤ ε");
        assert_eq!(bounded(35.0, 35.0), "35.0 ns");
        assert_eq!(bounded(0.0, 0.0), "0 ns");
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
}
