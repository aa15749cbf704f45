//! Where the measurement was taken, and what a reader must know about it.

use crate::report::summary::{facts, machine, products, standalone};
use crate::results::measurement::{Measurement, Skipped};
use maud::{Markup, html};

/// What is asked before numbers are trusted.
pub(super) fn trust(measurement: &Measurement) -> Markup {
    html! { dl { @for fact in facts(measurement) { dt { (fact.label) } dd { (fact.text) } } } }
}

/// The host, and what was asked for.
pub(super) fn host(measurement: &Measurement) -> Markup {
    let host = &measurement.host;
    let cpus: Vec<String> = host.cpus.iter().map(ToString::to_string).collect();
    html! {
        section aria-labelledby="host" {
            h2 #host { "Host" }
            dl {
                @if let Some((run, platform)) = host.standalone.as_ref().zip(host.standalone_platform()) {
                    dt { "Platform" } dd { (platform) }
                    @for fact in standalone(run) { dt { (fact.label) } dd { (fact.text) } }
                } @else {
                    dt { "Kernel" } dd { "Linux " (host.kernel) }
                    dt { "KVM" } dd { (host.kvm.join(", ")) @if host.nested { ", nested: this machine is virtual" } }
                }
                dt { "Processor" } dd { (host.cpu) ", CPUs " (cpus.join(", ")) }
                @if host.standalone.is_none() { @for fact in machine(host) { dt { (fact.label) } dd { (fact.text) } } }
                @for (name, value) in &host.settings { dt { (name) } dd { (value) } }
                dt { "Rounds" } dd {
                    (measurement.config.rounds) " of each cell, " (measurement.config.warmup) " before each block thrown away"
                }
                dt { "Worker" } dd { (measurement.config.worker) }
            }
        }
    }
}

/// The warnings, and what was not measured, by reason.
pub(super) fn warnings(measurement: &Measurement) -> Markup {
    html! {
        section aria-labelledby="warnings" {
            h2 #warnings { "Warnings" }
            @if measurement.warnings.is_empty() && measurement.skipped.is_empty() { p { "None." } }
            ul {
                @for warning in &measurement.warnings { li { (warning) } }
                @for (reason, combinations) in Skipped::by_reason(&measurement.skipped) {
                    li { "Not measured: " (reason) ul { @for product in products(&combinations) { li { (product) } } } }
                }
            }
        }
    }
}
