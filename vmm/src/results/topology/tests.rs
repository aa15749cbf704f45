use super::*;
use proptest::prelude::*;
use std::array;

/// CPUs that a made-up machine may have.
const CPUS: usize = 8;

fn groups() -> impl Strategy<Value = Option<Vec<CpuList>>> {
    let list = prop::collection::vec(0..CPUS, 0..5).prop_map(|cpus| cpus.into_iter().collect::<CpuList>());
    prop::option::weighted(0.8, prop::collection::vec(list, 0..4))
}

/// Any document's, however little sense it makes: CPUs in two groups, or in none, and empty groups.
fn any_topology() -> impl Strategy<Value = Topology> {
    let kinds = (groups(), 0..3_usize).prop_map(|(groups, first)| {
        let kinds = [CoreKind::Performance, CoreKind::Efficient, CoreKind::LowPower];
        kinds.into_iter().skip(first).zip(groups.unwrap_or_default()).collect::<BTreeMap<_, _>>()
    });
    (groups(), groups(), groups(), groups(), groups(), kinds)
        .prop_map(|(packages, nodes, l3, l2, cores, kinds)| Topology { packages, nodes, l3, l2, cores, kinds })
}

proptest! {
    #[test]
    fn a_label_is_symmetric_and_distances_are_an_ultrametric(topology in any_topology()) {
        // One more than there are.
        let labels: [[Label; CPUS + 1]; CPUS + 1] =
            array::from_fn(|one| array::from_fn(|other| topology.label(one, other)));
        let distances = labels.map(|row| row.map(|label| label.distance));
        for one in 0..=CPUS {
            prop_assert_eq!(labels[one][one], Label { distance: Distance::SameCpu, kinds: None });
            for other in 0..=CPUS {
                prop_assert_eq!(labels[one][other], labels[other][one]);
                prop_assert_eq!(one == other, distances[one][other] == Distance::SameCpu);
                for third in 0..=CPUS {
                    let longest = distances[one][third].max(distances[third][other]);
                    prop_assert!(distances[one][other] <= longest, "{one}, {other}, {third}");
                }
            }
        }
    }

    #[test]
    fn neighbours_in_the_row_are_the_nearest_that_are_left(topology in any_topology()) {
        let mut row: Vec<usize> = (0..CPUS).collect();
        row.sort_by_key(|&cpu| topology.place(cpu));
        let distance = |one: usize, other: usize| topology.label(row[one], row[other]).distance;
        // CPUs of which something is not known are far from all, and may lie between others.
        let has = |at: &usize| topology.has(row[*at]);
        let places: Vec<usize> = (0..CPUS).filter(has).collect();
        for (index, &first) in places.iter().enumerate() {
            let far = places[index + 1..].iter().map(|&other| distance(first, other));
            prop_assert!(far.clone().is_sorted(), "{row:?}: {:?}", far.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_document_has_all_of_it(topology in any_topology()) {
        let text = serde_json::to_string(&topology).unwrap();
        prop_assert_eq!(serde_json::from_str::<Topology>(&text).unwrap(), topology);
    }
}

#[test]
fn a_document_is_compact() {
    let list = |cpus: &[usize]| cpus.iter().copied().collect::<CpuList>();
    let topology = Topology {
        packages: Some(vec![list(&[0, 1, 2, 3])]),
        cores: Some(vec![list(&[0, 2]), list(&[1, 3])]),
        kinds: [(CoreKind::Performance, list(&[0, 1, 2, 3]))].into(),
        ..Topology::default()
    };
    let text = r#"{"packages":["0-3"],"cores":["0,2","1,3"],"kinds":{"performance":"0-3"}}"#;
    assert_eq!(serde_json::to_string(&topology).unwrap(), text);
    assert_eq!(serde_json::to_string(&Topology::default()).unwrap(), "{}");
}

#[test]
fn a_cpu_that_is_in_no_package_is_not_known() {
    let one_package = Topology { packages: Some(vec![[0, 1].into_iter().collect()]), ..Topology::default() };
    assert_eq!(one_package.label(0, 1).distance, Distance::SamePackage);
    assert_eq!(one_package.label(0, 2).distance, Distance::NotKnown);
    assert_eq!(Topology::default().label(0, 1).distance, Distance::NotKnown);
}
