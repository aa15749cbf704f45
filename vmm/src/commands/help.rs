//! The help: in short what there is (`-h`), and in full with examples and exit statuses (`--help`, `kipi help COMMAND`).

use super::Cli;
use super::status::Status;
use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write as _;

/// An example, and what it is for.
type Example = (&'static str, &'static str);

/// The examples of each command, kipi's own first: those of `measure`.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "measure",
        &[
            ("kipi", "the three routes that most guests have, in three states, on the CPUs that there are"),
            (
                "kipi --route all --seconds 60",
                "every route that this host offers, in a minute; the others are named with the reason",
            ),
            ("kipi --vcpus 2-8,all --target-state halt --wait spin,park", "how it grows, polling and sleeping"),
            ("kipi --rounds 10k --json run.json --csv samples.csv --quiet", "for scripts: all of it into files"),
            ("kipi measure --ab halt-poll=0,200k", "two settings in turns: which is faster"),
        ],
    ),
    (
        "trace",
        &[
            ("kipi trace", "one call to halted vCPUs as a timeline"),
            (
                "kipi trace --route xapic --rounds 50 --perfetto call.json",
                "the median and the worst of 50, for ui.perfetto.dev",
            ),
        ],
    ),
    (
        "check",
        &[
            ("kipi check", "every test but the hostile guests"),
            ("kipi check --filter contract/ --skip nmi", "those whose names contain one text, and not another"),
            ("kipi check --soak 60 --format tap", "an hour under random disturbances, for prove"),
            ("kipi check --format json --quiet", "one document"),
        ],
    ),
    (
        "doctor",
        &[
            ("kipi doctor", "which routes this host has, and why not"),
            ("kipi doctor --vcpus 64 --json", "the same for 64 vCPUs, as a document"),
        ],
    ),
    (
        "compare",
        &[
            ("kipi compare base/ --new new/ --expect kernel", "runs under two kernels"),
            ("kipi compare base/ --new new.json --gate p99=20% --format junit", "for CI, tails included"),
        ],
    ),
    ("history", &[("kipi history runs/ --html history.html", "a page with each cell's course")]),
    (
        "image",
        &[
            ("kipi image kipi.elf", "for QEMU -kernel, Firecracker, cloud-hypervisor, GRUB"),
            (
                "kipi image --format iso kipi.iso route=x2apic state=halt rounds=500",
                "a disc that measures this by itself",
            ),
        ],
    ),
    ("import", &[("kipi import serial.log --json run.json", "a log's table, and its document")]),
    (
        "bisect-step",
        &[("kipi bisect-step --base good/ -- measure --route x2apic", "a step of git bisect run, judged by one route")],
    ),
];

/// The options of kipi and its commands, with the examples and statuses in their help, and what is short in the short one.
pub fn command() -> Command {
    let mut command = Cli::command().mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        with_more(subcommand, &name)
    });
    command = with_more(command, "measure");
    command.after_help("'kipi help' and 'kipi help COMMAND' say more, with examples and exit statuses")
}

fn with_more(command: Command, name: &str) -> Command {
    command.mut_args(in_short).after_long_help(more(name))
}

/// An option whose short help is the first part of what is said about it.
fn in_short(option: Arg) -> Arg {
    let Some(help) = option.get_help().map(StyledStr::to_string) else { return option };
    let long = option.get_long_help().map_or_else(|| help.clone(), StyledStr::to_string);
    option.help(first_part(&help).to_owned()).long_help(long)
}

/// A text up to where it begins to explain: the end of a sentence, a colon, a bracket.
fn first_part(text: &str) -> &str {
    let ends = [". ", ": ", "; ", " [", " ("].into_iter().filter_map(|mark| text.find(mark));
    &text[..ends.min().unwrap_or(text.len())]
}

/// What stands below the options in the long help of a command.
fn more(name: &str) -> String {
    let mut text = String::new();
    let examples = EXAMPLES.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, examples)| examples);
    if !examples.is_empty() {
        text.push_str("Examples:\n");
    }
    for (line, what) in examples {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {line}\n          {what}");
    }
    text.push_str("\nExit status:\n");
    for status in Status::of_command(name) {
        let _ = writeln!(text, "  {:>3}  {}", *status as u8, status.about());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_example_is_a_command_line() {
        for (name, examples) in EXAMPLES {
            for (line, _) in *examples {
                let words = shlex::split(line).expect("words");
                let cli = command().try_get_matches_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
                assert!(cli.subcommand_name().unwrap_or("measure") == *name, "{line} is no example of {name}");
            }
        }
    }

    #[test]
    fn every_command_has_examples_and_says_its_statuses() {
        let mut command = command();
        let names: BTreeSet<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        let of: BTreeSet<String> = EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names, of);
        for name in &names {
            let subcommand = command.find_subcommand_mut(name).expect("its name");
            let (short, long) = (subcommand.render_help().to_string(), subcommand.render_long_help().to_string());
            assert!(long.contains("Examples:\n") && long.contains("Exit status:\n    0  "), "{long}");
            assert!(!short.contains("Examples:"), "{short}");
        }
        assert!(command.render_long_help().to_string().contains("kipi --route all --seconds 60"));
    }

    #[test]
    fn the_short_help_is_short() {
        assert_eq!(first_part("What runs on every vCPU: stamp is empty, spin is busy"), "What runs on every vCPU");
        assert_eq!(first_part("Print JSON"), "Print JSON");
        let mut command = command();
        let [short, long] = [command.render_help(), command.render_long_help()].map(|help| help.to_string().len());
        assert!(3 * short < 2 * long, "{short} and {long} characters");
    }
}
