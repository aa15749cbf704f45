//! How often `kipi compare` is wrong, and what it finds: `just bench-errors`, or `cargo bench -p kipi --bench error_rates --
//! [--pairs N] [--data DIR [--planted DIR]]..`.
//!
//! Without `--data`, on runs that are made up, whose truth is known: 10,000 pairs of sets for each kind of host. With it, on runs of one
//! and the same thing that were measured in a row (`kipi measure --json DIR/run-0001.json`, and so on): all windows of 5 and of 10 runs and
//! as many right behind them. Those that slide overlap, and are many but not independent; of the disjoint ones, Clopper and Pearson's
//! interval holds. `--planted` names runs that were measured in turns with these, one by one, and of which some cells were lengthened
//! (`kipi measure --inject delay=5%:x2apic --json DIR/run-0001.json`): each window's new side is taken from them. Without it, 5 % are
//! added to the figures of the documents.
//!
//! | number | what it is | goal |
//! | --- | --- | --- |
//! | wrong | comparisons of the same thing in which any cell is called slower or faster, or a finding is worse | at most 1 % |
//! | moved | those in which a reference is called slower or faster | at most 1 % |
//! | same | cells of these that are called the same | |
//! | found | cells called slower where their time was lengthened, and not the reference's | 95 % with 10 a side |
//! | steps | the same for `kipi bisect-step`, which looks at 3, 5, 8, 12 and 20 new runs beside 10 of the base | at most 1 % wrong |
//! | raw | cells of these, as they were, of which the 95 % intervals of two successive runs' medians have nothing in common | |
//!
//! Being off a goal never fails the benchmark, being unable to run does.

#[path = "../chance/mod.rs"]
mod chance;
mod hosts;
mod pairs;
mod series;
mod steps;

use anyhow::Context;
use guest_stub::random::SplitMix64;
use hosts::HOSTS;
use kipi::results::measurement::Measurement;
use pairs::Count;
use series::Series;
use std::process::ExitCode;

/// Pairs of made-up sets of each kind.
const PAIRS: usize = 10_000;

/// Runs a side.
const SIZES: [usize; 2] = [5, 10];

/// A document of which made-up runs are copies: what they do not change is not compared.
const TEMPLATE: &str = include_str!("template.json");

fn main() -> ExitCode {
    let (mut pairs, mut series, mut asked) = (PAIRS, Vec::<Series>::new(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => asked = true,
            "--pairs" => {
                let count = arguments.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                let Some(count) = count else {
                    eprintln!("error_rates: --pairs takes a number from 1");
                    return ExitCode::from(2);
                };
                pairs = count;
            }
            "--data" => series.extend(arguments.next().map(|it| Series { runs: it.into(), planted: None })),
            "--planted" => {
                let (planted, last) = (arguments.next(), series.last_mut());
                let Some((planted, last)) = planted.zip(last) else {
                    eprintln!("error_rates: --planted takes a directory, behind --data");
                    return ExitCode::from(2);
                };
                last.planted = Some(planted.into());
            }
            other => {
                eprintln!("error_rates: there is no option {other}");
                return ExitCode::from(2);
            }
        }
    }
    if !asked {
        println!("SKIP: `cargo bench` runs this, `cargo test` does not (--bench was not passed)");
        return ExitCode::SUCCESS;
    }
    let done = if series.is_empty() {
        made_up(pairs).and_then(|()| steps::made_up(pairs.div_ceil(5)))
    } else {
        series.iter().try_for_each(series::compare_windows)
    };
    done.map_or_else(
        |error| {
            eprintln!("error_rates: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn made_up(pairs: usize) -> anyhow::Result<()> {
    let template = template()?;
    println!("made-up runs, {pairs} pairs of each kind");
    pairs::print_head();
    for host in &HOSTS {
        for size in SIZES {
            let mut random = SplitMix64(size as u64);
            let mut count = Count::default();
            for _ in 0..pairs {
                let runs = host.runs(&template, 2 * size, &mut random);
                let (base, new) = runs.split_at(size);
                count.add(base, new);
            }
            count.print(&format!("{}, {size} a side", host.name), false);
        }
    }
    Ok(())
}

fn template() -> anyhow::Result<Measurement> {
    serde_json::from_str(TEMPLATE).context("the template")
}
