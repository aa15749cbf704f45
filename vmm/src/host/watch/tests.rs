use super::*;
use crate::host::tests::Tree;
use crate::results::disturbance::Unit;
use std::collections::BTreeSet;

/// What Linux 6.18 wrote of a thread on CPU `cpu`, with these counters.
struct Recorded {
    id: u32,
    cpu: usize,
    ran_ns: u64,
    waited_ns: u64,
    involuntary: u64,
    migrations: u64,
    major_faults: u64,
    /// `utime`, `stime` and `guest_time`.
    ticks: [u64; 3],
    allowed: &'static str,
}

const THREAD: Recorded = Recorded {
    id: 71,
    cpu: 1,
    ran_ns: 839_521,
    waited_ns: 3_104,
    involuntary: 4,
    migrations: 1,
    major_faults: 0,
    ticks: [0; 3],
    allowed: "1",
};

impl Recorded {
    fn write(&self, tree: Tree) -> Tree {
        let Self { id, cpu, ran_ns, waited_ns, involuntary, migrations, major_faults, ticks, allowed } = self;
        // Fields 3 to 11, then majflt (12), cmajflt, utime (14), stime, and processor as the 39th, guest_time as the 43rd.
        let [user, kernel, guest] = ticks;
        let stat = format!(
            "{id} (vcpu 1) (odd)) S 1 {id} 1 0 -1 4210688 155 0 {major_faults} 0 {user} {kernel}{} 17 {cpu} 0 0 0 {guest} 0\n",
            " 0".repeat(22)
        );
        let sched = format!(
            "vcpu1 ({id}, #threads: 3)\n---------\nse.exec_start          :      24175108.469708\n\
             se.nr_migrations                             :{migrations:>21}\nnr_switches       :        0\n"
        );
        let status = format!(
            "Name:\tvcpu 1\nCpus_allowed:\t2\nCpus_allowed_list:\t{allowed}\nvoluntary_ctxt_switches:\t9\n\
             nonvoluntary_ctxt_switches:\t{involuntary}\n"
        );
        let task = |name: &str| format!("proc/self/task/{id}/{name}");
        tree.file(&task("schedstat"), &format!("{ran_ns} {waited_ns} 13\n"))
            .file(&task("status"), &status)
            .file(&task("stat"), &stat)
            .file(&task("sched"), &sched)
    }
}

/// A machine of two CPUs on which all can be told, with the thread of vCPU 1, which is pinned to CPU 1.
fn machine() -> Tree {
    let cpu1 = "sys/devices/system/cpu/cpu1";
    THREAD
        .write(Tree::new())
        .file("proc/self/cgroup", "9:name=systemd:/\n1:cpu,cpuacct:/build/kipi\n0::/user.slice/kipi\n")
        .file("sys/fs/cgroup/cpu,cpuacct/build/cpu.stat", "nr_periods 9\nnr_throttled 1\nthrottled_time 2000000\n")
        .file("sys/fs/cgroup/user.slice/cpu.stat", "usage_usec 7\nnr_throttled 0\nthrottled_usec 3000\n")
        .file("sys/fs/cgroup/cpu.stat", "usage_usec 7\n")
        .file("proc/stat", STAT)
        .file(&format!("{cpu1}/cpufreq/scaling_max_freq"), "3700000\n")
        .file(&format!("{cpu1}/thermal_throttle/core_throttle_count"), "5\n")
        .file(&format!("{cpu1}/thermal_throttle/package_throttle_count"), "7\n")
        .file(&format!("{cpu1}/cpuidle/state0/time"), "1000\n")
        .file(&format!("{cpu1}/cpuidle/state1/time"), "7785151602\n")
}

const STAT: &str = "cpu  2053560 284797 1164033 1305619 11862 0 1714 1914 50776 26\n\
    cpu0 937464 98276 608954 762245 3589 0 169 919 35376 2\n\
    cpu1 1116096 186520 555078 543374 8273 0 1545 994 15399 24\nintr 5 0 0\nctxt 8\n";

const VCPU1: Thread = Thread { vcpu: Some(1), id: 71, pin: Some(1) };

fn watch(tree: &Tree, threads: &[Thread]) -> Watch {
    Watch::open(&tree.sources, threads)
}

/// What is found when `change` happens to the recorded machine within a block of this vCPU's.
fn found(change: impl FnOnce(Tree) -> Tree) -> Vec<Disturbance> {
    let tree = machine();
    let mut watch = watch(&tree, &[VCPU1]);
    watch.begin();
    // However long the test takes, the CPU idles.
    let _tree = change(tree).file("sys/devices/system/cpu/cpu1/cpuidle/state1/time", "9985151602\n");
    watch.end(Some(0))
}

fn one(kind: Kind, amount: f64, vcpu: Option<usize>, cpu: Option<usize>) -> Vec<Disturbance> {
    vec![Disturbance { kind, amount, unit: kind.unit(), vcpu, cpu }]
}

#[test]
fn everything_is_read() {
    let tree = machine();
    let mut watch = watch(&tree, &[VCPU1]);
    assert_eq!(watch.unknown(), BTreeSet::new());
    let reading = watch.read();
    let task = &reading.tasks[0];
    assert_eq!(task.times, Some(task::Times { ran_ns: 839_521, waited_ns: 3_104 }));
    assert_eq!((task.involuntary_switches, task.migrations), (Some(4), Some(1)));
    assert_eq!((task.major_faults, task.last_cpu, &task.allowed_cpus), (Some(0), Some(1), &Some(vec![1])));
    assert_eq!(reading.throttled_ns, Some(2_000_000 + 3_000_000));
    let cpu = cpus::Cpu {
        steal_ticks: Some(994),
        most_khz: Some(3_700_000),
        idle_ns: Some(7_785_152_602_000),
        throttle_count: Some(12),
    };
    assert_eq!(reading.cpus, [(1, cpu)].into());
}

#[test]
fn what_cannot_be_read_is_unknown_and_not_quiet() {
    let all: BTreeSet<Kind> = Kind::ALL.into_iter().collect();
    let always = [Kind::Continued, Kind::Suspended].into();
    assert_eq!(watch(&Tree::new(), &[VCPU1]).unknown(), &all - &always);

    let no_cpufreq = THREAD
        .write(Tree::new())
        .file("proc/stat", STAT)
        .file("proc/self/cgroup", "0::/\n")
        .file("sys/fs/cgroup/unified/cpu.stat", "usage_usec 7\n");
    let unknown = watch(&no_cpufreq, &[VCPU1]).unknown();
    assert_eq!(unknown, [Kind::CpuBusy, Kind::FrequencyLimited, Kind::ThermalThrottle].into());
}

#[test]
fn a_kernel_without_schedstat_says_zero() {
    let tree = machine().file("proc/self/task/71/schedstat", "0 0 0\n");
    assert_eq!(watch(&tree, &[VCPU1]).unknown(), [Kind::WaitedForCpu, Kind::CpuBusy, Kind::Stopped].into());
}

#[test]
fn nothing_happens_to_a_still_machine() {
    assert_eq!(found(|tree| tree), []);
}

#[test]
fn each_counter_has_its_disturbance() {
    let thread = |thread: Recorded| found(|tree| thread.write(tree));
    let waited = THREAD.waited_ns + 5_000_000;
    assert_eq!(thread(Recorded { waited_ns: waited, ..THREAD }), one(Kind::WaitedForCpu, 5e6, Some(1), Some(1)));
    assert_eq!(thread(Recorded { involuntary: 104, ..THREAD }), one(Kind::Preempted, 100.0, Some(1), Some(1)));
    assert_eq!(thread(Recorded { migrations: 2, ..THREAD }), one(Kind::Migrated, 1.0, Some(1), Some(1)));
    assert_eq!(thread(Recorded { cpu: 0, ..THREAD }), one(Kind::RanElsewhere, 1.0, Some(1), Some(0)));
    assert_eq!(thread(Recorded { allowed: "0", ..THREAD }), one(Kind::AffinityChanged, 1.0, Some(1), None));
    assert_eq!(thread(Recorded { major_faults: 1, ..THREAD }), one(Kind::MajorFault, 1.0, Some(1), None));

    let file = |path: &str, text: &str| found(|tree| tree.file(path, text));
    let throttled = "nr_throttled 1\nthrottled_usec 9000\n";
    assert_eq!(file("sys/fs/cgroup/user.slice/cpu.stat", throttled), one(Kind::Throttled, 6e6, None, None));
    assert_eq!(file("proc/stat", &STAT.replace(" 994 ", " 996 ")), one(Kind::Steal, 20e6, None, Some(1)));
    let cpu1 = |name: &str| format!("sys/devices/system/cpu/cpu1/{name}");
    let limited = file(&cpu1("cpufreq/scaling_max_freq"), "2000000\n");
    assert_eq!(limited, one(Kind::FrequencyLimited, 1.7e6, None, Some(1)));
    let hot = file(&cpu1("thermal_throttle/package_throttle_count"), "9\n");
    assert_eq!(hot, one(Kind::ThermalThrottle, 2.0, None, Some(1)));
}

/// Of a block of 100 ms, which a test does not want to wait for, of threads that may run on `allowed` unless they are pinned.
fn compare_on(
    allowed: Option<&[usize]>,
    threads: &[Thread],
    initiator: Option<usize>,
    tasks: &[task::Times],
    idle_ns: u64,
) -> reading::Found {
    let (before, after) = readings(allowed, tasks, idle_ns);
    let found = reading::disturbances(threads, initiator, &Baseline::default(), &before, &after);
    assert!(found.disturbances.iter().all(|disturbance| disturbance.unit == Unit::Ns));
    found
}

/// The readings before and after such a block, in which two CPUs idled for `idle_ns` each.
fn readings(allowed: Option<&[usize]>, tasks: &[task::Times], idle_ns: u64) -> (Reading, Reading) {
    let counters =
        |times| task::Task { times: Some(times), allowed_cpus: allowed.map(Vec::from), ..task::Task::default() };
    let zero = task::Times::default();
    let cpu = |idle_ns| cpus::Cpu { idle_ns: Some(idle_ns), ..cpus::Cpu::default() };
    let before = Reading {
        tasks: tasks.iter().map(|_| counters(zero)).collect(),
        cpus: [(0, cpu(0)), (1, cpu(0))].into(),
        ..Reading::default()
    };
    let after = Reading {
        clocks: Clocks { monotonic_ns: 100_000_000, boottime_ns: 100_000_000 },
        tasks: tasks.iter().copied().map(counters).collect(),
        cpus: [(0, cpu(idle_ns)), (1, cpu(idle_ns))].into(),
        ..before.clone()
    };
    (before, after)
}

fn amounts(found: reading::Found) -> Vec<(Kind, f64)> {
    found.disturbances.into_iter().map(|Disturbance { kind, amount, .. }| (kind, amount)).collect()
}

fn compare(threads: &[Thread], initiator: Option<usize>, tasks: &[task::Times], idle_ns: u64) -> Vec<(Kind, f64)> {
    amounts(compare_on(None, threads, initiator, tasks, idle_ns))
}

fn times(ran_ms: u64, waited_ms: u64) -> task::Times {
    task::Times { ran_ns: ran_ms * 1_000_000, waited_ns: waited_ms * 1_000_000 }
}

fn vcpu(vcpu: usize, pin: usize) -> Thread {
    Thread { vcpu: Some(vcpu), id: 1, pin: Some(pin) }
}

const HOST: Thread = Thread { vcpu: None, id: 2, pin: None };

#[test]
fn an_initiator_that_neither_runs_nor_waits_was_stopped() {
    let threads = [vcpu(0, 0), vcpu(1, 1)];
    assert_eq!(compare(&threads, Some(0), &[times(99, 0), times(40, 0)], 60_000_000), []);
    let stopped = compare(&threads, Some(0), &[times(60, 0), times(40, 0)], 60_000_000);
    assert_eq!(stopped, [(Kind::Stopped, 40e6)]);
}

#[test]
fn a_host_that_reads_late_is_no_stop() {
    let threads = [vcpu(0, 0), HOST];
    assert_eq!(compare(&threads, Some(0), &[times(60, 0), times(0, 40)], 0), []);
}

#[test]
fn a_sleeping_vcpus_cpu_idles_unless_it_runs_something_else() {
    let threads = [vcpu(0, 0), vcpu(1, 1)];
    assert_eq!(compare(&threads, Some(0), &[times(99, 0), times(40, 0)], 20_000_000), [(Kind::CpuBusy, 40e6)]);
}

#[test]
fn vcpus_that_share_a_cpu_by_request_do_not_disturb_each_other() {
    let threads = [vcpu(0, 0), vcpu(1, 0)];
    assert_eq!(compare(&threads, Some(0), &[times(50, 50), times(50, 50)], 0), []);
    // Together they ran for 60 ms: the other 40 ms went to somebody else, and each has waited for those, too.
    let found = compare(&threads, Some(0), &[times(30, 70), times(30, 70)], 0);
    assert_eq!(found, [(Kind::WaitedForCpu, 40e6), (Kind::WaitedForCpu, 40e6)]);
}

#[test]
fn a_planned_competitor_disturbs_nothing_and_hides_nobody() {
    let threads = [vcpu(0, 0), vcpu(1, 1)];
    let competitor = Planned { cpu: 1, ran_ns: 50_000_000, slices: 400 };
    let found = |waited_ms| {
        let (before, mut after) = readings(None, &[times(99, 0), times(100 - waited_ms, waited_ms)], 0);
        after.planned.competitors.push(competitor);
        let (before_switches, after_switches) = (0, competitor.slices);
        let count = |mut reading: Reading, switches| {
            reading.tasks[1].involuntary_switches = Some(switches);
            reading
        };
        let (before, after) = (count(before, before_switches), count(after, after_switches));
        reading::disturbances(&threads, Some(0), &Baseline::default(), &before, &after)
    };
    let ambiguous = [Kind::Preempted].into();
    assert_eq!(
        (amounts(found(50)), found(50).ambiguous),
        (vec![], ambiguous),
        "whose switches they were cannot be told"
    );
    assert_eq!(amounts(found(80)), [(Kind::WaitedForCpu, 30e6)], "somebody else ran there, too");
    let elsewhere = Planned { cpu: 0, ..competitor };
    assert_eq!(
        (Planned::on(&[competitor, elsewhere], Some(1)), Planned::on(&[competitor], None)),
        ((50_000_000, 400), (0, 0))
    );
}

#[test]
fn the_hosts_thread_counts_where_it_makes_the_calls() {
    let threads = [vcpu(0, 0), HOST];
    let found = compare(&threads, None, &[times(10, 0), times(60, 40)], 90_000_000);
    assert_eq!(found, [(Kind::WaitedForCpu, 30e6)], "less what the vCPU ran, which may have been on its CPU");
}

const BOTH: Option<&[usize]> = Some(&[0, 1]);

fn unpinned(vcpu: usize) -> Thread {
    Thread { vcpu: Some(vcpu), id: 1, pin: None }
}

#[test]
fn unpinned_vcpus_that_have_a_cpu_each_wait_for_strangers() {
    let threads = [unpinned(0), unpinned(1)];
    let found = compare_on(BOTH, &threads, Some(0), &[times(100, 0), times(70, 30)], 0);
    assert_eq!((amounts(found.clone()), found.ambiguous), (vec![(Kind::WaitedForCpu, 30e6)], BTreeSet::new()));
}

#[test]
fn of_unpinned_vcpus_beyond_the_cpus_only_the_excess_is_a_strangers() {
    let threads = [unpinned(0), unpinned(1), unpinned(2)];
    let found = compare_on(BOTH, &threads, Some(0), &[times(67, 33), times(67, 33), times(66, 34)], 0);
    assert_eq!(found, reading::Found { disturbances: Vec::new(), ambiguous: [Kind::WaitedForCpu].into() });
    let found = compare_on(BOTH, &threads, Some(0), &[times(100, 0), times(20, 80), times(30, 70)], 0);
    assert_eq!(amounts(found), [(Kind::WaitedForCpu, 50e6), (Kind::WaitedForCpu, 50e6)]);
}

#[test]
fn a_pinned_vcpu_waits_for_strangers_where_the_host_calls() {
    let threads = [vcpu(0, 0), vcpu(1, 1), HOST];
    // The other vCPU sleeps: the host's thread has a CPU for itself.
    let found = compare_on(BOTH, &threads, None, &[times(60, 40), times(5, 0), times(100, 0)], 0);
    assert_eq!(amounts(found.clone()), [(Kind::WaitedForCpu, 35e6)]);
    assert_eq!(found.ambiguous, [Kind::CpuBusy].into(), "whom CPU 1 ran, the host's thread or somebody else");
    // All three are busy on two CPUs.
    let found = compare_on(BOTH, &threads, None, &[times(66, 34), times(67, 33), times(67, 33)], 0);
    assert_eq!(found, reading::Found { disturbances: Vec::new(), ambiguous: [Kind::WaitedForCpu].into() });
}

#[test]
fn a_pinned_vcpu_is_preempted_by_strangers_unless_the_machines_threads_are_too_many() {
    let preempted = |threads: &[Thread], initiator| {
        let task = |involuntary| task::Task {
            times: Some(task::Times { ran_ns: involuntary * 1_000, waited_ns: 0 }),
            involuntary_switches: Some(involuntary),
            allowed_cpus: BOTH.map(Vec::from),
            ..task::Task::default()
        };
        let reading =
            |involuntary| Reading { tasks: threads.iter().map(|_| task(involuntary)).collect(), ..Reading::default() };
        let (before, after) = (reading(0), reading(100));
        let found = reading::disturbances(threads, initiator, &Baseline::default(), &before, &after);
        (found.disturbances.len(), found.ambiguous)
    };
    assert_eq!(preempted(&[vcpu(0, 0), HOST], None), (2, BTreeSet::new()));
    assert_eq!(preempted(&[vcpu(0, 0), vcpu(1, 1), HOST], None), (0, [Kind::Preempted].into()));
    assert_eq!(preempted(&[vcpu(0, 0), vcpu(1, 1), HOST], Some(0)), (2, BTreeSet::new()), "the host's thread sleeps");
}

#[test]
fn what_is_told_by_pins_alone_is_unknown_without() {
    let tree = machine();
    let threads = [Thread { pin: None, ..VCPU1 }];
    let unknown = watch(&tree, &threads).unknown();
    assert_eq!(unknown, [Kind::CpuBusy, Kind::Migrated, Kind::RanElsewhere].into());
}

#[test]
fn what_the_machines_own_threads_may_have_done_is_unknown_from_then_on() {
    let tree = machine();
    let threads = [VCPU1, Thread { vcpu: Some(2), id: 72, ..VCPU1 }];
    let tree = Recorded { id: 72, ..THREAD }.write(tree);
    let mut watch = watch(&tree, &threads);
    watch.begin();
    let waited_ns = THREAD.waited_ns + 1_000_000_000;
    let tree = Recorded { waited_ns, ..THREAD }.write(tree);
    let _tree = Recorded { id: 72, ran_ns: THREAD.ran_ns + 1_000_000_000, ..THREAD }.write(tree);
    assert_eq!(watch.unknown(), BTreeSet::new());
    assert_eq!(watch.end(Some(0)), []);
    assert_eq!(watch.unknown(), [Kind::WaitedForCpu].into());
}

#[test]
fn a_suspended_machine_has_a_boottime_of_its_own() {
    let before = Reading::default();
    let clocks = Clocks { monotonic_ns: 1_000, boottime_ns: 2_000_001_000 };
    let after = Reading { clocks, continues: 1, ..Reading::default() };
    let found = reading::disturbances(&[], Some(0), &Baseline::default(), &before, &after);
    assert_eq!(amounts(found), [(Kind::Suspended, 2e9)], "whatever continued the process: it is named once");
}

#[test]
fn what_the_hypervisor_below_takes_is_no_stop() {
    let compare = |ran_ms, ticks: u64| {
        let (mut before, mut after) = readings(None, &[times(ran_ms, 0)], 0);
        before.cpus.values_mut().for_each(|cpu| cpu.steal_ticks = Some(7));
        after.cpus.values_mut().for_each(|cpu| cpu.steal_ticks = Some(7));
        after.cpus.get_mut(&0).unwrap().steal_ticks = Some(7 + ticks);
        amounts(reading::disturbances(&[vcpu(0, 0)], Some(0), &Baseline::default(), &before, &after))
    };
    assert_eq!(compare(75, 2), [(Kind::Steal, 20e6)], "and a part of a tick");
    assert_eq!(compare(40, 1), [(Kind::Stopped, 40e6), (Kind::Steal, 10e6)]);
    assert_eq!(compare(75, 0), [(Kind::Stopped, 25e6)]);
}

#[test]
fn a_stop_of_the_process_is_named_once_and_hides_no_longer_wait() {
    let compare = |tasks: &[task::Times], idle_ns, continues| {
        let threads = [vcpu(0, 0), vcpu(1, 1)];
        let (before, mut after) = readings(None, tasks, idle_ns);
        after.continues = continues;
        amounts(reading::disturbances(&threads, Some(0), &Baseline::default(), &before, &after))
    };
    // Stopped for 60 of 100 ms, in which CPU 1 ran something else for 20.
    let stopped = [times(40, 0), times(30, 0)];
    assert_eq!(compare(&stopped, 50_000_000, 1), [(Kind::Continued, 60e6)]);
    assert_eq!(compare(&stopped, 50_000_000, 0), [(Kind::Stopped, 60e6)], "by a debugger, for example");
    assert_eq!(
        compare(&[times(100, 0), times(50, 0)], 50_000_000, 1),
        [(Kind::Continued, 0.0)],
        "too short to be seen"
    );
    let beside_a_neighbour = [times(40, 50), times(50, 0)];
    let found = compare(&beside_a_neighbour, 50_000_000, 1);
    assert_eq!(found, [(Kind::WaitedForCpu, 50e6), (Kind::Continued, 10e6)]);
}

#[test]
fn an_initiator_that_sleeps_while_it_waits_is_not_stopped() {
    let compare = |initiator_sleeps| {
        let (before, mut after) = readings(None, &[times(40, 0)], 60_000_000);
        after.planned.initiator_sleeps = initiator_sleeps;
        amounts(reading::disturbances(&[vcpu(0, 0)], Some(0), &Baseline::default(), &before, &after))
    };
    assert_eq!(compare(true), []);
    assert_eq!(compare(false), [(Kind::Stopped, 60e6)]);
}

#[test]
fn a_machine_that_is_booted_later_is_compared_with_what_the_first_found() {
    let unpinned = |id| Thread { pin: None, id, ..VCPU1 };
    let mut baseline = Baseline::default();
    let of_boot = |tree: &Tree, id, baseline: &mut Baseline| {
        let mut watch = watch(tree, &[unpinned(id)]);
        watch.compare_with(baseline);
        watch.begin();
        let found = watch.end(Some(0));
        found.into_iter().map(|Disturbance { kind, amount, .. }| (kind, amount)).collect::<Vec<_>>()
    };
    let tree = machine();
    assert_eq!(of_boot(&tree, 71, &mut baseline), []);
    let tree = tree.file("sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq", "2000000\n");
    let tree = Recorded { id: 72, allowed: "0-1", ..THREAD }.write(tree);
    let changed = [(Kind::AffinityChanged, 1.0), (Kind::FrequencyLimited, 1.7e6)];
    assert_eq!(of_boot(&tree, 72, &mut baseline), changed);
    assert_eq!(of_boot(&tree, 72, &mut Baseline::default()), [], "another run finds it so");
}

#[test]
fn where_a_vcpu_ran_is_told_and_whether_somebody_changed_where_it_may() {
    let ran_on = |after: Recorded| {
        let tree = machine();
        let mut watch = watch(&tree, &[VCPU1]);
        watch.begin();
        let _tree = after.write(tree);
        watch.end(Some(0));
        let [RanOn { vcpu: 1, pin: Some(1), cpus, affinity_changed }] = watch.ran_on() else { panic!("one vCPU") };
        (cpus.iter().copied().collect::<Vec<_>>(), *affinity_changed)
    };
    let ran_ns = THREAD.ran_ns + 1_000;
    assert_eq!(ran_on(Recorded { ran_ns, ..THREAD }), (vec![1], Some(false)));
    assert_eq!(ran_on(Recorded { ran_ns, cpu: 0, allowed: "0-1", ..THREAD }), (vec![0], Some(true)));
    assert_eq!(ran_on(Recorded { cpu: 0, ..THREAD }), (vec![], Some(false)), "it slept, and had run there before");
}

#[test]
fn the_time_of_a_block_is_divided_by_what_the_ticks_found() {
    let modes = |ticks: [[u64; 3]; 2], initiator| {
        let tree = Recorded { ticks: [7, 5, 6], ..THREAD }.write(machine());
        let tree = Recorded { id: 72, ticks: [1, 1, 0], ..THREAD }.write(tree);
        let mut watch = watch(&tree, &[VCPU1, Thread { id: 72, ..HOST }]);
        watch.begin();
        assert_eq!(watch.modes(), None, "no block has ended");
        let tree = Recorded { ticks: ticks[0], ..THREAD }.write(tree);
        let _tree = Recorded { id: 72, ticks: ticks[1], ..THREAD }.write(tree);
        watch.end(initiator);
        let Modes { guest_ns, user_ns, kernel_ns } = watch.modes().expect("the kernel says");
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        [guest_ns / tick, user_ns / tick, kernel_ns / tick]
    };
    let ticks = [[17, 8, 14], [5, 2, 0]];
    assert_eq!(modes(ticks, Some(1)), [8, 2, 3], "the host's thread waits");
    assert_eq!(modes(ticks, None), [8, 6, 4], "the host's thread calls");
    assert_eq!(modes([[9, 5, 9], [1, 1, 0]], Some(1)), [2, 0, 0], "the guest's ticks are not scaled");
    let mut unknown = watch(&Tree::new(), &[VCPU1]);
    unknown.begin();
    unknown.end(Some(1));
    assert_eq!(unknown.modes(), None);
}
