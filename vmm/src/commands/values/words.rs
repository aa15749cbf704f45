//! The words of a standalone image's plan as people type them, in the form that the image reads: names in lower case, numbers in digits.

use super::counts::number;
use super::names::{ALL, EVERY};
use crate::config::Call;
use crate::config::routes::Route;
use guest_stub::abi::{Destination, TargetState};
use kipi_standalone::plan;

/// These words in that form. What is in no form of theirs stays as it is, for the plan's own parser to refuse.
pub(in crate::commands) fn words_of_image(words: &str) -> String {
    words.split_ascii_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    let Some((key, value)) = word.split_once('=') else { return word.to_owned() };
    let key = key.to_ascii_lowercase();
    if !plan::is_word(&format!("{key}=")) {
        return word.to_owned();
    }
    let value = match key.as_str() {
        "call" => names(Call::ALL, Call::name, value),
        "route" => names(Route::ALL, Route::name, value),
        "destination" => names(Destination::ALL, Destination::name, value),
        "target-state" | "state" => names(TargetState::ALL, TargetState::name, value),
        // Linux's names have a capital letter.
        "console" => value.to_ascii_lowercase().replace("ttys", "ttyS"),
        _ => number(value).map_or_else(|_| value.to_ascii_lowercase(), |number| number.to_string()),
    };
    format!("{key}={value}")
}

/// A list of these names, of which one word stands for all.
fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str, list: &str) -> String {
    let all: Vec<&str> = all.iter().copied().map(name).collect();
    let of = |item: &str| match item.to_ascii_lowercase() {
        item if item == EVERY || item == ALL && !all.contains(&ALL) => all.join(","),
        item => item,
    };
    list.split(',').map(of).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_options_are() {
        for (typed, expected) in [
            ("Rounds=1e3", "rounds=1000"),
            ("rounds=10_000 warmup=5", "rounds=10000 warmup=5"),
            (" ROUNDS=10k   vcpus=007", "rounds=10000 vcpus=7"),
            ("spin-cycles=1.5M", "spin-cycles=1500000"),
            ("route=X2APIC,xApic", "route=x2apic,xapic"),
            ("call=All", "call=broadcast,ping"),
            ("destination=ALL", "destination=all"),
            ("Worker=SPIN End=Reset", "worker=spin end=reset"),
            ("console=COM2", "console=com2"),
            ("console=TTYS1", "console=ttyS1"),
            ("console=0x3E8", "console=0x3e8"),
        ] {
            assert_eq!(words_of_image(typed), expected);
            assert!(plan::parse(expected).is_ok(), "{expected}");
        }
    }

    #[test]
    fn all_and_every_stand_for_the_whole_list() {
        for key in ["call", "route", "destination", "target-state", "state"] {
            let words = words_of_image(&format!("{key}=every"));
            assert!(words.contains(',') && plan::parse(&words).is_ok(), "{words}");
        }
        let routes = words_of_image("route=all");
        assert_eq!(plan::parse(&routes).expect("names").routes.iter().count(), Route::ALL.len(), "{routes}");
    }

    #[test]
    fn what_is_no_word_stays_for_the_parser_to_refuse() {
        for typed in ["rounds=1e-1", "rounds=ten", "vcpus=2-4", "Bogus", "Bogus=X", "route=pigeon", "=", "rounds="] {
            assert_eq!(words_of_image(typed), typed);
            assert!(plan::parse(typed).is_err(), "{typed}");
        }
    }
}
