//! Whole numbers as people type them: `500`, `10_000`, `1e4`, `10k`, `1.5M`.

use super::names::ALL;
use clap::builder::TypedValueParser;
use guest_stub::abi;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// The way out for what is no number of this kind.
const FORMS: &str = "write a whole number such as 500, 10_000, 1e4, 10k or 1.5M";

/// A parser for the whole numbers of a range.
pub(in crate::commands) fn count<T>(range: RangeInclusive<T>) -> impl TypedValueParser<Value = T>
where
    T: TryFrom<u64> + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    move |text: &str| {
        let number = number(text)?;
        let fits = T::try_from(number).ok().filter(|number| range.contains(number));
        fits.ok_or_else(|| format!("{number} is not in {}..={}", range.start(), range.end()))
    }
}

/// The whole number that `text` stands for, exactly: digits, which `_` may group, a fraction, and a power of ten, as `e4` or as one of
/// `k`, `M` and `G`.
///
/// # Errors
/// What is wrong, and what may be written.
pub(in crate::commands) fn number(text: &str) -> Result<u64, String> {
    let wrong = || format!("it is no whole number ({FORMS})");
    let (decimal, tens) = split_power(text).ok_or_else(wrong)?;
    let (whole, fraction) = decimal.split_once('.').map_or((decimal, None), |(whole, part)| (whole, Some(part)));
    let whole = digits(whole).ok_or_else(wrong)?;
    let fraction = fraction.map_or(Some(String::new()), digits).ok_or_else(wrong)?;
    // What is behind the last digit that counts changes nothing.
    let fraction = fraction.trim_end_matches('0');
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let shift = tens - i32::try_from(fraction.len()).map_err(|_| wrong())?;
    let value = if shift < 0 {
        let (kept, dropped) = significant.split_at(significant.len().saturating_sub(shift.unsigned_abs() as usize));
        if kept.is_empty() || dropped.bytes().any(|digit| digit != b'0') {
            return Err(wrong());
        }
        kept.parse().ok()
    } else {
        let power = 10_u64.checked_pow(shift.unsigned_abs());
        significant.parse::<u64>().ok().zip(power).and_then(|(number, power)| number.checked_mul(power))
    };
    value.ok_or_else(|| format!("it is more than {}", u64::MAX))
}

/// What stands before the power of ten, and the power.
fn split_power(text: &str) -> Option<(&str, i32)> {
    const SUFFIXES: [(char, i32); 4] = [('k', 3), ('K', 3), ('M', 6), ('G', 9)];
    if let Some((before, tens)) = SUFFIXES.iter().find_map(|&(suffix, tens)| Some((text.strip_suffix(suffix)?, tens))) {
        return Some((before, tens));
    }
    match text.split_once(['e', 'E']) {
        None => Some((text, 0)),
        // More zeros than this are in no number that fits.
        Some((before, power)) => Some((before, power.parse().ok().filter(|power| (-99..=99).contains(power))?)),
    }
}

/// The digits, without the `_` between two of them; `None`: there is something else, or nothing.
fn digits(text: &str) -> Option<String> {
    let groups: Vec<&str> = text.split('_').collect();
    let are_digits = |group: &&str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    groups.iter().all(are_digits).then(|| groups.concat())
}

/// A number of vCPUs, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Vcpus {
    /// Each number of a range.
    Each(RangeInclusive<u16>),
    /// As many as there are CPUs that kipi may use.
    All,
}

impl Vcpus {
    /// The numbers, where kipi may use so many CPUs.
    pub(in crate::commands) fn numbers(&self, cpus: usize) -> RangeInclusive<usize> {
        match self {
            Self::Each(range) => usize::from(*range.start())..=usize::from(*range.end()),
            Self::All => cpus..=cpus,
        }
    }
}

/// One number of vCPUs: `4`, or `all`.
pub(in crate::commands) fn vcpus() -> impl TypedValueParser<Value = Vcpus> {
    |text: &str| one_or_all(text, |text: &str| one(text, "4 or all"))
}

/// An item of a list of numbers of vCPUs: `4`, `2-8`, or `all`.
pub(in crate::commands) fn vcpus_of_list() -> impl TypedValueParser<Value = Vcpus> {
    |text: &str| {
        let item = |text: &str| one(text, "4, 2-8 or all");
        let ends = text.split_once('-').filter(|(first, last)| !first.is_empty() && !last.is_empty());
        let Some((first, last)) = ends else { return one_or_all(text, item) };
        let (low, high) = (item(first)?, item(last)?);
        if low > high {
            return Err(format!("{low} is more than {high} (write {last}-{first})"));
        }
        Ok(Vcpus::Each(low..=high))
    }
}

fn one_or_all(text: &str, one: impl Fn(&str) -> Result<u16, String>) -> Result<Vcpus, String> {
    if text.eq_ignore_ascii_case(ALL) { Ok(Vcpus::All) } else { one(text).map(|number| Vcpus::Each(number..=number)) }
}

fn one(text: &str, forms: &str) -> Result<u16, String> {
    let most = u16::try_from(abi::MAX_VCPUS).unwrap_or(u16::MAX);
    let number = number(text).map_err(|_| format!("it is no number of vCPUs such as {forms}"))?;
    let fits = u16::try_from(number).ok().filter(|number| (1..=most).contains(number));
    fits.ok_or_else(|| format!("{number} is not in 1..={most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("0", 0),
            ("007", 7),
            ("500", 500),
            ("10_000", 10_000),
            ("1e4", 10_000),
            ("1E4", 10_000),
            ("1e+4", 10_000),
            ("10k", 10_000),
            ("10K", 10_000),
            ("1.5k", 1_500),
            ("1.5e1", 15),
            ("2.50e1", 25),
            ("0.001M", 1_000),
            ("20e-1", 2),
            ("1_0.5_0k", 10_500),
            ("3G", 3_000_000_000),
            ("0e99", 0),
            ("1.0", 1),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_number_is_refused_with_the_way_out() {
        let no_numbers = [
            "", "-1", "+1", "1e-1", "1.5", "0.0001k", "k", "e4", "1e", ".5k", "1.", "_1", "1_", "1__0", "1 000", "10m",
        ];
        for text in no_numbers.into_iter().chain(["0x10", "1e4k", "ten", "1e999", "٣"]) {
            let error = number(text).expect_err(text);
            assert!(error.contains("500, 10_000, 1e4, 10k or 1.5M"), "{text}: {error}");
        }
        for text in ["18446744073709551616", "1e20", "99999999999G"] {
            assert_eq!(number(text), Err("it is more than 18446744073709551615".to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_number_has_many_forms(value in 0..=u64::MAX / 1000, zeros in 1..12_usize) {
            let thousands = [format!("{value}k"), format!("{value}e3"), format!("{value}.{}e3", "0".repeat(zeros))];
            for text in thousands {
                prop_assert_eq!(number(&text), Ok(value * 1000), "{}", text);
            }
            let (whole, thousandths) = (value / 1000, value % 1000);
            prop_assert_eq!(number(&format!("{whole}.{thousandths:03}k")), Ok(value));
            prop_assert_eq!(number(&format!("{value}{}e-{zeros}", "0".repeat(zeros))).ok(), Some(value));
        }

        #[test]
        fn no_text_is_a_panic(text in "[0-9._eEkMG+-]{0,12}|\\PC{0,8}") {
            let _ = number(&text);
        }
    }
}
