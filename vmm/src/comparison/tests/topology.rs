//! What the CPUs of vCPUs share.

use super::*;
use crate::comparison::differences::Factor;
use crate::results::topology::Topology;

/// Four CPUs: two cores of two threads each in one package, or two packages of two cores.
fn threads() -> Topology {
    Topology {
        packages: Some(fixture::groups([&[0, 1, 2, 3]])),
        cores: Some(fixture::groups([&[0, 1], &[2, 3]])),
        ..Topology::default()
    }
}

fn packages() -> Topology {
    Topology {
        packages: Some(fixture::groups([&[0, 1], &[2, 3]])),
        cores: Some(fixture::groups([&[0], &[1], &[2], &[3]])),
        ..Topology::default()
    }
}

/// Two runs with vCPUs that are pinned to the CPUs of such a host.
fn on(topology: &Topology, pin: &[usize], vcpus: usize) -> Vec<Run> {
    let mut runs = runs(2, 51);
    change(&mut runs, |it| {
        it.host.topology = topology.clone();
        it.config.pin = pin.to_vec();
        it.cells.iter_mut().for_each(|cell| cell.id.vcpus = vcpus);
    });
    runs
}

fn told(base: &[Run], new: &[Run], expected: &[Factor]) -> Vec<(String, bool)> {
    let rules = Rules { expected: expected.to_vec(), ..Rules::default() };
    compare(base, new, &rules).differences.into_iter().map(|it| (it.to_string(), it.allowed)).collect()
}

#[test]
fn vcpus_whose_cpus_share_something_else_are_not_comparable() {
    let [base, new] = [threads(), packages()].map(|topology| on(&topology, &[0, 1], 2));
    assert_eq!(told(&base, &base, &[]), []);
    let said = |allowed| [("topology vCPUs 0 and 1: same core → same package".to_owned(), allowed)];
    assert_eq!(told(&base, &new, &[]), said(false));
    assert_eq!(told(&base, &new, &[Factor::Topology]), said(true));
    assert_eq!(compared(&base, &new).verdict, Overall::NotComparable);
}

#[test]
fn other_pins_are_other_places() {
    let [base, new] = [[0, 1], [0, 2]].map(|pin| on(&threads(), &pin, 2));
    let found = told(&base, &new, &[Factor::Pin]);
    assert_eq!(
        found,
        [("pin: 0, 1 → 0, 2", true), ("topology vCPUs 0 and 1: same core → same package", true)]
            .map(|(what, allowed)| (what.to_owned(), allowed))
    );
    let [base, new] = [[0, 1], [2, 3]].map(|pin| on(&threads(), &pin, 2));
    assert_eq!(told(&base, &new, &[Factor::Pin]).len(), 1, "they share the same");
}

#[test]
fn pairs_that_differ_alike_are_told_together() {
    let [base, new] = [threads(), packages()].map(|topology| on(&topology, &[0, 1, 2, 3], 4));
    let found: Vec<String> = told(&base, &new, &[]).into_iter().map(|(what, _)| what).collect();
    assert_eq!(
        found,
        [
            "topology vCPUs 0 and 1, 2 and 3: same core → same package",
            "topology vCPUs 0 and 2, 0 and 3, 1 and 2, 1 more: same package → cross package",
        ]
    );
}

#[test]
fn what_is_not_known_on_a_side_is_left_out() {
    let base = on(&threads(), &[0, 1], 2);
    let without = |change: fn(&mut Topology)| {
        let mut topology = packages();
        change(&mut topology);
        on(&topology, &[0, 1], 2)
    };
    assert_eq!(told(&base, &without(|it| *it = Topology::default()), &[]), [], "a document of before");
    assert_eq!(told(&base, &without(|it| it.cores = None), &[]), [], "by packages, they share the same");
    assert_eq!(
        told(&base, &without(|it| it.packages = None), &[]),
        [],
        "by cores, they are apart, and nobody knows how far"
    );
    let mut unpinned = base.clone();
    change(&mut unpinned, |it| it.config.pin.clear());
    assert_eq!(told(&base, &unpinned, &[Factor::Pin]).len(), 1, "where they were is not known");
}
