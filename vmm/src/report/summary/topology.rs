//! What the CPUs of a machine share, and what is delivered over which distance, in a line each.

use crate::config::routes::{self, Delivery};
use crate::report::{tables, units};
use crate::results::count::count;
use crate::results::cpu_list::CpuList;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use crate::results::topology::{Level, Topology};
use guest_stub::abi::cell::Observe;

/// How many packages, nodes, caches, cores and threads there are; `None`: nothing is known.
pub(in crate::report) fn topology(topology: &Topology) -> Option<String> {
    let cores = topology.groups(Level::Core);
    let counted = Level::ALL.into_iter().filter_map(|level| {
        let groups = topology.groups(level)?;
        // An L2 for each core goes without saying.
        let is_usual = level == Level::L2 && cores.is_some_and(|cores| cores.len() == groups.len());
        let text = if groups.is_empty() { format!("no {}", level.name()) } else { count(groups.len(), level.name()) };
        (!is_usual).then_some(text)
    });
    let mut parts: Vec<String> = counted.collect();
    parts.extend(cores.and_then(threads));
    parts.extend(topology.kinds.iter().map(|(kind, cpus)| format!("{}: CPUs {cpus}", kind.name())));
    (!topology.is_not_known()).then(|| parts.join(", ") + &not_known(topology))
}

/// How many threads a core has, or those with fewest and with most.
fn threads(cores: &[CpuList]) -> Option<String> {
    let sizes = || cores.iter().map(|core| core.as_slice().len());
    let (least, most) = (sizes().min()?, sizes().max()?);
    Some(if least == most {
        format!("{} a core", count(most, "thread"))
    } else {
        format!("{least}–{most} threads a core")
    })
}

/// What labels do not take into account.
fn not_known(topology: &Topology) -> String {
    let levels: Vec<String> = topology.not_known().map(|level| format!("{}s", level.name())).collect();
    if levels.is_empty() { String::new() } else { format!("; not known: {}", levels.join(", ")) }
}

/// The median deliveries over the distances that there are, if there are several: of the cell whose interrupts are delivered
/// soonest, in which the distance counts most; of one with vCPUs, where there is one.
pub(super) fn distances(measurement: &Measurement) -> Option<String> {
    let route = |cell: &Cell| routes::of(cell.id.route);
    let delivery = |cell: &Cell| cell.metrics.get(&MetricName::Delivery).map_or(f64::INFINITY, |metric| metric.p50);
    let guest = measurement.cells.iter().filter(|cell| cell.id.observe == Observe::Guest);
    let several = guest.clone().filter(|cell| cell.by_distance.len() > 1 && route(cell).delivery != Delivery::Polled);
    let cell = several.min_by(|one, other| {
        let is_native = [one, other].map(|cell| route(cell).is_native());
        is_native[0].cmp(&is_native[1]).then(delivery(one).total_cmp(&delivery(other)))
    })?;
    let error = cell.metrics.get(&MetricName::Delivery).and_then(|metric| metric.clock_error);
    let told = cell.by_distance.iter().map(|one| format!("{} {}", one.label(), units::bounded(one.p50_ns, error)));
    let told: Vec<String> = told.collect();
    Some(format!("delivery p50 {} ({})", told.join(", "), tables::name(cell, &guest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::distance::{ByDistance, CoreKind, Distance};
    use crate::results::fixture;

    #[test]
    fn a_machine_is_told_by_its_counts() {
        let two = Topology {
            packages: Some(fixture::groups([&[0, 1]])),
            nodes: Some(fixture::groups([&[0, 1]])),
            l3: Some(fixture::groups([&[0, 1]])),
            l2: Some(fixture::groups([&[0], &[1]])),
            cores: Some(fixture::groups([&[0], &[1]])),
            ..Topology::default()
        };
        assert_eq!(topology(&two).unwrap(), "1 package, 1 node, 1 L3 cache, 2 cores, 1 thread a core");
        let hybrid = Topology {
            l3: Some(fixture::groups([])),
            l2: Some(fixture::groups([&[0, 1], &[2, 3]])),
            cores: Some(fixture::groups([&[0, 1], &[2], &[3]])),
            kinds: [
                (CoreKind::Performance, [0, 1].into_iter().collect()),
                (CoreKind::Efficient, [2, 3].into_iter().collect()),
            ]
            .into(),
            ..two.clone()
        };
        assert_eq!(
            topology(&hybrid).unwrap(),
            "1 package, 1 node, no L3 cache, 2 L2 caches, 3 cores, 1–2 threads a core, performance: CPUs 0-1, efficient: CPUs 2-3"
        );
        let without_caches = Topology { l3: None, l2: None, ..two };
        assert_eq!(
            topology(&without_caches).unwrap(),
            "1 package, 1 node, 2 cores, 1 thread a core; not known: L3 caches, L2 caches"
        );
        assert_eq!(topology(&Topology::default()), None);
    }

    #[test]
    fn several_distances_are_told_of_the_soonest_interrupts() {
        let mut measurement = fixture::measurement();
        assert_eq!(distances(&measurement), None);
        let one = |distance, p50_ns| ByDistance { distance, kinds: None, pairs: 1, n: 9, p50_ns, ci95_ns: None };
        let slower = vec![one(Distance::SameCore, 1_000.0), one(Distance::SameL3, 2_000.0)];
        measurement.cells[0].by_distance = slower;
        measurement.cells[1].by_distance = vec![one(Distance::SameCore, 10.0)];
        assert_eq!(distances(&measurement).unwrap(), "delivery p50 same core 1.00 µs, same L3 2.00 µs (x2apic spin)");
        measurement.cells[1].by_distance.push(one(Distance::CrossPackage, 900.0));
        measurement.cells[1].metrics.get_mut(&MetricName::Delivery).unwrap().p50 = 400.0;
        assert_eq!(distances(&measurement).unwrap(), "delivery p50 same core ≤ ε, cross package 900 ns (x2apic halt)");
    }
}
