use super::generation::DECISION_MASK;
extern crate std;
use super::*;
use crate::atomics::Ordering;

static PACKET: Packet = Packet::new();
const WORK: Work = Work { worker: 1, argument: 2, participants: 2, deadline: 3 };

#[test]
fn generations_are_never_zero_never_twice_and_leave_room_for_a_decision() {
    let generations = Generations::new(Generation(u32::MAX - 7));
    let issued = [generations.issue().get(), generations.issue().get(), generations.issue().get()];
    assert_eq!(issued, [u32::MAX - 3, 4, 8]);
    assert!(issued.iter().all(|it| it & DECISION_MASK == 0));
    let rows = [2, 1].map(|count| generations.issue_row(count));
    assert_eq!(rows.map(Generation::get), [12, 20]);
    assert_eq!(rows[0].next(), Generation(16));
}

#[test]
fn a_request_is_claimed_once_and_by_its_own_delivery() {
    let slot = Slot::new();
    assert_eq!(slot.claim(Delivery::Interrupt), None, "nobody asked");
    slot.request(Generation(4), &PACKET, Delivery::Interrupt);
    assert_eq!(slot.claim(Delivery::Nmi), None, "an NMI serves no interrupt's call");
    assert_eq!(slot.claim(Delivery::Interrupt), Some(Generation(4)));
    assert_eq!(slot.claim(Delivery::Interrupt), None, "a duplicate has nothing to do");
    slot.request(Generation(8), &PACKET, Delivery::Nmi);
    assert_eq!(slot.claim(Delivery::Interrupt), None, "an interrupt serves no NMI's call");
    assert_eq!(slot.claim(Delivery::Nmi), Some(Generation(8)));
    assert_eq!(slot.served(Delivery::Interrupt), Generation(4));
}

#[test]
fn a_row_of_generations_does_not_wrap() {
    for (last, first) in [(u32::MAX - 15, u32::MAX - 11), (u32::MAX - 11, 4), (u32::MAX - 7, 8), (u32::MAX - 3, 12)] {
        assert_eq!(Generations::new(Generation(last)).issue_row(3), Generation(first), "after {last:#x}");
    }
}

#[test]
fn one_decision_wins_and_a_latecomer_sees_an_abort() {
    let packet = Packet::new();
    let (first, second) = (Generation(4), Generation(8));
    packet.publish(first, WORK);
    assert_eq!(packet.decision(first), Decision::Pending);
    assert!(packet.abort(first));
    assert!(!packet.go(first), "GO xor ABORT");
    assert_eq!(packet.decision(first), Decision::Abort);
    packet.publish(second, WORK);
    assert!(packet.go(second));
    assert!(!packet.abort(second), "GO xor ABORT");
    assert_eq!(packet.decision(second), Decision::Go);
    assert_eq!(packet.decision(first), Decision::Abort, "a latecomer of the first call does nothing");
    assert_eq!((packet.generation(), packet.work()), (second, WORK));
}

#[test]
fn a_processor_is_in_a_worker_from_go_to_done() {
    static SLOT: Slot = Slot::new();
    static CALL: Packet = Packet::new();
    for (generation, by) in [(Generation(4), Delivery::Interrupt), (Generation(8), Delivery::Nmi)] {
        assert!(!SLOT.is_working(), "not called");
        CALL.publish(generation, WORK);
        SLOT.request(generation, &CALL, by);
        assert_eq!(SLOT.claim(by), Some(generation));
        SLOT.arrive(generation);
        assert!(!SLOT.is_working(), "waits at the gate");
        assert!(CALL.go(generation));
        assert!(SLOT.is_working());
        SLOT.complete(generation, 0);
        assert!(!SLOT.is_working(), "done");
        CALL.close(generation);
        assert_eq!((CALL.decision(generation), CALL.generation()), (Decision::Abort, generation), "over");
    }
}

#[test]
fn a_slot_has_one_owner() {
    let slot = Slot::new();
    assert!(slot.try_own(0));
    assert!(!slot.try_own(1));
    release([&slot].into_iter());
    assert!(slot.try_own(1));
}

#[test]
fn who_cannot_own_all_owns_none() {
    let slots = [Slot::new(), Slot::new(), Slot::new()];
    assert!(slots[2].try_own(7));
    let mut tries = 0;
    let acquired = try_acquire(slots.iter(), 0, || {
        tries += 1;
        tries < 3
    });
    assert!(!acquired);
    assert_eq!(tries, 3);
    assert!(slots[0].try_own(1) && slots[1].try_own(1), "given back");
    release(slots.iter());
    assert!(try_acquire(slots.iter(), 0, || false));
}

#[test]
fn a_barrier_opens_when_all_have_come_to_that_phase() {
    let packet = Packet::new();
    packet.publish(Generation(4), WORK);
    assert!(!packet.meet(1, |met| met()), "one of two");
    assert!(packet.meet(1, |met| met()));
    assert!(!packet.meet(2, |met| met()), "the next phase starts anew");
    packet.publish(Generation(8), WORK);
    assert!(!packet.meet(1, |met| met()), "so does the next call");
}

#[test]
fn the_last_of_a_call_is_told_so_and_others_count_for_nothing() {
    let gathering = Gathering::new();
    let is_complete = |generation: Generation| gathering.word().load(Ordering::Acquire) == generation.0;
    let (first, second) = (Generation(4), Generation(8));
    assert!(!gathering.come(first), "nobody is expected");
    gathering.expect(first, 2);
    assert!(!gathering.come(first), "one of two");
    assert!(!is_complete(first));
    assert!(gathering.come(first) && is_complete(first));
    assert!(!gathering.come(first), "one too many");
    gathering.expect(second, 1);
    assert!(!gathering.come(first), "a latecomer");
    assert!(!is_complete(second));
    assert!(gathering.come(second) && is_complete(second));
}

#[test]
fn a_gathering_holds_across_the_wrap_of_generations() {
    let gathering = Gathering::new();
    let last = Generation(u32::MAX - 3);
    gathering.expect(last, 1);
    assert!(!gathering.come(Generation(4)), "the next one, after the wrap");
    assert!(gathering.come(last));
}

/// Sleeps through nothing: its words change by themselves.
struct Dreamer(std::cell::Cell<u32>);

impl Sleeper for Dreamer {
    fn sleep(&self, _: &std::sync::atomic::AtomicU32, _: u32) {
        self.0.set(self.0.get() + 1);
    }

    fn wake(&self, _: &std::sync::atomic::AtomicU32) {
        self.0.set(u32::MAX);
    }

    fn is_late(&self, deadline: u64) -> bool {
        u64::from(self.0.get()) > deadline
    }
}

#[test]
fn a_sleeper_looks_first_and_gives_up_when_it_is_late() {
    let packet = Packet::new();
    let generation = Generation(4);
    packet.publish(generation, WORK);
    let sleeper = Dreamer(0.into());
    assert!(!packet.sleep_until_decided(generation, &sleeper), "nobody decides");
    assert_eq!(u64::from(sleeper.0.get()), WORK.deadline + 1);
    packet.go(generation);
    let awake = Dreamer(0.into());
    assert!(packet.sleep_until_decided(generation, &awake));
    packet.close(generation);
    packet.sleep_until_closed(generation, &awake);
    assert_eq!(awake.0.get(), 0, "there was nothing to sleep for");
    packet.count_targets(generation, 1);
    packet.ends().come_and_wake(generation, &awake);
    assert_eq!(awake.0.get(), u32::MAX, "the last one wakes");
}
