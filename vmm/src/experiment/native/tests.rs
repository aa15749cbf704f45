use super::*;
use crate::config::routes::Route;
use guest_stub::abi::TargetState;

fn spec(call: Call, route: Route, destination: Destination, vcpus: usize) -> BlockSpec {
    BlockSpec {
        cell: CellId { call, ..CellId::broadcast(route, destination, TargetState::User, vcpus) },
        initiator: 0,
        worker: Worker::Stamp,
        argument: 7,
        recording: Recording::COUNTS,
        warmup: 1,
        rounds: 4,
    }
}

#[test]
fn each_cell_has_its_call_and_its_targets() {
    let of = |kind, route, destination| {
        let spec = BlockSpec { initiator: 1, ..spec(kind, route, destination, 3) };
        (call(&spec), targets(&spec))
    };
    let (all, one) = (Destination::AllButSelf, Destination::Unicast);
    let broadcast = native::Call::Broadcast { busy: 0 };
    assert_eq!(of(Call::Broadcast, Route::NativeRseq, all), (broadcast, vec![0, 2]));
    assert_eq!(of(Call::Broadcast, Route::NativeRseq, one), (broadcast, vec![0, 2]), "one send for each");
    assert_eq!(of(Call::Ping, Route::NativeRseq, one), (native::Call::Ping, vec![2]));
    assert_eq!(of(Call::Ping, Route::Native, one), (native::Call::Bare, vec![2]));
    assert_eq!(of(Call::Ping, Route::Native, all), (native::Call::Bare, vec![0, 2]));
    let busy = BlockSpec { worker: Worker::Spin, ..spec(Call::Broadcast, Route::NativeRseq, all, 2) };
    assert_eq!(call(&busy), native::Call::Broadcast { busy: 7 });
}

fn sent(number: u32) -> Sent {
    let t0 = u64::from(number) * 1000;
    Sent { generation: 4 * number, t0, t1: t0 + 10, t2: t0 + 90, worker: Some([t0 + 40, t0 + 50]), resent: false }
}

fn taken(number: u32) -> Taken {
    let t0 = u64::from(number) * 1000;
    Taken { a: Some(t0 + 20), slept: None, worker: Some([t0 + 45, t0 + 60]), was_switched: false }
}

fn five_rounds() -> Rounds {
    let (sent, taken) = ((0..5).map(sent).collect(), (0..5).map(taken).collect());
    Rounds { sent, taken: vec![(1, taken)], cpu: None, silent: None }
}

#[test]
fn the_stamps_of_a_round_are_those_of_its_threads() {
    let spec = spec(Call::Broadcast, Route::NativeRseq, Destination::AllButSelf, 2);
    let block = assess(&spec, &five_rounds());
    assert_eq!((block.rounds.len(), block.not_in_state), (4, 0), "the first one warms up");
    let Round { generation, initiator, t0, t1, t2, participants, .. } = &block.rounds[0];
    assert_eq!((*generation, *initiator, *t0, *t1, *t2), (4, Some(0), 1000, 1010, 1090));
    let stamps: Vec<_> = participants.iter().map(|it| (it.vcpu, it.a, it.w, it.x)).collect();
    assert_eq!(stamps, [(0, None, Some(1040), Some(1050)), (1, Some(1020), Some(1045), Some(1060))]);
    assert!(block.integrity.is_clean() && block.exits.is_empty());
}

#[test]
fn a_round_counts_only_with_every_target_on_its_cpu_and_restarted() {
    let mut rounds = five_rounds();
    rounds.taken[0].1[1].was_switched = true;
    rounds.taken[0].1[2].a = None;
    let of = |route, rounds: &Rounds| {
        let block = assess(&spec(Call::Ping, route, Destination::Unicast, 2), rounds);
        (block.rounds.len(), block.not_in_state)
    };
    assert_eq!(of(Route::NativeRseq, &rounds), (2, 2));
    assert_eq!(of(Route::Native, &rounds), (3, 1), "which restarts nobody");
    rounds.taken[0].1.truncate(4);
    assert_eq!(of(Route::NativeRseq, &rounds), (1, 3), "a target that says nothing of the last round");
}

#[test]
fn a_target_that_sleeps_was_halted_before_the_send() {
    let mut rounds = five_rounds();
    for (number, taken) in (0..).zip(&mut rounds.taken[0].1) {
        taken.slept = (number > 0).then(|| number * 1000 - 70);
    }
    rounds.taken[0].1[2].was_switched = true;
    let mut spec = spec(Call::Broadcast, Route::NativeFutex, Destination::AllButSelf, 2);
    spec.cell.target_state = TargetState::Halt;
    let block = assess(&spec, &rounds);
    assert_eq!((block.rounds.len(), block.not_in_state), (3, 1));
    let halted: Vec<_> = block.rounds[0].participants.iter().map(|it| it.halted).collect();
    assert_eq!(halted, [None, Some(930)]);
    let of = |idle_before_us, settle| {
        let spec = BlockSpec { cell: CellId { idle_before_us, ..spec.cell }, ..spec };
        let limits = Limits { deadline: Duration::ZERO, settle: Duration::from_micros(settle) };
        super::settle(&spec, limits).as_micros()
    };
    assert_eq!([of(None, 5), of(None, 50), of(Some(300), 5), of(Some(0), 5)], [20, 50, 300, 20]);
}

#[test]
fn a_call_that_was_sent_twice_or_given_up_is_counted() {
    let mut rounds = five_rounds();
    rounds.sent[3].resent = true;
    rounds.silent = Some(native::Silent { thread: 1, what: "arrive", deadline: Duration::from_secs(1) });
    let block = assess(&spec(Call::Broadcast, Route::NativeRseq, Destination::AllButSelf, 2), &rounds);
    assert_eq!(block.integrity, Integrity { lost: 1, timed_out: 1, ..Integrity::default() });
}

#[test]
fn the_time_of_a_thread_that_is_not_called_is_not_a_targets() {
    let times = CpuTimes { wall_ns: 100, threads: vec![Some(95), Some(60), Some(3)], reader_ns: 90 };
    let of = |destination| {
        let spec = spec(Call::Ping, Route::Native, destination, 3);
        let cpu = cpu_time(&spec, &times).expect("all are known");
        (cpu.rounds, cpu.wall_ns, cpu.initiator_ns, cpu.targets_ns, cpu.others_ns)
    };
    assert_eq!(of(Destination::Unicast), (4, 100, 90, 60, 3));
    assert_eq!(of(Destination::AllButSelf), (4, 100, 90, 63, 0));
    let unknown = CpuTimes { threads: vec![Some(95), None, Some(3)], ..times };
    assert_eq!(cpu_time(&spec(Call::Ping, Route::Native, Destination::Unicast, 3), &unknown), None);
}
