//! What a process of kipi is to measure that is one boot of many.

use std::ffi::{OsStr, OsString};

/// Options of `kipi measure` that say what becomes of a run, or how long it is, and have a value.
const NOT_PASSED_ON: [&str; 8] =
    ["--ab-exec", "--threshold", "--boots", "--seconds", "--rounds", "--references", "--native", "--json"];

/// What is asked of the whole run, and not of a boot.
const NOT_OF_A_BOOT: &str = "--strict";

/// The command line of one boot, of that of the whole run: `arguments` without the program's name.
pub(super) fn boot_arguments(arguments: impl IntoIterator<Item = OsString>, rounds: usize) -> Vec<OsString> {
    let mut passed_on = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let is = |option: &&str| argument == OsStr::new(option);
        let is_with_value = |option: &&str| {
            argument.to_str().and_then(|it| it.strip_prefix(option)).is_some_and(|rest| rest.starts_with('='))
        };
        if NOT_PASSED_ON.iter().any(is) {
            arguments.next();
        } else if argument != NOT_OF_A_BOOT && !NOT_PASSED_ON.iter().any(is_with_value) {
            passed_on.push(argument);
        }
    }
    let fixed = ["--boots", "1", "--references", "none", "--native", "none", "--json", "-", "--rounds"];
    passed_on.extend(fixed.map(OsString::from));
    passed_on.push(rounds.to_string().into());
    passed_on
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_the_cells_of_the_run_and_none_of_its_outputs() {
        let whole = "measure --route x2apic --ab-exec ../old/kipi --strict --json=result.json --boots 40 --vcpus 2 --threshold=1% --seconds 30";
        let boot = boot_arguments(whole.split(' ').map(OsString::from), 50);
        let boot: Vec<&str> = boot.iter().filter_map(|argument| argument.to_str()).collect();
        assert_eq!(
            boot.join(" "),
            "measure --route x2apic --vcpus 2 --boots 1 --references none --native none --json - --rounds 50"
        );
    }
}
