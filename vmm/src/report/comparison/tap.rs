//! The comparison as a TAP stream, version 13 (<https://testanything.org/tap-version-13-specification.html>), the latest that
//! Perl's `prove` and the kernel's kselftest know.

use super::cases::{Case, Outcome, cases};
use super::text::{Unit, describe, remarks};
use crate::report::check::tap::{Version, escaped, quoted, skip};
use crate::report::wrap::printable;
use crate::results::comparison::Comparison;

/// The stream, the plan first.
pub(super) fn render(comparison: &Comparison) -> String {
    let cases = cases(comparison);
    let mut lines = vec![format!("TAP version {}", Version::V13.number()), format!("1..{}", cases.len())];
    let kipi = format!("kipi {}", comparison.kipi);
    let [base, new] = [("base", &comparison.base), ("new", &comparison.new)]
        .map(|(label, side)| format!("{label}: {}", describe(side, Unit::of(comparison))));
    lines.extend([kipi, base, new].iter().chain(&remarks(comparison)).map(|text| comment(text)));
    lines.extend(cases.iter().enumerate().flat_map(|(index, case)| test(index + 1, case)));
    lines.push(comment(&format!("{}, {} undecided", comparison.verdict.name(), comparison.undecided)));
    lines.join("\n") + "\n"
}

fn comment(text: &str) -> String {
    format!("# {}", printable(text))
}

/// A test's line, and what was found as a YAML block where the line does not say it.
fn test(number: usize, case: &Case) -> Vec<String> {
    let name = escaped(&format!("{}: {}", case.group, case.name));
    let (line, found) = match &case.outcome {
        Outcome::Passed(found) => (format!("ok {number} - {name}"), found.as_str()),
        Outcome::Worse(found) | Outcome::NotComparable(found) => (format!("not ok {number} - {name}"), found.as_str()),
        Outcome::Undecided(reason) => (format!("ok {number} - {name}{}", skip(reason)), ""),
    };
    if found.is_empty() {
        return vec![line];
    }
    vec![line, "  ---".to_owned(), format!("  message: {}", quoted(found)), "  ...".to_owned()]
}

#[cfg(test)]
mod tests;
