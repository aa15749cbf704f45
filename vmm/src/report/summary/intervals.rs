//! What the printed intervals hold, and where there is none, why.

use crate::config::MIN_BOOTS;
use crate::report::tables;
use crate::results::count::count;
use crate::results::measurement::{Cell, IntervalScope, Measurement};
use crate::results::metric::MetricName;
use std::collections::BTreeSet;

/// The answer in a line; `None`: no cell has a round trip.
pub(super) fn answer(measurement: &Measurement) -> Option<String> {
    let trips = || measurement.cells.iter().filter_map(|cell| Some((cell, cell.metrics.get(&MetricName::RoundTrip)?)));
    let without: Vec<&Cell> = trips().filter(|(_, trip)| trip.ci95.p50.is_none()).map(|(cell, _)| cell).collect();
    let all = trips().count();
    if all == 0 {
        return None;
    }
    if without.len() == all {
        return Some(format!("none: {}", too_few(measurement, &without)));
    }
    let scope = match measurement.intervals {
        IntervalScope::WithinRun if measurement.config.repetitions > 0 && !measurement.partial => {
            "of this run only: no cell had an interval in every repetition".to_owned()
        }
        IntervalScope::WithinRun if measurement.host.standalone.is_some() => "of this run only".to_owned(),
        IntervalScope::WithinRun => "of this run only; --calibrate adds how much runs differ".to_owned(),
        IntervalScope::BetweenRuns => between(measurement),
    };
    let missing = without.first().map(|first| {
        let name = tables::name(first, &measurement.cells.iter());
        let whose = match without.len() {
            1 => format!("{name} has"),
            several => format!("{several} cells, first {name}, have"),
        };
        format!("; {whose} none: {}", too_few(measurement, &without))
    });
    Some(scope + &missing.unwrap_or_default())
}

/// Of how many runs, how well so few know the drift, and where they do not.
fn between(measurement: &Measurement) -> String {
    /// Fewer runs than this make the intervals half as wide again as many would, by Student's t, and more.
    const SEVERAL: u64 = 5;
    let metrics = || measurement.cells.iter().flat_map(|cell| cell.metrics.values());
    let runs = metrics().filter_map(|metric| metric.between_runs.as_ref()).map(|between| between.runs).max();
    let runs = runs.unwrap_or(1);
    let few = if runs < SEVERAL { "; so few runs make them wide" } else { "" };
    let left = metrics().filter(|metric| metric.ci95.p50.is_some() && metric.between_runs.is_none()).count();
    let left = if left > 0 {
        format!(
            "; {} this run only",
            if left == 1 { "1 metric has that of".to_owned() } else { format!("{left} metrics have those of") }
        )
    } else {
        String::new()
    };
    format!("between runs: widened by how much {} differed (--calibrate){few}{left}", count(runs, "run"))
}

/// Why these cells have no interval.
fn too_few(measurement: &Measurement, cells: &[&Cell]) -> String {
    let needed = u64::try_from(MIN_BOOTS).unwrap_or(u64::MAX);
    let most = cells.iter().map(|cell| boots(cell)).max().unwrap_or(0);
    let config = &measurement.config;
    let ended_early = measurement.partial || cells.iter().any(|cell| cell.rounds < cell.rounds_asked);
    let remedy = match (ended_early, config.boots < needed, config.rounds < needed) {
        (true, ..) | (_, false, _) => String::new(),
        (false, true, _) if measurement.host.standalone.is_some() => {
            format!(" (a log may hold all boots of a run: boot the image {MIN_BOOTS} times or more)")
        }
        // Fewer boots than the rounds allow were asked for.
        (false, true, true) if config.boots < config.rounds => {
            format!(" (--rounds {MIN_BOOTS} --boots {MIN_BOOTS}, or more of each)")
        }
        (false, true, true) => format!(" (--rounds {MIN_BOOTS} or more)"),
        (false, true, false) => format!(" (--boots {MIN_BOOTS} or more)"),
    };
    format!("an interval needs blocks of {MIN_BOOTS} boots, and there were {most}{remedy}")
}

/// How many boots a cell's blocks are of. Those that were measured again, after all others, have a boot of their own, which is none of
/// those that were asked for.
fn boots(cell: &Cell) -> usize {
    let first = |number: u32| cell.blocks.iter().filter(|block| block.number == number).map(|block| block.boot).min();
    let counted = || cell.counted_blocks();
    let own: BTreeSet<u32> = counted().map(|block| block.boot).collect();
    let replaced: BTreeSet<Option<u32>> = counted().map(|block| first(block.number)).collect();
    own.len().min(replaced.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::block::Block;
    use crate::results::fixture;
    use crate::results::metric::{BetweenRuns, Intervals, Scale};

    fn block(boot: u32) -> Block {
        fixture::block(boot, boot, Vec::new())
    }

    /// A measurement whose first `without` cells have no interval, in so many boots.
    fn measured(without: usize, boots: u64) -> Measurement {
        let mut measurement = fixture::measurement();
        measurement.config.boots = boots;
        for cell in measurement.cells.iter_mut().take(without) {
            cell.blocks = (0..boots).map(|boot| block(u32::try_from(boot).unwrap())).collect();
            cell.metrics.values_mut().for_each(|metric| metric.ci95 = Intervals { p50: None, p99: None });
        }
        measurement
    }

    #[test]
    fn of_the_standalone_image_another_boot_is_the_way_out() {
        let mut run = measured(usize::MAX, 1);
        run.host.standalone = fixture::standalone().host.standalone;
        let told = answer(&run).unwrap();
        assert!(
            told.ends_with("there were 1 (a log may hold all boots of a run: boot the image 5 times or more)"),
            "{told}"
        );
        let run = Measurement { host: run.host, ..measured(0, 5) };
        assert_eq!(answer(&run).as_deref(), Some("of this run only"));
    }

    #[test]
    fn intervals_are_of_a_run_unless_runs_were_compared() {
        let mut measurement = measured(0, 10);
        assert_eq!(answer(&measurement).unwrap(), "of this run only; --calibrate adds how much runs differ");
        measurement.config.repetitions = 10;
        assert_eq!(answer(&measurement).unwrap(), "of this run only: no cell had an interval in every repetition");
        for runs in [3, 11] {
            measurement.intervals = IntervalScope::BetweenRuns;
            let between = BetweenRuns { runs, p50: Some(1.0), p99: None, scale: Scale::Logarithm, of_runs: Vec::new() };
            let metrics = measurement.cells.iter_mut().flat_map(|cell| cell.metrics.values_mut());
            metrics.for_each(|metric| metric.between_runs = Some(between.clone()));
            let line = answer(&measurement).unwrap();
            assert!(
                line.starts_with(&format!("between runs: widened by how much {runs} runs differed (--calibrate)")),
                "{line}"
            );
            assert_eq!(line.ends_with("so few runs make them wide"), runs == 3, "{line}");
        }
        measurement.cells[0].metrics.get_mut(&MetricName::RoundTrip).unwrap().between_runs = None;
        assert!(answer(&measurement).unwrap().ends_with("; 1 metric has that of this run only"));
        measurement.cells.clear();
        assert_eq!(answer(&measurement), None);
    }

    #[test]
    fn it_is_said_why_there_is_none() {
        let all = |boots| measured(usize::MAX, boots);
        let needs = "none: an interval needs blocks of 5 boots, and there were";
        assert_eq!(answer(&all(1)).unwrap(), format!("{needs} 1 (--boots 5 or more)"));
        let mut few_rounds = all(3);
        few_rounds.config.rounds = 3;
        assert_eq!(answer(&few_rounds).unwrap(), format!("{needs} 3 (--rounds 5 or more)"));
        few_rounds.config.boots = 1;
        assert!(answer(&few_rounds).unwrap().ends_with(" (--rounds 5 --boots 5, or more of each)"));
        let partial = Measurement { partial: true, ..all(2) };
        assert_eq!(answer(&partial).unwrap(), format!("{needs} 2"), "nothing helps but to let it end");
    }

    #[test]
    fn a_boot_of_blocks_that_are_measured_again_is_none_that_was_asked_for() {
        let mut run = measured(usize::MAX, 1);
        let disturbed = |number, boot| fixture::block(number, boot, vec![fixture::disturbance()]);
        for cell in &mut run.cells {
            let again = |number| fixture::block(number, number + 1, Vec::new());
            cell.blocks = vec![block(0), disturbed(1, 0), disturbed(2, 0), again(1), again(2)];
        }
        assert!(answer(&run).unwrap().ends_with("and there were 1 (--boots 5 or more)"));
        for cell in &mut run.cells {
            cell.blocks = (0..5).map(|boot| disturbed(boot, boot)).collect();
            cell.blocks.extend((0..5).map(|number| fixture::block(number, 5, Vec::new())));
        }
        assert!(answer(&run).unwrap().contains("and there were 1"), "what counts is of the one");
    }

    #[test]
    fn the_cells_without_one_are_named() {
        let mut measurement = measured(1, 4);
        measurement.config.boots = 10;
        let line = answer(&measurement).unwrap();
        let expected = "; x2apic spin has none: an interval needs blocks of 5 boots, and there were 4";
        assert!(line.ends_with(expected), "{line}");
    }
}
