//! The comparison as gauges, for the node exporter's textfile collector.

use super::text::quantile;
use crate::report::prometheus::{Gauge, Labels, encode, labels, truth};
use crate::results::comparison::finding::FindingKind;
use crate::results::comparison::gate::Gate;
use crate::results::comparison::row::{Change, Row};
use crate::results::comparison::side::{Hosts, Outlier, Side, SideHost};
use crate::results::comparison::{Comparison, Overall, Verdict};
use crate::results::sandbox::State;
use std::fmt;

/// The document.
pub(super) fn render(comparison: &Comparison) -> Result<String, fmt::Error> {
    let mut gauges = of_whole(comparison);
    gauges.extend(of_rows(comparison));
    gauges.extend(of_gates(comparison));
    gauges.push(of_outliers(comparison));
    encode(gauges)
}

fn of_whole(comparison: &Comparison) -> Vec<Gauge> {
    let verdict =
        |verdict: Overall| (vec![("verdict", verdict.name().replace(' ', "-"))], truth(verdict == comparison.verdict));
    let sides = [("base", &comparison.base), ("new", &comparison.new)];
    let runs =
        sides.iter().flat_map(|(name, side)| side.hosts.iter().map(|host| (of_host(name, host), host.runs as f64)));
    let worse = |kind: &FindingKind| {
        let number = comparison.worse_findings().filter(|finding| finding.kind == *kind).count();
        (vec![("kind", kind.name().replace(' ', "-"))], number as f64)
    };
    vec![
        Gauge::new(
            "kipi_compare_verdict",
            "What the comparison came to: 1 for its verdict, 0 for the others",
            Overall::ALL.iter().map(|&it| verdict(it)).collect(),
        ),
        Gauge::new("kipi_compare_runs", "Runs of a side, by host", runs.collect()),
        Gauge::new(
            "kipi_compare_sandbox_runs",
            "Runs of a side, by whether the sandbox was on, as far as their documents say it",
            sides
                .iter()
                .flat_map(|(name, side)| State::ALL.iter().map(|&state| of_sandbox(name, side, state)))
                .collect(),
        ),
        Gauge::single("kipi_compare_undecided", "Rows and tails that are undecided", comparison.undecided as f64),
        Gauge::new(
            "kipi_compare_worse_findings",
            "What changed for the worse and is no time",
            FindingKind::ALL.iter().map(worse).collect(),
        ),
    ]
}

fn of_host(side: &str, host: &SideHost) -> Labels {
    let SideHost { cpu, kernel, kvm, kipi, standalone: _, runs: _ } = host;
    vec![
        ("side", side.to_owned()),
        ("cpu", cpu.clone()),
        ("kernel", kernel.clone()),
        ("kvm", kvm.join(",")),
        ("kipi", kipi.clone()),
    ]
}

fn of_sandbox(name: &str, side: &Side, state: State) -> (Labels, f64) {
    let runs: u64 = side.sandboxes.iter().filter(|sandbox| sandbox.state == state).map(|sandbox| sandbox.runs).sum();
    (vec![("side", name.to_owned()), ("sandbox", state.name().to_owned())], runs as f64)
}

/// The hosts that a row or a tail is about, where there are several kinds of them.
fn of_kind(hosts: Option<&Hosts>) -> Labels {
    let of = |hosts: &Hosts| {
        let kernel = hosts.kernel.iter().map(|kernel| ("kernel", kernel.clone()));
        [("cpu", hosts.cpu.clone())].into_iter().chain(kernel).collect()
    };
    hosts.map_or_else(Vec::new, of)
}

fn of_outliers(comparison: &Comparison) -> Gauge {
    let sample = |(side, outlier): (&'static str, &Outlier)| {
        let Outlier { file, cpu, kernel, id, change, group: _ } = outlier;
        let mut labels = labels(id);
        labels.extend([("side", side.to_owned()), ("file", file.clone())]);
        labels.extend([("cpu", cpu.clone()), ("kernel", kernel.clone())]);
        (labels, *change)
    };
    Gauge::new(
        "kipi_compare_outlier_ratio",
        "How much more a run's cell is than the median of its kind, of runs that are not as the others",
        comparison.outliers().map(sample).collect(),
    )
}

fn of_rows(comparison: &Comparison) -> Vec<Gauge> {
    let rows = [("cell", &comparison.cells), ("reference", &comparison.references)];
    let of = |name: &str, help: &str, value: &dyn Fn(&Row) -> Option<f64>| {
        let samples = rows.iter().flat_map(|(role, rows)| {
            rows.iter().filter_map(move |row| {
                let mut labels = labels(&row.id);
                labels.extend(of_kind(row.hosts.as_ref()));
                labels.extend([("metric", row.metric.name().to_owned()), ("role", (*role).to_owned())]);
                Some((labels, value(row)?))
            })
        });
        Gauge::new(format!("kipi_compare_{name}"), help, samples.collect())
    };
    let end = |index: usize| move |change: Change| change.interval.map(|ends| ends[index]);
    vec![
        of("base_seconds", "Median of the base's runs' medians", &|row| Some(row.base_ns / 1e9)),
        of("new_seconds", "Median of the new side's runs' medians", &|row| Some(row.new_ns / 1e9)),
        of("raw_change_ratio", "Change of the time, 0.05 being 5 % more", &|row| Some(row.raw.estimate)),
        of("change_ratio", "Change of the time divided by its reference's, if it has one", &|row| {
            Some(row.judged().estimate)
        }),
        of("change_lower_ratio", "Lower end of that change's interval", &|row| end(0)(row.judged())),
        of("change_upper_ratio", "Upper end of that change's interval", &|row| end(1)(row.judged())),
        of("slower", "Whether the row is slower", &|row| Some(truth(row.verdict == Verdict::Slower))),
    ]
}

fn of_gates(comparison: &Comparison) -> Vec<Gauge> {
    let of = |name: &str, help: &str, value: &dyn Fn(&Gate) -> Option<f64>| {
        let samples = comparison.gates.iter().filter_map(|gate| {
            let mut labels = labels(&gate.id);
            labels.extend(of_kind(gate.hosts.as_ref()));
            labels.push(("tail", quantile(gate.quantile)));
            Some((labels, value(gate)?))
        });
        Gauge::new(format!("kipi_compare_tail_{name}"), help, samples.collect())
    };
    vec![
        of("beyond_ratio", "Share of the new side's rounds beyond the bound", &|gate| {
            (gate.rounds > 0).then(|| gate.beyond as f64 / gate.rounds as f64)
        }),
        of("allowed_ratio", "Share that may be", &|gate| Some(gate.allowed)),
        of("slower", "Whether more are", &|gate| Some(truth(gate.verdict == Verdict::Slower))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::prometheus::reader::read;
    use crate::results::comparison::fixture::comparison;
    use std::collections::BTreeMap;

    #[test]
    fn every_row_and_tail_has_its_samples() {
        let families: BTreeMap<_, _> =
            read(&render(&comparison()).unwrap()).into_iter().map(|family| (family.name.clone(), family)).collect();
        let sum = |name: &str| families[name].samples.iter().map(|sample| sample.value).sum::<f64>().to_string();
        let rows = comparison().cells.len() + comparison().references.len();
        assert_eq!(families["kipi_compare_change_ratio"].samples.len(), rows);
        for (name, expected) in [
            ("kipi_compare_slower", "1"),
            ("kipi_compare_tail_slower", "1"),
            ("kipi_compare_undecided", "3"),
            ("kipi_compare_runs", "20"),
            ("kipi_compare_sandbox_runs", "20"),
            ("kipi_compare_worse_findings", "4"),
            ("kipi_compare_verdict", "1"),
        ] {
            assert_eq!(sum(name), expected, "{name}");
        }
        let verdict = families["kipi_compare_verdict"].samples.iter().find(|sample| sample.value > 0.5).unwrap();
        assert_eq!(verdict.labels["verdict"], "worse");
        let sandboxes = &families["kipi_compare_sandbox_runs"].samples;
        let on = sandboxes.iter().filter(|sample| sample.labels["sandbox"] == "on" && sample.value > 9.5).count();
        assert_eq!((sandboxes.len(), on), (6, 2), "each state of each side");
    }
}
