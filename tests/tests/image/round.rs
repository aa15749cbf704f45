//! How many instructions a round takes on its initiator and on its target.

use crate::sends::{ALL_BUT_SELF, rounds};
use guest_stub::abi;
use guest_stub::rendezvous::{Packet, Slot};
use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register, UsedMemory};
use kipi_tests::code::{demangled, instruction_at, no_callee, shortest_way, stores, symbol};
use kipi_tests::test;
use std::mem::offset_of;

/// Instructions from the first of the interrupt entry to the CALL of the worker, that one included, on the shortest
/// way: the gate is open when the target arrives. The worker's own are not counted.
///
/// Raise it only for a reason: each of them delays every target, and a KVM that emulates CPL0 takes 200 ns and more for
/// it.
const ENTRY_TO_WORKER: usize = 32;

#[test]
fn few_instructions_lie_between_interrupt_and_worker() {
    let call = symbol("ipi_worker_call");
    let instruction = instruction_at(call);
    assert_eq!(instruction.mnemonic(), Mnemonic::Call, "{instruction}");
    // IRQL has to be raised. Without that, the way of an interrupt with nothing to do would count, which comes back without
    // a worker.
    let raises = |it: &Instruction| it.code() == Code::Mov_cr_r64 && it.op0_register() == Register::CR8;
    let count = shortest_way(
        symbol("ipi_entry"),
        |raised, instruction| Some(raised | usize::from(raises(instruction))),
        no_callee,
        |raised, instruction| raised == 1 && instruction.ip() == call,
    );
    let count = count.expect("a way from the interrupt to the worker");
    println!("{count} instructions from interrupt entry to worker");
    // Nine registers to save and a stamp to take: a shorter way would have been followed wrongly.
    assert!(count > 20, "{count} instructions cannot be all");
    assert!(count <= ENTRY_TO_WORKER, "{count} instructions from interrupt entry to worker, {ENTRY_TO_WORKER} allowed");
}

/// The most instructions of a whole round of two processors on its initiator, from one send's fence to the next, and on its target, from
/// the interrupt's entry to its IRETQ, with every poll at its shortest; and of the latter those up to the EOI.
const ROUND_OF_INITIATOR: usize = 115;
const ROUND_OF_TARGET: usize = 82;
const ENTRY_TO_EOI: usize = 53;

/// An instruction that a way has to pass.
type Milestone = (&'static str, fn(&Instruction) -> bool);

fn is_load_of(it: &Instruction, offset: usize) -> bool {
    let mut info = InstructionInfoFactory::new();
    let is_read = |memory: &UsedMemory| {
        memory.access() == OpAccess::Read
            && memory.base() != Register::RSP
            && memory.memory_size().size() == 4
            && memory.displacement() % abi::PAGE == offset as u64
    };
    info.info(it).used_memory().iter().any(is_read)
}

fn is_store_of(it: &Instruction, offset: usize) -> bool {
    stores(it)
        && it.op_count() > 0
        && it.memory_size().size() == 4
        && it.memory_displacement64() % abi::PAGE == offset as u64
}

/// What a round of two processors has to pass on its initiator, in this order.
const ROUND: [Milestone; 17] = [
    ("fence", |it| it.mnemonic() == Mnemonic::Mfence),
    ("t0", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("send", |it| it.mnemonic() == Mnemonic::Wrmsr),
    ("t1", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("raise", |it| it.code() == Code::Mov_cr_r64),
    ("arrived?", |it| is_load_of(it, Slot::ARRIVED)),
    ("gate", |it| it.mnemonic() == Mnemonic::Cmpxchg),
    ("w", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("worker", |it| it.flow_control() == FlowControl::IndirectCall),
    ("x", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("done?", |it| is_load_of(it, Slot::DONE)),
    ("t2", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("restored?", |it| it.mnemonic() == Mnemonic::Pushfq),
    ("ready?", |it| is_load_of(it, offset_of!(abi::UserPage, ready))),
    ("settled", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("request", |it| is_store_of(it, Slot::REQUEST)),
    ("fence", |it| it.mnemonic() == Mnemonic::Mfence),
];

/// The same on its target, from the interrupt to the return.
const SERVED: [Milestone; 8] = [
    ("raise", |it| it.code() == Code::Mov_cr_r64),
    ("arrive", |it| is_store_of(it, Slot::ARRIVED)),
    ("gate", |it| it.mnemonic() == Mnemonic::Cmp && is_load_of(it, Packet::GATE)),
    ("worker", |it| it.flow_control() == FlowControl::IndirectCall),
    ("EOI", |it| it.mnemonic() == Mnemonic::Wrmsr),
    ("restored?", |it| it.mnemonic() == Mnemonic::Pushfq),
    ("lower", |it| it.code() == Code::Mov_cr_r64),
    ("return", |it| it.mnemonic() == Mnemonic::Iretq),
];

/// Which instruction each milestone is on the shortest way from `from` that passes them in order.
fn numbers(from: u64, milestones: &[Milestone], callee: impl Fn(u64) -> Option<u64>) -> Vec<(&'static str, usize)> {
    let passes = |passed: usize, it: &Instruction| Some(passed + usize::from(milestones[passed].1(it)));
    let number = |(index, &(name, is_it)): (usize, &Milestone)| {
        let number = shortest_way(from, passes, &callee, |passed, it| passed == index && is_it(it));
        (name, number.unwrap_or_else(|| panic!("no way to {name:?}")))
    };
    milestones.iter().enumerate().map(number).collect()
}

/// The worker of a measured round.
fn worker() -> u64 {
    *demangled().get("kipi_guest::call::worker::stamp").expect("the worker of a measured round")
}

/// From a round's fence to the next round's.
fn round_of_initiator() -> Vec<(&'static str, usize)> {
    let rounds = rounds("x2apic::X2Apic<kipi_guest::routes::message::Fixed>", ALL_BUT_SELF);
    let end = demangled().values().copied().filter(|&at| at > rounds).min().expect("a symbol after it");
    let mut numbers = numbers(rounds, &ROUND, |at| (rounds..end).contains(&at).then(worker));
    let fence = numbers[0].1;
    for (_, number) in &mut numbers {
        *number -= fence;
    }
    numbers
}

fn round_of_target() -> Vec<(&'static str, usize)> {
    numbers(symbol("ipi_entry"), &SERVED, |_| Some(worker()))
}

#[test]
fn few_instructions_make_a_round() {
    let (initiator, target) = (round_of_initiator(), round_of_target());
    println!("{initiator:?}\n{target:?}");
    let last = |numbers: &[(&str, usize)]| numbers.last().expect("milestones").1;
    assert!(last(&initiator) <= ROUND_OF_INITIATOR, "{initiator:?}");
    assert!(last(&target) <= ROUND_OF_TARGET, "{target:?}");
    let eoi = target.iter().find(|(name, _)| *name == "EOI").expect("a milestone").1;
    assert!(eoi <= ENTRY_TO_EOI, "{target:?}");
}

/// How far apart workers start is the barrier's own doing: see the entry in `guest-stub/src/call/entry.rs`.
#[test]
fn a_target_is_at_the_gate_when_it_opens_and_starts_as_the_initiator_does() {
    let between = |numbers: &[(&str, usize)], from, to| {
        let number = |looked_for| numbers.iter().find(|(name, _)| *name == looked_for).expect("a milestone").1;
        number(to) - number(from)
    };
    let (initiator, target) = (round_of_initiator(), round_of_target());
    let to_the_gate = between(&target, "arrive", "gate");
    let to_open_it = between(&initiator, "arrived?", "gate");
    assert!(to_the_gate < to_open_it, "{to_the_gate} instructions to the gate, {to_open_it} to open it");
    // A poll is a compare and a branch: on average, a target sees the gate one instruction after it has opened.
    let [initiator, target] = [&initiator, &target].map(|numbers| between(numbers, "gate", "worker"));
    assert_eq!(initiator, target + 1, "instructions from the gate to the worker");
}
