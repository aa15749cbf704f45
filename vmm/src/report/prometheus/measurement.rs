//! A measurement as gauges: one for each statistic of a metric, with a sample for each cell.

use super::{Gauge, Labels, encode, labels, truth};
use crate::results::exits::Exits;
use crate::results::integrity::Integrity;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::{Metric, MetricName, Unit};
use crate::results::quiet::{Quiet, Verdict};
use crate::results::times::Times;
use std::fmt;

/// The document.
///
/// # Errors
/// None but the formatter's own.
pub fn render(measurement: &Measurement) -> Result<String, fmt::Error> {
    let cells = &measurement.cells;
    let mut gauges = of_run(measurement);
    gauges.extend(of_cells(cells));
    for &metric in MetricName::ALL {
        gauges.extend(Statistic::ALL.map(|statistic| of_metric(cells, metric, statistic)));
    }
    gauges.push(of_exits(cells));
    gauges.push(of_exit_costs(measurement));
    encode(gauges)
}

fn of_run(measurement: &Measurement) -> Vec<Gauge> {
    let host = &measurement.host;
    let facts = vec![
        ("kipi", host.kipi.clone()),
        ("kernel", host.kernel.clone()),
        ("cpu", host.cpu.clone()),
        ("microcode", host.microcode.clone().unwrap_or_default()),
        ("kvm", host.kvm.join(",")),
        ("nested", host.nested.to_string()),
        ("sandbox", measurement.sandbox.as_ref().map_or_else(String::new, |sandbox| sandbox.state.name().to_owned())),
    ];
    let quiet = |count: fn(&Quiet) -> u64| -> Vec<(Labels, f64)> {
        measurement.quiet.iter().map(|quiet| (Labels::new(), count(quiet) as f64)).collect()
    };
    vec![
        Gauge::new("kipi_run_info", "Where it was measured, and by which kipi; always 1", vec![(facts, 1.0)]),
        Gauge::new(
            "kipi_run_start_timestamp_seconds",
            "When the run began",
            measurement.started.map(|started| (Labels::new(), started)).into_iter().collect(),
        ),
        Gauge::single(
            "kipi_run_partial",
            "Whether the run was interrupted or failed, and cells hold what was measured until then",
            truth(measurement.partial),
        ),
        Gauge::single(
            "kipi_run_skipped_cells",
            "Combinations that were asked for and cannot be measured on this host",
            measurement.skipped.len() as f64,
        ),
        Gauge::new(
            "kipi_run_quiet",
            "Whether the machine was quiet: 1 for the verdict that holds; not_known: it does not tell when threads wait for a CPU",
            measurement.quiet.iter().flat_map(verdicts).collect(),
        ),
        Gauge::new("kipi_run_blocks", "Blocks that were measured, repeated ones included", quiet(|it| it.blocks)),
        Gauge::new("kipi_run_disturbed_blocks", "Those of them that were disturbed", quiet(|it| it.disturbed)),
    ]
}

fn verdicts(quiet: &Quiet) -> impl Iterator<Item = (Labels, f64)> {
    let holds = |&verdict: &Verdict| (vec![("verdict", verdict.name().to_owned())], truth(verdict == quiet.verdict));
    Verdict::ALL.iter().map(holds)
}

fn of_cells(cells: &[Cell]) -> Vec<Gauge> {
    let of_each = |value: fn(&Cell) -> f64| cells.iter().map(|cell| (labels(&cell.id), value(cell))).collect();
    vec![
        Gauge::new("kipi_rounds", "Rounds that count", of_each(|cell| cell.rounds as f64)),
        Gauge::new(
            "kipi_never_quiet",
            "Whether too few of the cell's blocks were undisturbed: its figures are made of disturbed ones, too; kipi_run_quiet says \
             whether 0 can be trusted",
            of_each(|cell| truth(cell.never_quiet)),
        ),
        Gauge::new("kipi_wrong_calls", "Calls that went wrong", cells.iter().flat_map(wrong_calls).collect()),
        Gauge::new(
            "kipi_round_trip_times_native_ratio",
            "Round trip in that of the same call on the host's own processors, without a virtual machine",
            cells.iter().filter_map(|cell| times(cell, cell.times_native(MetricName::RoundTrip))).collect(),
        ),
        Gauge::new(
            "kipi_round_trip_times_own_vmm_ratio",
            "Round trip of a cell under another VMM in that of the same cell under kipi's own",
            cells.iter().filter_map(|cell| times(cell, cell.times_own_vmm(MetricName::RoundTrip))).collect(),
        ),
    ]
}

fn wrong_calls(cell: &Cell) -> [(Labels, f64); 4] {
    let Integrity { lost, duplicate, late, timed_out } = cell.integrity;
    [("lost", lost), ("duplicate", duplicate), ("late", late), ("timed-out", timed_out)]
        .map(|(fault, count)| (with(cell, [("fault", fault)]), count as f64))
}

fn times(cell: &Cell, times: Option<&Times>) -> Option<(Labels, f64)> {
    Some((labels(&cell.id), times?.ratio?))
}

/// What a gauge takes of a metric.
#[derive(Debug, Clone, Copy)]
enum Statistic {
    P50,
    P50Lower,
    P50Upper,
    P99,
    Max,
}

impl Statistic {
    const ALL: [Self; 5] = [Self::P50, Self::P50Lower, Self::P50Upper, Self::P99, Self::Max];

    const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P50Lower => "p50_lower",
            Self::P50Upper => "p50_upper",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::P50 => "median",
            Self::P50Lower => "lower end of the median's 95 % interval",
            Self::P50Upper => "upper end of the median's 95 % interval",
            Self::P99 => "99th percentile",
            Self::Max => "largest",
        }
    }

    fn of(self, metric: &Metric) -> Option<f64> {
        match self {
            Self::P50 => Some(metric.p50),
            Self::P50Lower => metric.ci95.p50.map(|[low, _]| low),
            Self::P50Upper => metric.ci95.p50.map(|[_, high]| high),
            Self::P99 => Some(metric.p99),
            Self::Max => Some(metric.max),
        }
    }
}

fn of_metric(cells: &[Cell], name: MetricName, statistic: Statistic) -> Gauge {
    let (unit, divisor) = match name.unit() {
        Unit::Ns => ("seconds", 1e9),
        Unit::NsPerVcpu => ("seconds_per_vcpu", 1e9),
        Unit::Ratio => ("ratio", 1.0),
    };
    let value = |cell: &Cell| Some((labels(&cell.id), statistic.of(cell.metrics.get(&name)?)? / divisor));
    Gauge::new(
        format!("kipi_{}_{}_{unit}", name.name(), statistic.name()),
        format!("{}: {}", about(name), statistic.about()),
        cells.iter().filter_map(value).collect(),
    )
}

/// What a metric is, in the words of the guide.
const fn about(metric: MetricName) -> &'static str {
    match metric {
        MetricName::SendCost => "How long the send takes the initiator",
        MetricName::Delivery => "From before the send to a target's interrupt entry",
        MetricName::ArrivalSkew => "Latest less earliest arrival of the targets",
        MetricName::StartSkew => "Latest less earliest start of the worker",
        MetricName::StartBarrier => "From the last arrival to the last start of the worker",
        MetricName::Overlap => "How much of the workers' time all of them ran at once",
        MetricName::RoundTrip => "From before the send until the initiator has seen every worker's end",
        MetricName::VmmStartSkew => "Start skew by the VMM's stamps",
        MetricName::SkewSlope => "How much later a target arrives for each step of its index",
        MetricName::ObservedExit => "From a worker's start to the VMM's stamp in its exit",
        MetricName::SkewGap => "Start skew by the VMM's stamps less that by the guest's",
        MetricName::KernelDelivery => "From the send's exit to the last entry before the arrival",
        MetricName::DeliveryGap => "Delivery less the kernel's share of it",
        MetricName::Halted => "How long a target had been halted before the send",
        MetricName::Away => "From before the send until a target that was out could enter the guest again",
        MetricName::Reentry => "From then until the target's interrupt entry",
    }
}

fn of_exits(cells: &[Cell]) -> Gauge {
    let of_exits = |cell: &Cell, exits: &Exits| {
        let of = |role, count| {
            (with(cell, [("source", exits.source.name()), ("reason", &exits.reason), ("role", role)]), count)
        };
        [of("initiator", exits.initiator), of("target", exits.per_target)]
    };
    let samples = cells.iter().flat_map(|cell| cell.exits.iter().flat_map(move |exits| of_exits(cell, exits)));
    Gauge::new("kipi_exits_per_call", "Exits a call, on the initiator's vCPU and on each target's", samples.collect())
}

fn of_exit_costs(measurement: &Measurement) -> Gauge {
    let costs = measurement.exit_costs.iter().filter_map(|it| {
        let labels = vec![
            ("act", it.act.name().to_owned()),
            ("local_apic", it.local_apic.name().to_owned()),
            ("vcpus", it.vcpus.to_string()),
        ];
        Some((labels, it.cost.as_ref()?.p50 / 1e9))
    });
    Gauge::new("kipi_exit_cost_p50_seconds", "What one instruction that exits costs: median", costs.collect())
}

fn with<const N: usize>(cell: &Cell, more: [(&'static str, &str); N]) -> Labels {
    let mut labels = labels(&cell.id);
    labels.extend(more.map(|(name, value)| (name, value.to_owned())));
    labels
}

#[cfg(test)]
mod tests;
