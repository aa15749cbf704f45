//! What the CPUs of two vCPUs share: threads of one core and cores of two packages are told apart by no other fact.

use super::Run;
use super::differences::{Factor, is_expected};
use super::mixture::Mixture;
use crate::config::cpu_of;
use crate::results::comparison::Difference;
use crate::results::distance::Distance;
use crate::results::topology::{Level, Topology};
use guest_stub::abi::MAX_VCPUS;

/// Pairs of vCPUs that one difference names.
const NAMED: usize = 3;

/// Where a run's vCPUs were.
#[derive(PartialEq)]
struct Places<'r> {
    topology: &'r Topology,
    pin: &'r [usize],
    vcpus: usize,
}

impl<'r> Places<'r> {
    /// `None`: it is not known, or they were not pinned.
    fn of(run: &'r Run) -> Option<Self> {
        let (topology, pin) = (&run.measurement.host.topology, run.measurement.config.pin.as_slice());
        let vcpus = run.measurement.asked().map(|cell| cell.id.vcpus).max()?.min(MAX_VCPUS);
        (!topology.is_not_known() && !pin.is_empty()).then_some(Self { topology, pin, vcpus })
    }
}

/// In what pairs of vCPUs differ that both sides have, those together that differ in the same; by the levels that all runs know.
pub(super) fn find(base: &[Run], new: &[Run], expected: &[Factor]) -> Vec<Difference> {
    let sides = [base, new].map(|runs| runs.iter().filter_map(Places::of).collect::<Vec<_>>());
    let all = || sides.iter().flatten();
    let Some(vcpus) = all().map(|run| run.vcpus).min() else { return Vec::new() };
    let is_one_place = all().all(|run| all().next() == Some(run));
    if is_one_place || sides.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let is_known = |level: &Level| all().all(|run| run.topology.groups(*level).is_some());
    let levels: Vec<Level> = Level::ALL.into_iter().filter(is_known).collect();
    let sides = sides.map(|side| {
        side.into_iter().map(|run| (run.topology.of_levels(&levels), run.pin)).collect::<Vec<(Topology, &[usize])>>()
    });
    let mut found: Vec<(Difference, Vec<String>)> = Vec::new();
    for (one, other) in (0..vcpus).flat_map(|one| (one + 1..vcpus).map(move |other| (one, other))) {
        let [of_base, of_new] = sides.each_ref().map(|side| distances(side, one, other));
        if of_base.is_same(&of_new) || [&of_base, &of_new].iter().any(|it| it.is_only(Distance::NotKnown.name())) {
            continue;
        }
        let pair = format!("{one} and {other}");
        let (base, new) = (of_base.told_beside(&of_new), of_new.told_beside(&of_base));
        let known = found.iter_mut().find(|(known, _)| (&known.base, &known.new) == (&base, &new));
        if let Some((_, pairs)) = known {
            pairs.push(pair);
            continue;
        }
        let allowed =
            of_base.has_same_values(&of_new) || is_expected(Factor::Topology, None, [&of_base, &of_new], expected);
        let factor = Factor::Topology.name().to_owned();
        found.push((Difference { factor, item: None, base, new, allowed }, vec![pair]));
    }
    found.into_iter().map(|(difference, pairs)| Difference { item: Some(named(&pairs)), ..difference }).collect()
}

fn distances(side: &[(Topology, &[usize])], one: usize, other: usize) -> Mixture<String> {
    let distance = |(topology, pin): &(Topology, &[usize])| {
        let cpus = cpu_of(pin, one).zip(cpu_of(pin, other));
        cpus.map_or(Distance::NotKnown, |(one, other)| topology.label(one, other).distance).name().to_owned()
    };
    side.iter().map(distance).collect()
}

/// `vCPUs 0 and 1, 0 and 2, 0 and 3, 7 more`.
fn named(pairs: &[String]) -> String {
    let more = pairs.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    let named: Vec<String> = pairs.iter().take(NAMED).cloned().chain(more).collect();
    format!("vCPUs {}", named.join(", "))
}
