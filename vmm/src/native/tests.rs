use super::membarrier::{Barrier, interrupt_one};
use super::*;
use crate::host;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: u32 = 100;
const CALLS: [Call; 3] = [Call::Bare, Call::Ping, Call::Broadcast { busy: 2_000 }];
/// Those of which targets can be asleep.
const WAKE_UPS: [Call; 2] = [CALLS[1], CALLS[2]];

fn block(call: Call) -> Block {
    let deadline = Duration::from_secs(20);
    Block {
        call,
        caller: 0,
        targets: vec![1],
        one_by_one: false,
        asleep: false,
        rounds: ROUNDS,
        counted_from: 0,
        settle: 20_000,
        deadline,
    }
}

/// Two CPUs that this process may use; `None`: it has only one, and no two threads can be busy at once.
fn two_cpus() -> Option<[usize; 2]> {
    let cpus = host::Machine::read().allowed_cpus?;
    cpus.first_chunk().copied()
}

fn run(threads: &Threads, block: Block) -> Rounds {
    threads.run(block, &AtomicBool::new(false)).expect("a block")
}

/// Each call with what its target has made of it.
fn rounds(found: &Rounds) -> Vec<(Sent, Taken)> {
    let [(1, taken)] = found.taken.as_slice() else { panic!("one target: {found:?}") };
    found.sent.iter().copied().zip(taken.iter().copied()).collect()
}

#[test]
fn every_call_is_completed_and_stamped_in_order() {
    let Some(cpus) = two_cpus() else { return };
    let threads = Threads::start(2, &cpus).expect("two threads");
    for call in CALLS {
        let found = run(&threads, block(call));
        assert_eq!(found.silent, None, "{call:?}");
        let rounds = rounds(&found);
        assert_eq!(rounds.len(), ROUNDS as usize, "{call:?}");
        for (sent, taken) in rounds {
            assert!(sent.t0 < sent.t1 && sent.t1 <= sent.t2, "{call:?}: {sent:?}");
            assert!(!sent.resent, "{call:?}");
            // Two CPUs' TSCs may be some cycles apart, an interrupt takes thousands.
            let has_come = taken.a.is_none_or(|a| (sent.t0..sent.t2).contains(&a));
            assert!(has_come || taken.was_switched, "{call:?}: {sent:?}, {taken:?}");
            let Some((own, other)) = sent.worker.zip(taken.worker) else {
                assert!(!matches!(call, Call::Broadcast { .. }), "who runs no worker was not called: {taken:?}");
                continue;
            };
            for [start, end] in [own, other] {
                assert!(
                    end - start >= 2_000 && end <= sent.t2,
                    "a worker is as busy as it was to be: {sent:?}, {taken:?}"
                );
            }
            assert!(taken.a.is_none_or(|a| a < own[0] && a < other[0]), "nobody starts before all are there");
        }
    }
}

/// One of all, or one of each.
fn asleep(call: Call, one_by_one: bool) -> Block {
    // Long enough to fall asleep on any machine.
    Block { asleep: true, one_by_one, settle: 200_000, ..block(call) }
}

#[test]
fn a_thread_that_sleeps_is_woken() {
    let Some(cpus) = two_cpus() else { return };
    let threads = Threads::start(2, &cpus).expect("two threads");
    for (call, one_by_one) in WAKE_UPS.into_iter().flat_map(|call| [(call, false), (call, true)]) {
        let found = run(&threads, asleep(call, one_by_one));
        assert_eq!(found.silent, None, "{call:?}");
        let rounds = rounds(&found);
        assert_eq!(rounds.len(), ROUNDS as usize, "{call:?}");
        for (sent, taken) in &rounds {
            let (slept, a) = (taken.slept.expect("it was to sleep"), taken.a.expect("it was woken"));
            assert!(slept < sent.t0 && a > sent.t0 && a < sent.t2, "{call:?}: {sent:?}, {taken:?}");
            assert!(
                taken.worker.is_none_or(|[start, end]| a < start && end <= sent.t2),
                "{call:?}: {sent:?}, {taken:?}"
            );
        }
        assert!(rounds.iter().any(|(_, taken)| !taken.was_switched), "{call:?}: none of them slept: {rounds:?}");
    }
}

#[test]
fn a_thread_that_was_not_asleep_says_so() {
    let alarm = futex::Alarm::default();
    let known = alarm.rung();
    alarm.ring().expect("the kernel has futexes");
    std::thread::scope(|scope| {
        let awake = scope.spawn(|| {
            let before = switches::of_this_thread();
            alarm.sleep(known);
            switches::of_this_thread().since(before).voluntary
        });
        assert_eq!(awake.join().expect("no panic"), 0, "what has rung is not waited for");
    });
}

#[test]
fn threads_that_sleep_are_released_when_nothing_is_called_any_more() {
    let Some(cpus) = two_cpus() else { return };
    let interrupted = AtomicBool::new(true);
    for one_by_one in [false, true] {
        let threads = Threads::start(2, &cpus).expect("two threads");
        let start = Instant::now();
        let ended = threads.run(asleep(Call::Ping, one_by_one), &interrupted);
        assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
        drop(threads);
        assert!(start.elapsed() < Duration::from_secs(10), "nobody sleeps any more");
    }
}

#[test]
fn an_interrupt_restarts_its_target() {
    let Some(cpus) = two_cpus() else { return };
    let threads = Threads::start(2, &cpus).expect("two threads");
    for (call, one_by_one) in [(Call::Ping, false), (Call::Ping, true), (CALLS[2], false), (CALLS[2], true)] {
        let found = run(&threads, Block { one_by_one, ..block(call) });
        let rounds = rounds(&found);
        assert_eq!(rounds.len(), ROUNDS as usize);
        let seen = |(_, taken): &(Sent, Taken)| taken.a.is_some() || taken.was_switched;
        assert!(rounds.iter().all(seen), "{call:?}, one by one: {one_by_one}: {rounds:?}");
    }
}

fn stay_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).expect("a CPU that this process may use");
}

/// What a thread in a sequence on CPU `here` sees when `interrupt` is called on CPU `there`: whether it was restarted before it was
/// told to stop. Tried again where it was switched meanwhile, which restarts it, too.
fn is_restarted(here: usize, there: usize, interrupt: impl Fn() -> Result<(), Error> + Sync) -> bool {
    loop {
        let [ready, stop] = [const { AtomicU32::new(0) }; 2];
        let (was_switched, stamp) = std::thread::scope(|scope| {
            let target = scope.spawn(|| {
                stay_on(here);
                let sequences = rseq::Registered::of_this_thread().expect("an area");
                let before = switches::of_this_thread();
                let request = AtomicU32::new(0);
                let stamp = sequences.wait((&ready, 1), (request.as_ptr(), 0), &stop);
                (switches::of_this_thread() != before, stamp)
            });
            let caller = scope.spawn(|| {
                stay_on(there);
                while ready.load(Ordering::Acquire) == 0 {
                    std::hint::spin_loop();
                }
                interrupt().expect("an interrupt");
                stop.store(1, Ordering::Relaxed);
            });
            caller.join().expect("no panic");
            target.join().expect("no panic")
        });
        if !was_switched {
            return stamp.is_some();
        }
    }
}

/// Whether it is not. Other tests of this process interrupt its threads, too: who is restarted by this interrupt is so each time.
fn is_left_alone(here: usize, there: usize, interrupt: impl Fn() -> Result<(), Error> + Sync) -> bool {
    const TRIES: u32 = 100;
    (0..TRIES).any(|_| !is_restarted(here, there, &interrupt))
}

#[test]
fn one_cpu_is_interrupted_and_the_others_are_not() {
    let Some([here, there]) = two_cpus() else { return };
    let number = |cpu: usize| u32::try_from(cpu).expect("a CPU's number");
    Barrier::Plain.register().expect("the kernel has it");
    Barrier::Rseq.register().expect("the kernel has it");
    assert!(is_restarted(here, there, || interrupt_one(number(here))));
    assert!(is_left_alone(here, there, || interrupt_one(number(there))), "it was not its CPU");
    assert!(is_restarted(here, there, || Barrier::Rseq.interrupt_all()));
    assert!(is_left_alone(here, there, || Barrier::Plain.interrupt_all()), "the plain one restarts nobody");
}

#[test]
fn anybody_can_call() {
    let Some(cpus) = two_cpus() else { return };
    let threads = Threads::start(2, &cpus).expect("two threads");
    let found = run(&threads, Block { caller: 1, targets: vec![0], ..block(Call::Ping) });
    assert_eq!((found.sent.len(), found.taken.len(), found.taken[0].0), (ROUNDS as usize, 1, 0));
}

/// Caller and target share a CPU, so that the target runs only when the caller does not.
#[test]
fn a_target_that_has_left_its_cpu_says_so() {
    let Some([cpu, _]) = two_cpus() else { return };
    let threads = Threads::start(2, &[cpu]).expect("two threads");
    for call in CALLS {
        let found = run(&threads, Block { rounds: 3, settle: 0, ..block(call) });
        assert_eq!(found.silent, None, "{call:?}");
        assert!(rounds(&found).iter().all(|(_, taken)| taken.was_switched), "{call:?}: {found:?}");
    }
}

#[test]
fn a_call_that_nobody_answers_is_given_up_and_its_targets_are_released() {
    let Some([first, _]) = two_cpus() else { return };
    // Both on one CPU, and less time than the scheduler takes to run the other one.
    let threads = Threads::start(2, &[first]).expect("two threads");
    let start = Instant::now();
    let deadline = Duration::from_nanos(1);
    let found = run(&threads, Block { deadline, ..block(CALLS[2]) });
    let silent = found.silent.expect("it was given up");
    assert_eq!(silent.thread, 1);
    assert!(silent.to_string().starts_with("thread 1 did not "), "{silent}");
    assert!(found.sent.len() < ROUNDS as usize);
    drop(threads);
    assert!(start.elapsed() < Duration::from_secs(10), "nobody waits any more");
}

#[test]
fn an_interruption_ends_the_block() {
    let Some(cpus) = two_cpus() else { return };
    let threads = Threads::start(2, &cpus).expect("two threads");
    let interrupted = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Calls without end, as far as this test goes.
        let running = scope.spawn(|| threads.run(Block { rounds: 10_000_000, ..block(Call::Bare) }, &interrupted));
        interrupted.store(true, Ordering::Relaxed);
        let ended = running.join().expect("no panic");
        assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    });
}

#[test]
fn a_thread_that_has_panicked_is_an_error() {
    let Some(cpus) = two_cpus() else { return };
    for gone in [0, 1] {
        let threads = Threads::start(2, &cpus).expect("two threads");
        let panicked = threads.run_on(gone, || -> () { panic!("asked for by a test") });
        assert!(matches!(panicked, Err(Error::Gone(thread)) if thread == gone));
        let found = threads.run(block(Call::Ping), &AtomicBool::new(false));
        assert!(matches!(found, Err(Error::Gone(thread)) if thread == gone), "{found:?}");
    }
}

#[test]
fn who_cannot_be_started_is_told_why() {
    assert!(matches!(Threads::start(1, &[]), Err(Error::Alone)));
    for cpu in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU + 7] {
        let error = Threads::start(2, &[cpu]).expect_err("there is no such CPU");
        let line = error.to_string();
        assert!(line.starts_with(&format!("thread 0 cannot be pinned to CPU {cpu}: ")), "{line}");
    }
}

/// Has the kernel refuse membarrier(2), with EPERM, to this thread and those that it starts; `false`: it has no such filters.
fn forbid_membarrier() -> bool {
    fn instruction(code: u32, to: [u8; 2], k: u32) -> libc::sock_filter {
        libc::sock_filter { code: u16::try_from(code).expect("16 bits"), jt: to[0], jf: to[1], k }
    }
    let membarrier = u32::try_from(libc::SYS_membarrier).expect("a number");
    // The first word of `struct seccomp_data` is the system call's number.
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, [0, 0], 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, [0, 1], membarrier),
        instruction(libc::BPF_RET | libc::BPF_K, [0, 0], libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
        instruction(libc::BPF_RET | libc::BPF_K, [0, 0], libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel reads the program, whose instructions outlive the call; both calls change this thread alone.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

#[test]
fn a_kernel_that_refuses_membarrier_is_told_before_anything_is_called() {
    let Some(cpus) = two_cpus() else { return };
    let tried = std::thread::spawn(move || {
        forbid_membarrier().then(|| {
            let threads = Threads::start(2, &cpus).expect("threads alone need no membarrier(2)");
            let sleeping = run(&threads, asleep(Call::Ping, true));
            assert_eq!(sleeping.sent.len(), ROUNDS as usize, "nor do those that sleep");
            CALLS.map(|call| threads.run(block(call), &AtomicBool::new(false)).expect_err("it is refused"))
        })
    });
    let Some([bare, ping, broadcast]) = tried.join().expect("no panic") else { return };
    for (error, barrier) in [(bare, Barrier::Plain), (ping, Barrier::Rseq), (broadcast, Barrier::Rseq)] {
        assert!(matches!(error, Error::Membarrier { errno: rustix::io::Errno::PERM, .. }), "{error}");
        let start = format!("registering for membarrier(2) ({}): Operation not permitted", barrier.name());
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

/// From some block on, while its targets wait to be interrupted.
#[test]
fn a_kernel_that_refuses_membarrier_in_a_block_ends_it_and_releases_its_targets() {
    let Some(cpus) = two_cpus() else { return };
    for (call, one_by_one) in [(CALLS[0], false), (CALLS[1], false), (CALLS[1], true), (CALLS[2], false)] {
        let threads = Threads::start(2, &cpus).expect("two threads");
        let block = Block { one_by_one, ..block(call) };
        assert_eq!(run(&threads, block.clone()).sent.len(), ROUNDS as usize, "{call:?}: nothing is refused yet");
        if !threads.run_on(0, forbid_membarrier).expect("a thread") {
            return;
        }
        let start = Instant::now();
        let error = threads.run(block, &AtomicBool::new(false)).expect_err("it is refused");
        assert!(matches!(error, Error::Membarrier { errno: rustix::io::Errno::PERM, .. }), "{call:?}: {error}");
        drop(threads);
        assert!(start.elapsed() < Duration::from_secs(10), "{call:?}: nobody waits any more");
    }
}

#[test]
fn stamps_are_exchanged_and_cost_little() {
    let Some(cpus) = two_cpus() else { return };
    let threads = Threads::start(2, &cpus).expect("two threads");
    let exchanges = threads.exchange(1, 50, Duration::from_secs(20)).expect("an exchange");
    assert_eq!(exchanges.len(), 50);
    assert!(exchanges.iter().all(|it| it.sent < it.received));
    let best = exchanges.iter().min_by_key(|it| it.received - it.sent).expect("some");
    assert!(best.answered.abs_diff(best.sent) < 1_000_000, "{best:?}: the TSCs of one machine run together");
    let stamps = threads.stamps(50).expect("stamps");
    assert!(stamps.len() == 50 && stamps.iter().all(|&difference| difference > 0), "{stamps:?}");
}

#[test]
fn threads_have_numbers_that_the_kernel_knows() {
    let threads = Threads::start(2, &[]).expect("two threads");
    for id in threads.ids() {
        let pid = Pid::from_raw(id.cast_signed());
        assert!(sched_getaffinity(pid).is_ok(), "{id}");
    }
}
