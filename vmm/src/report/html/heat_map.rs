//! Median delivery by initiator and target, in the order of the machine's topology.

use super::cell::of_deliveries;
use crate::config;
use crate::report::units;
use crate::results::count::count;
use crate::results::distance::Label;
use crate::results::initiators::{ByInitiator, DeliveryTo};
use crate::results::measurement::{Cell, Measurement};
use crate::results::topology::{Level, Topology};
use crate::statistics::order::{Observation, Quantile, Sample};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// Where the vCPUs' threads run.
struct Places<'m> {
    topology: &'m Topology,
    pin: &'m [usize],
}

impl Places<'_> {
    fn cpu(&self, vcpu: usize) -> Option<usize> {
        config::cpu_of(self.pin, vcpu)
    }

    fn label(&self, one: usize, other: usize) -> Option<Label> {
        Some(self.topology.label(self.cpu(one)?, self.cpu(other)?))
    }

    /// These vCPUs so that those are neighbours whose CPUs share most.
    fn in_order(&self, vcpus: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut vcpus: Vec<usize> = vcpus.collect::<BTreeSet<_>>().into_iter().collect();
        vcpus.sort_by_key(|&vcpu| self.cpu(vcpu).map(|cpu| self.topology.place(cpu)));
        vcpus
    }

    /// The groups of each level from the outermost to this one that a vCPU is in.
    fn groups(&self, vcpu: usize, level: Level) -> Vec<Option<usize>> {
        let cpu = self.cpu(vcpu);
        let outer = Level::ALL.into_iter().take_while(|outer| *outer != level).chain([level]);
        outer.map(|outer| self.topology.group_of(outer, cpu?)).collect()
    }

    /// The levels that divide these vCPUs, in order, into parts of which some has several; each into more than the one around it.
    fn dividing(&self, vcpus: &[usize]) -> Vec<Level> {
        let parts = |level| vcpus.chunk_by(|one, next| self.groups(*one, level) == self.groups(*next, level)).count();
        let mut most = 1;
        let mut divides = |level: &Level| {
            let parts_of_level = parts(*level);
            // An L2 for each core goes without saying.
            let is_usual = *level == Level::L2 && parts_of_level == parts(Level::Core);
            let is_finer = parts_of_level > most && parts_of_level < vcpus.len() && !is_usual;
            if is_finer {
                most = parts_of_level;
            }
            is_finer
        };
        Level::ALL.into_iter().filter(|level| divides(level)).collect()
    }
}

/// The deeper, the longer; nothing without several initiators.
pub(super) fn heat_map(measurement: &Measurement, cell: &Cell) -> Markup {
    let all = || cell.by_initiator.iter().flat_map(|from| from.targets.iter());
    if all().next().is_none() {
        return html! {};
    }
    let places = Places { topology: &measurement.host.topology, pin: &measurement.config.pin };
    let columns = places.in_order(all().map(|target| target.vcpu));
    let order = places.in_order(cell.by_initiator.iter().map(|from| from.initiator));
    let rows: Vec<&ByInitiator> =
        order.iter().filter_map(|vcpu| cell.by_initiator.iter().find(|from| from.initiator == *vcpu)).collect();
    let levels = places.dividing(&columns);
    // Whether a vCPU and the one before it are in different groups of the innermost of these levels, or of one around it.
    let is_edge = |vcpus: &[usize], at: usize| {
        let differs = |&level: &Level| places.groups(vcpus[at - 1], level) != places.groups(vcpus[at], level);
        at > 0 && levels.last().is_some_and(differs)
    };
    let medians = || all().map(|target| target.p50_ns);
    let (low, high) = (medians().fold(f64::INFINITY, f64::min), medians().fold(f64::NEG_INFINITY, f64::max));
    let heat = |p50: f64| if high > low { 10.0 + 60.0 * (p50 - low) / (high - low) } else { 10.0 };
    let value = |from: usize, to: &DeliveryTo, edge: bool| {
        html! {
            td.edge[edge] data-from=(from) data-to=(to.vcpu) data-value=(to.p50_ns)
                title=[places.label(from, to.vcpu)]
                style={ "background: color-mix(in srgb, var(--s0) " (format!("{:.0}", heat(to.p50_ns))) "%, var(--paper))" }
                { (units::bounded(to.p50_ns, of_deliveries(cell))) }
        }
    };
    let title = "Median delivery by initiator and target";
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table.heat {
                caption {
                    (title) ", " (count(rows[0].rounds, "round")) " each"
                    @if rows.len() < cell.id.vcpus { ", of " (count(rows.len(), "initiator")) }
                    @if !levels.is_empty() { ". Neighbours share most, and lines are between those that share less" }
                    @if rows.iter().any(|row| !row.disturbances.is_empty()) {
                        ". Something disturbed the blocks of those that are marked as disturbed, measured again once"
                    }
                }
                thead {
                    @for level in &levels { (headings(&places, *level, &columns)) }
                    tr {
                        th scope="col" {}
                        @for (at, &vcpu) in columns.iter().enumerate() {
                            th.n.edge[is_edge(&columns, at)] scope="col" { "to vCPU " (vcpu) (on_cpu(&places, vcpu)) }
                        }
                    }
                }
                tbody { @for (at, row) in rows.iter().enumerate() { tr.edge[is_edge(&order, at)] {
                    th scope="row" {
                        "from vCPU " (row.initiator) @if !row.disturbances.is_empty() { " (disturbed)" }
                        (on_cpu(&places, row.initiator))
                    }
                    @for (at, &vcpu) in columns.iter().enumerate() { @match row.targets.iter().find(|to| to.vcpu == vcpu) {
                        Some(target) => (value(row.initiator, target, is_edge(&columns, at))),
                        None => td.edge[is_edge(&columns, at)] { "–" },
                    } }
                } } }
            }
        }
        (by_label(&places, cell))
    }
}

/// A line of headings: the groups of a level, each over the columns of its vCPUs.
fn headings(places: &Places<'_>, level: Level, columns: &[usize]) -> Markup {
    let group = |vcpu: usize| places.cpu(vcpu).and_then(|cpu| places.topology.group_of(level, cpu));
    html! {
        tr {
            th scope="col" {}
            @for part in columns.chunk_by(|one, next| places.groups(*one, level) == places.groups(*next, level)) {
                th.edge scope="colgroup" colspan=(part.len()) {
                    @match group(part[0]) { Some(group) => { (level.name()) " " (group) }, None => { "no " (level.name()) } }
                }
            }
        }
    }
}

fn on_cpu(places: &Places<'_>, vcpu: usize) -> Markup {
    html! { @if let Some(cpu) = places.cpu(vcpu) { span.soft { " on CPU " (cpu) } } }
}

/// The median of the pairs' medians over each distance, where there are several.
fn by_label(places: &Places<'_>, cell: &Cell) -> Markup {
    let mut medians: BTreeMap<Label, Vec<Observation>> = BTreeMap::new();
    for from in &cell.by_initiator {
        for target in &from.targets {
            let Some(label) = places.label(from.initiator, target.vcpu) else { continue };
            medians.entry(label).or_default().push(Observation::one(target.p50_ns, 0));
        }
    }
    let told = |(label, medians): (Label, Vec<Observation>)| {
        let pairs = count(medians.len(), "pair");
        let median = Sample::new(medians)?.quantile(Quantile::P50);
        Some(format!("{label} {} ({pairs})", units::bounded(median, of_deliveries(cell))))
    };
    let told: Vec<String> = medians.into_iter().filter_map(told).collect();
    html! { @if told.len() > 1 { p.soft { "Median of the pairs' medians: " (told.join(", ")) "." } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    /// Two packages of two cores of two threads, numbered as on many servers: each of four vCPUs delivers after as many ns as its
    /// target's index says.
    fn measurement() -> Measurement {
        let mut measurement = fixture::measurement();
        measurement.host.topology = Topology {
            packages: Some(fixture::groups([&[0, 2, 4, 6], &[1, 3, 5, 7]])),
            cores: Some(fixture::groups([&[0, 4], &[1, 5], &[2, 6], &[3, 7]])),
            ..Topology::default()
        };
        measurement.config.pin = vec![0, 1, 4, 5];
        let cell = &mut measurement.cells[0];
        let target = |vcpu: usize| DeliveryTo { vcpu, p50_ns: 1_000.0 * (1 + vcpu) as f64 };
        cell.by_initiator = (0..4)
            .map(|initiator| ByInitiator {
                initiator,
                rounds: 20,
                targets: (0..4).filter(|vcpu| *vcpu != initiator).map(target).collect(),
                disturbances: Vec::new(),
            })
            .collect();
        measurement
    }

    fn order_of(page: &str, what: &str) -> Vec<usize> {
        let numbers = page.split(what).skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        numbers.map(|number| number.and_then(|it| it.parse().ok()).expect("a number")).collect()
    }

    #[test]
    fn the_order_is_the_topologys_and_its_boundaries_are_marked() {
        let measurement = measurement();
        let page = heat_map(&measurement, &measurement.cells[0]).into_string();
        assert_eq!(order_of(&page, "to vCPU "), [0, 2, 1, 3]);
        assert_eq!(order_of(&page, "from vCPU "), [0, 2, 1, 3]);
        let headings: Vec<&str> =
            page.split("colspan=\"2\">").skip(1).filter_map(|rest| rest.split('<').next()).collect();
        assert_eq!(headings, ["package 0", "package 1"], "{page}");
        assert_eq!(page.matches("class=\"n edge\"").count(), 1, "between vCPUs 2 and 1: {page}");
        assert!(page.contains("<tr class=\"edge\"><th scope=\"row\">from vCPU 1<"), "{page}");
        assert!(page.contains("data-from=\"0\" data-to=\"2\" data-value=\"3000\" title=\"same core\""), "{page}");
        let line = "Median of the pairs' medians: same core 2.00 µs (4 pairs), cross package 2.00 µs (8 pairs).";
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn headings_name_the_outermost_of_levels_that_divide_alike_and_cores_before_their_l2s() {
        let mut measurement = measurement();
        let topology = &mut measurement.host.topology;
        topology.nodes.clone_from(&topology.packages);
        topology.l3 = Some(fixture::groups([&[0, 1, 2, 3, 4, 5, 6, 7]]));
        let headings = |measurement: &Measurement| {
            let page = heat_map(measurement, &measurement.cells[0]).into_string();
            let groups = page.split("scope=\"colgroup\"").skip(1);
            groups.map(|rest| rest.split(['>', '<']).nth(1).expect("a text").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(headings(&measurement), ["package 0", "package 1"]);
        let topology = &mut measurement.host.topology;
        (topology.packages, topology.nodes) = (None, None);
        topology.l2.clone_from(&topology.cores);
        assert_eq!(headings(&measurement), ["core 0", "core 1"]);
    }

    #[test]
    fn threads_that_are_not_pinned_have_no_order_but_their_numbers() {
        let mut measurement = measurement();
        measurement.config.pin.clear();
        let page = heat_map(&measurement, &measurement.cells[0]).into_string();
        assert_eq!(order_of(&page, "to vCPU "), [0, 1, 2, 3]);
        assert!(!page.contains("edge") && !page.contains("colgroup") && !page.contains("title="), "{page}");
        assert!(!page.contains("Median of the pairs' medians"), "{page}");
    }
}
