//! What one set of runs takes in terms of another, in each format that it is told in.

mod markdown;
mod text;

use super::comparison::Format;
use super::json::{self, JsonError};
use super::units;
use crate::results::comparison::Difference;
use crate::results::count::count;
use crate::results::overhead::{IntervalOf, Overhead, OverheadRow};

/// By what factor a ratio is off that of the medians if that is to be told.
const UNLIKE: f64 = 1.25;

/// The overhead in this format, in lines of at most `width` columns where people read it; it ends in a newline. `None`: it is not told
/// in this format.
///
/// # Errors
/// [`JsonError::NotFinite`] for a NaN or an infinity.
pub fn render(overhead: &Overhead, format: Format, width: usize) -> Result<Option<String>, JsonError> {
    Ok(match format {
        Format::Text => Some(text::render(overhead, width)),
        Format::Json => Some(json::to_text(overhead)?),
        Format::Markdown => Some(markdown::render(overhead)),
        // A verdict, or a figure to have an alert on: there is none.
        Format::Junit | Format::Tap | Format::Bmf => None,
    })
}

/// What follows from a difference of machines.
fn consequence(difference: &Difference) -> String {
    let follows = match difference.factor.as_str() {
        "cpu" => " (if the processors differ and not just their names, the ratio is theirs, too)",
        "tsc" => " (times compare, cycles do not)",
        factor if !difference.allowed => {
            return format!(" (another code was measured: --expect {factor} divides all the same)");
        }
        _ => "",
    };
    follows.to_owned()
}

/// What the rows' figures are, as far as it does not show.
fn about_figures(rows: &[OverheadRow]) -> Vec<String> {
    let has = |of: Option<IntervalOf>| rows.iter().any(|row| row.interval_of == of);
    let told = [
        (Some(IntervalOf::Runs), "95 %: intervals of the ratio, with runs as what varies"),
        (
            Some(IntervalOf::Boots),
            "95 %: intervals of the ratio by the boots and blocks of a run each; how much runs differ is not in them (name several a \
             side)",
        ),
        (None, "No interval: a run of fewer than five boots (name several runs a side, or measure more boots)"),
    ];
    let vague = rows.iter().filter_map(|row| row.ci95).any(units::is_vague).then(|| {
        "not known: the ends of the interval are a factor of 1000 or more apart (measure more boots, or name more runs a side)"
            .to_owned()
    });
    let of_intervals = told.into_iter().filter(|(of, _)| has(*of)).map(|(_, text)| text.to_owned());
    of_intervals.chain(vague).chain(unlike(rows)).collect()
}

/// Where the ratio is not that of the two times beside it.
fn unlike(rows: &[OverheadRow]) -> Option<String> {
    let is_unlike = |row: &&OverheadRow| {
        let off = row.new_ns / row.base_ns / row.ratio;
        off.max(1.0 / off) > UNLIKE
    };
    let rows = rows.iter().filter(is_unlike).count();
    (rows > 0).then(|| {
        format!(
            "times the base: of the means of the runs' logarithms, while base and new are medians of runs; where runs differ much, as \
             in {}, it is not new in base",
            count(rows, "row")
        )
    })
}

/// `+74.0 µs`.
fn added(row: &OverheadRow) -> String {
    let sign = if row.added_ns > 0.0 { "+" } else { "" };
    format!("{sign}{}", units::time(row.added_ns))
}

/// An overhead whose texts, all of which documents may bring along, could break a report.
#[cfg(test)]
fn hostile(text: &str) -> Overhead {
    use crate::results::comparison::side::SideSandbox;
    use crate::results::sandbox::State;

    let mut overhead = crate::results::overhead::fixture::overhead();
    let mut texts: Vec<&mut String> = vec![&mut overhead.kipi];
    for side in [&mut overhead.base, &mut overhead.new] {
        side.sandboxes.push(SideSandbox { state: State::Partly, missing: vec![String::new()], runs: 1 });
        texts.extend(&mut side.files);
        texts.extend(side.sandboxes.iter_mut().flat_map(|sandbox| &mut sandbox.missing));
        for host in &mut side.hosts {
            texts.extend([&mut host.cpu, &mut host.kernel, &mut host.kipi]);
            texts.extend(host.kvm.iter_mut().chain(&mut host.standalone));
        }
    }
    for difference in &mut overhead.differences {
        texts.extend(difference.base.iter_mut().chain(&mut difference.new));
    }
    texts.extend(overhead.warnings.iter_mut().chain(&mut overhead.not_comparable));
    for each in texts {
        text.clone_into(each);
    }
    overhead
}

#[cfg(test)]
mod tests;
