//! Numbers for people: three significant digits, and the unit that keeps them short.

/// Units and their length in ns, in ascending order.
const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];

/// How far apart the ends of a ratio's interval are if it says nothing.
const VAGUE: f64 = 1000.0;

/// A time in ns with three significant digits in the unit that suits it: `842 ns`, `12.3 µs`, `-1.20 ms`.
///
/// Below 1 ns three decimals are kept (`0.125 ns`). A value that is no number is shown as what it is (`NaN ns`).
pub fn time(ns: f64) -> String {
    let (name, length) = unit(ns.abs());
    format!("{} {name}", digits(ns / length))
}

/// Two times in ns as a range in one unit, the larger one's, `11.9–12.8 µs`, or where the other one would have fewer than three digits
/// in it, in a unit each, `3.41 µs–16.1 ms`; `-0.120 to 1.20 µs` if one is negative.
pub fn range(low: f64, high: f64) -> String {
    let (name, length) = unit(low.abs().max(high.abs()));
    let dash = if low < 0.0 || high < 0.0 { " to " } else { "–" };
    let smaller = low.abs().min(high.abs());
    // Below 1 ns there is no smaller unit.
    if length > 1.0 && smaller > 0.0 && smaller / length < 0.0995 {
        return format!("{}{dash}{}", time(low), time(high));
    }
    format!("{}{dash}{} {name}", digits(low / length), digits(high / length))
}

/// As [`time`], but `≤ ε` for a difference of two clocks' stamps whose magnitude is below the clocks' error ε, in ns like
/// the value; `None`: the error is unknown.
pub fn bounded(ns: f64, epsilon: Option<f64>) -> String {
    if is_below(ns, epsilon) { below_error(1) } else { time(ns) }
}

/// Whether a value says no more than that it is within an error.
pub fn is_below(value: f64, error: Option<f64>) -> bool {
    error.is_some_and(|error| value.abs() < error)
}

/// What a value within the clocks' error is printed as, which is made of so many differences of two clocks' stamps.
pub fn below_error(differences: u8) -> String {
    if differences == 1 { "≤ ε".to_owned() } else { format!("≤ {differences}ε") }
}

/// The clocks' error ε, ns: a time, `0 (one clock)`, or `unknown`.
pub fn epsilon(ns: Option<f64>) -> String {
    match ns {
        None => "unknown".to_owned(),
        Some(0.0) => "0 (one clock)".to_owned(),
        Some(ns) => time(ns),
    }
}

/// A ratio: `0.982`.
pub fn ratio(value: f64) -> String {
    without_negative_zero(format!("{value:.3}"))
}

/// How many times as much, with three significant digits: `11.1`, `0.0260`, `2.60e-5`.
pub fn times(value: f64) -> String {
    let scientific = format!("{value:.2e}");
    // Of what is no number, and of zero, there is none.
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok()).unwrap_or(0);
    match usize::try_from(-exponent) {
        Ok(0) | Err(_) => digits(value),
        Ok(places @ 1..=4) => format!("{value:.*}", places + 2),
        Ok(_) => scientific,
    }
}

/// The ends of how many times as much: `36.0–39.0`. If they are a factor of 1000 or more apart, not even the order of magnitude is
/// known, and no end says anything.
pub fn times_range([low, high]: [f64; 2]) -> String {
    if is_vague([low, high]) { "not known".to_owned() } else { format!("{}–{}", times(low), times(high)) }
}

/// Whether an interval of a ratio says nothing of the ratio.
pub fn is_vague([low, high]: [f64; 2]) -> bool {
    low < high && high >= VAGUE * low
}

/// A fraction as a percentage: `25 %`.
pub fn share(fraction: f64) -> String {
    format!("{} %", without_negative_zero(whole(100.0 * fraction)))
}

/// A fraction as a percentage, with two decimals where there are any: `1 %`, `0.25 %`.
pub fn percent(fraction: f64) -> String {
    // What is noise of the multiplication is rounded away.
    format!("{} %", (1e4 * fraction).round() / 1e2)
}

/// A fraction by which something changed: `+5.0 %`, `-12 %`.
pub fn change(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    let text = if percent.abs() < 9.95 { format!("{percent:+.1}") } else { format!("{percent:+.0}") };
    format!("{} %", text.replace("-0.0", "+0.0"))
}

/// The ends of a change, `-0.3 to +4.1 %`.
pub fn change_range([low, high]: [f64; 2]) -> String {
    let low = change(low);
    format!("{} to {}", low.trim_end_matches(" %"), change(high))
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
mod tests;
