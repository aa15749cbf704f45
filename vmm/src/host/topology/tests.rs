//! Machines as public descriptions have them. Where a file of hwloc is named, it is of github.com/open-mpi/hwloc, tests/hwloc.

use super::*;
use crate::host::tests::Tree;
use crate::results::distance::Distance::{
    self, CrossNode, CrossPackage, NotKnown, SameCore, SameCpu, SameL2, SameL3, SameNode, SamePackage,
};
use crate::results::topology::Level;
use proptest::prelude::*;

/// A CPU by the groups that it is in: any number that the others of the group have as well.
#[derive(Clone, Copy)]
struct Cpu {
    number: usize,
    package: usize,
    node: usize,
    /// `None`: it has no L3 cache.
    l3: Option<usize>,
    l2: usize,
    core: usize,
}

/// The sysfs of a machine with these CPUs.
fn machine(cpus: &[Cpu]) -> Tree {
    let list = |is_in: &dyn Fn(&Cpu) -> bool| {
        let members = cpus.iter().filter(|cpu| is_in(cpu)).map(|cpu| cpu.number);
        format!("{}\n", members.collect::<CpuList>())
    };
    let mut tree = Tree::new();
    for cpu in cpus {
        let directory = format!("sys/devices/system/cpu/cpu{}", cpu.number);
        let core = list(&|other| other.core == cpu.core);
        let mut caches = vec![("1", core.clone()), ("2", list(&|other| other.l2 == cpu.l2))];
        caches.extend(cpu.l3.map(|_| ("3", list(&|other| other.l3 == cpu.l3))));
        tree = tree
            .file(&format!("{directory}/topology/core_cpus_list"), &core)
            .file(&format!("{directory}/topology/package_cpus_list"), &list(&|other| other.package == cpu.package));
        for (index, (level, shared)) in caches.into_iter().enumerate() {
            let cache = format!("{directory}/cache/index{index}");
            tree = tree
                .file(&format!("{cache}/level"), level)
                .file(&format!("{cache}/type"), "Unified")
                .file(&format!("{cache}/shared_cpu_list"), &shared);
        }
    }
    with_nodes(tree, cpus)
}

/// The same with the nodes of these CPUs.
fn with_nodes(mut tree: Tree, cpus: &[Cpu]) -> Tree {
    let nodes: CpuList = cpus.iter().map(|cpu| cpu.node).collect();
    for &node in nodes.as_slice() {
        let members: CpuList = cpus.iter().filter(|cpu| cpu.node == node).map(|cpu| cpu.number).collect();
        tree = tree.file(&format!("sys/devices/system/node/node{node}/cpulist"), &format!("{members}\n"));
    }
    tree.file("sys/devices/system/node/online", &nodes.to_string())
}

fn topology(tree: &Tree, cpus: &[Cpu]) -> Topology {
    read_topology(&tree.sources, &cpus.iter().map(|cpu| cpu.number).collect::<Vec<_>>())
}

/// How far each of these CPUs is from CPU `from`.
fn distances<const N: usize>(topology: &Topology, from: usize, cpus: [usize; N]) -> [Distance; N] {
    cpus.map(|cpu| topology.label(from, cpu).distance)
}

fn counts(topology: &Topology) -> [Option<usize>; 5] {
    Level::ALL.map(|level| topology.groups(level).map(<[_]>::len))
}

/// x86/Intel-CascadeLake-2xXeon6230.output: 20 cores of 2 threads in each package, even CPUs in one and odd ones in the other; the
/// second threads are numbered after all first ones. `nodes_of_package` halves its nodes.
fn two_xeons(nodes_of_package: usize) -> Vec<Cpu> {
    let cpu = |number: usize| {
        let (package, core) = (number % 2, number % 40);
        Cpu { number, package, node: number % (2 * nodes_of_package), l3: Some(package), l2: core, core }
    };
    (0..80).map(cpu).collect()
}

#[test]
fn two_packages_with_smt() {
    let cpus = two_xeons(1);
    let topology = topology(&machine(&cpus), &cpus);
    assert_eq!(counts(&topology), [Some(2), Some(2), Some(2), Some(40), Some(40)]);
    let found = distances(&topology, 0, [0, 40, 2, 78, 1, 41]);
    assert_eq!(found, [SameCpu, SameCore, SameL3, SameL3, CrossPackage, CrossPackage]);
    assert!(topology.kinds.is_empty() && topology.label(0, 40).kinds.is_none());
}

#[test]
fn sub_numa_clusters_of_one_l3_are_apart() {
    // Sub-NUMA clustering leaves CPUID's L3, and so sysfs', as large as the package: arch/x86/kernel/smpboot.c, intel_cod_cpu.
    let cpus = two_xeons(2);
    let topology = topology(&machine(&cpus), &cpus);
    assert_eq!(counts(&topology), [Some(2), Some(4), Some(2), Some(40), Some(40)]);
    let found = distances(&topology, 0, [40, 4, 44, 2, 42, 1, 3]);
    assert_eq!(found, [SameCore, SameL3, SameL3, CrossNode, CrossNode, CrossPackage, CrossPackage]);
}

/// x86/AMD-19h-Zen3-2xEpyc-7763.xml, without SMT: 64 cores in each package, 8 of them to an L3. The firmware's nodes per socket
/// (NPS) are groups of L3s.
fn two_epycs(cpus_of_node: usize) -> Vec<Cpu> {
    let cpu = |number: usize| Cpu {
        number,
        package: number / 64,
        node: number / cpus_of_node,
        l3: Some(number / 8),
        l2: number,
        core: number,
    };
    (0..128).map(cpu).collect()
}

#[test]
fn several_l3s_in_a_node() {
    let cpus = two_epycs(64);
    let tree = machine(&cpus);
    let nps1 = topology(&tree, &cpus);
    let cpus = two_epycs(16);
    let tree = with_nodes(tree, &cpus);
    let nps4 = topology(&tree, &cpus);
    let cpus = two_epycs(128);
    let nps0 = topology(&with_nodes(tree, &cpus), &cpus);
    let nodes = |topology: &Topology| topology.nodes.as_ref().map(Vec::len);
    assert_eq!([&nps1, &nps4, &nps0].map(nodes), [Some(2), Some(8), Some(1)]);
    let at = [7, 8, 15, 16, 63, 64, 127];
    let far = CrossPackage;
    assert_eq!(distances(&nps1, 0, at), [SameL3, SameNode, SameNode, SameNode, SameNode, far, far]);
    assert_eq!(distances(&nps4, 0, at), [SameL3, SameNode, SameNode, CrossNode, CrossNode, far, far]);
    assert_eq!(distances(&nps0, 0, at), distances(&nps1, 0, at), "a node of two packages makes none of them one");
}

#[test]
fn a_hybrid_processor() {
    // linux/20em64t-hybrid-1p6c2t+2ca4co1t.console: as in Alder Lake, P cores have two threads, and four E cores share an L2.
    let cpu = |number: usize| {
        let (core, l2) = if number < 12 { (number / 2, number / 2) } else { (number, number / 4 * 100) };
        Cpu { number, package: 0, node: 0, l3: Some(0), l2, core }
    };
    let cpus: Vec<Cpu> = (0..20).map(cpu).collect();
    let tree = machine(&cpus).file("sys/devices/cpu_core/cpus", "0-11\n").file("sys/devices/cpu_atom/cpus", "12-19\n");
    let topology = topology(&tree, &cpus);
    assert_eq!(counts(&topology), [Some(1), Some(1), Some(1), Some(8), Some(14)]);
    assert_eq!(distances(&topology, 0, [1, 2, 12]), [SameCore, SameL3, SameL3]);
    assert_eq!(distances(&topology, 12, [13, 15, 16, 0]), [SameL2, SameL2, SameL3, SameL3]);
    let [performance, efficient] = [CoreKind::Performance, CoreKind::Efficient];
    assert_eq!((topology.kind_of(11), topology.kind_of(12)), (Some(performance), Some(efficient)));
    assert_eq!(topology.label(12, 0).to_string(), "same L3 (performance–efficient)");
    assert_eq!((topology.label(0, 2).kinds, topology.label(12, 13).kinds), (None, None));
}

#[test]
fn cores_beside_the_l3_share_their_l2() {
    // x86/Intel-ArrowLake-CoreUltra5-225U.output: the two low-power cores have an L2 and no L3.
    let cpu = |number: usize| {
        let core = if number < 4 { number / 2 } else { number };
        let l2 = if number < 4 { core } else { number / 4 * 100 };
        Cpu { number, package: 0, node: 0, l3: (number < 12).then_some(0), l2, core }
    };
    let cpus: Vec<Cpu> = (0..14).map(cpu).collect();
    let tree = machine(&cpus)
        .file("sys/devices/cpu_core/cpus", "0-3\n")
        .file("sys/devices/cpu_atom/cpus", "4-11\n")
        .file("sys/devices/cpu_lowpower/cpus", "12-13\n");
    let topology = topology(&tree, &cpus);
    assert_eq!(
        topology.l3.as_ref().map(|l3| l3.iter().map(ToString::to_string).collect()),
        Some(vec!["0-11".to_owned()])
    );
    assert_eq!(distances(&topology, 12, [13, 4, 0]), [SameL2, SameNode, SameNode]);
    assert_eq!(topology.label(13, 4).to_string(), "same node (efficient–low power)");
}

#[test]
fn offline_cpus_and_gaps_between_numbers() {
    // linux/16em64t-4s2c2t-offlines.console: CPUs 2, 5, 13 and 14 are offline; the bus of the four packages is one node's.
    let cpu = |(number, package, core): (usize, usize, usize)| Cpu {
        number,
        package,
        node: 0,
        l3: Some(package),
        l2: 10 * package + core,
        core: 10 * package + core,
    };
    let places = [(0, 0, 0), (8, 0, 0), (4, 0, 1), (12, 0, 1), (1, 1, 0), (9, 1, 0), (3, 3, 0), (11, 3, 0), (7, 3, 1)];
    let cpus: Vec<Cpu> = places.into_iter().chain([(15, 3, 1), (6, 2, 1), (10, 2, 0)]).map(cpu).collect();
    let tree = machine(&cpus);
    let found = topology(&tree, &cpus);
    assert_eq!(counts(&found), [Some(4), Some(1), Some(4), Some(7), Some(7)]);
    assert_eq!(distances(&found, 0, [8, 4, 12, 1, 15]), [SameCore, SameL3, SameL3, CrossPackage, CrossPackage]);
    assert_eq!(found.label(6, 10).distance, SameL3, "each lost its other thread");
    // A CPU that goes offline takes its files along.
    assert!(read_topology(&tree.sources, &[0, 2, 8]).is_not_known());
    // What kipi may not use is no part of it.
    let some = read_topology(&tree.sources, &[4, 8, 0]);
    assert_eq!(
        some.cores.map(|cores| cores.iter().map(ToString::to_string).collect()),
        Some(vec!["0,8".into(), "4".to_owned()])
    );
}

#[test]
fn gaps_between_nodes() {
    // linux/48amd64-4pa2n6c-sparse.console: eight nodes, numbered up to 73, two to a package, each of an L3.
    const NODES: [usize; 8] = [0, 1, 2, 33, 34, 45, 72, 73];
    let cpu = |number: usize| Cpu {
        number,
        package: number / 12,
        node: NODES[number / 6],
        l3: Some(number / 6),
        l2: number,
        core: number,
    };
    let cpus: Vec<Cpu> = (0..48).map(cpu).collect();
    // A node of memory alone has no CPUs.
    let tree = machine(&cpus)
        .file("sys/devices/system/node/online", "0-2,33-34,45,72-74\n")
        .file("sys/devices/system/node/node74/cpulist", "\n");
    let topology = topology(&tree, &cpus);
    assert_eq!(counts(&topology), [Some(4), Some(8), Some(8), Some(48), Some(48)]);
    assert_eq!(distances(&topology, 42, [47, 41, 35]), [SameL3, CrossNode, CrossPackage]);
}

/// A virtual machine's CPUs of a file each.
fn virtual_machine(files: &[(&str, &str)]) -> Topology {
    let mut tree = Tree::new();
    for (name, list) in files {
        for cpu in 0..4 {
            let list = list.replace('N', &cpu.to_string());
            tree = tree.file(&format!("sys/devices/system/cpu/cpu{cpu}/{name}"), &list);
        }
    }
    read_topology(&tree.sources, &[0, 1, 2, 3])
}

#[test]
fn a_virtual_machine_without_caches() {
    let files = [("topology/thread_siblings_list", "N\n"), ("topology/core_siblings_list", "0-3\n")];
    let bare = virtual_machine(&files);
    assert_eq!(bare.not_known().collect::<Vec<_>>(), [Level::Node, Level::L3, Level::L2]);
    assert_eq!(distances(&bare, 0, [0, 1]), [SameCpu, SamePackage]);
    assert_eq!(virtual_machine(&files[..1]).label(0, 1).distance, NotKnown);

    // It has the caches that it shows, and no others.
    let l2 =
        [("cache/index0/level", "2\n"), ("cache/index0/type", "Unified\n"), ("cache/index0/shared_cpu_list", "N\n")];
    let with_l2 = virtual_machine(&[files.as_slice(), &l2].concat());
    assert_eq!((with_l2.l3.as_deref(), with_l2.l2.map(|l2| l2.len())), (Some([].as_slice()), Some(4)));
}

#[test]
fn files_that_contradict_each_other_tell_nothing() {
    let cores = |list| virtual_machine(&[("topology/core_cpus_list", list)]).cores;
    assert!(cores("N").is_some());
    for list in ["0", "1-3", "", "none", "-1", "0-99999999", "N,1"] {
        assert_eq!(cores(list), None, "{list:?}");
    }
    let l3 = |level, kind, shared| {
        let files = [("level", level), ("type", kind), ("shared_cpu_list", shared)];
        let files = files.map(|(name, text)| (format!("cache/index0/{name}"), text));
        virtual_machine(&files.each_ref().map(|(name, text)| (name.as_str(), *text))).l3.map(|l3| l3.len())
    };
    assert_eq!((l3("3", "Unified", "0-3"), l3("3", "Instruction", "0-3")), (Some(1), Some(0)));
    for (level, shared) in [("three", "0-3"), ("3", "all"), ("3", "")] {
        assert_eq!(l3(level, "Unified", shared), None, "{level} {shared}");
    }

    let nodes = |first, second| {
        let tree = Tree::new()
            .file("sys/devices/system/node/online", "0-1")
            .file("sys/devices/system/node/node0/cpulist", first)
            .file("sys/devices/system/node/node1/cpulist", second);
        read_topology(&tree.sources, &[0, 1, 2, 3]).nodes
    };
    assert_eq!(nodes("0-1", "2-3").map(|nodes| nodes.len()), Some(2));
    assert_eq!((nodes("0-1", "1-3"), nodes("0-1", "3")), (None, None), "two nodes for CPU 1, none for CPU 2");

    let both = Tree::new().file("sys/devices/cpu_core/cpus", "0-1").file("sys/devices/cpu_atom/cpus", "1-2");
    assert!(read_topology(&both.sources, &[0, 1, 2]).kinds.is_empty(), "CPU 1 is of one kind");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_can_make_a_group_that_is_none(
        lists in prop::collection::vec("[0-5]?[-,]?[0-5]?[-,]?[0-5]?|.{0,6}", 5 * 4),
        online in "[0-3]-[0-3]|.{0,4}",
        level in "[123]|.{0,2}",
    ) {
        let mut tree = Tree::new().file("sys/devices/system/node/online", &online);
        for (cpu, lists) in lists.chunks(5).enumerate() {
            let file = |name: &str| format!("sys/devices/system/cpu/cpu{cpu}/{name}");
            tree = tree
                .file(&file("topology/core_cpus_list"), &lists[0])
                .file(&file("topology/package_cpus_list"), &lists[1])
                .file(&file("cache/index0/level"), &level)
                .file(&file("cache/index0/type"), "Unified")
                .file(&file("cache/index0/shared_cpu_list"), &lists[2])
                .file(&format!("sys/devices/system/node/node{cpu}/cpulist"), &lists[3])
                .file(&format!("sys/devices/cpu_{}/cpus", ["core", "atom", "lowpower", "other"][cpu]), &lists[4]);
        }
        let topology = read_topology(&tree.sources, &[0, 1, 2, 3]);
        for level in Level::ALL {
            let Some(groups) = topology.groups(level) else { continue };
            let mut cpus: Vec<usize> = groups.iter().flat_map(CpuList::as_slice).copied().collect();
            cpus.sort_unstable();
            let members: BTreeSet<usize> = cpus.iter().copied().collect();
            prop_assert_eq!(members.len(), cpus.len(), "{:?} of {:?}", groups, level);
            prop_assert!(groups.iter().all(|group| !group.as_slice().is_empty()));
            prop_assert!(cpus.iter().all(|cpu| *cpu < 4));
            prop_assert!(matches!(level, Level::L3 | Level::L2) || cpus.len() == 4, "{:?} of {:?}", groups, level);
        }
    }
}
