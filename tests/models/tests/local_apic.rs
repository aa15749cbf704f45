//! Random accesses to the user-space local APIC, against the manual's. `fuzz/` looks for such sequences with coverage.

use kipi_models::local_apic::compare;
use kipi_models::local_apic::hypervisor::Fault;
use kipi_models::local_apic::operation::{self, Act, Instruction, Operation};
use proptest::prelude::*;

/// Registers by number, those that matter more often than any.
fn number() -> impl Strategy<Value = u8> {
    let known = [0x08, 0x0B, 0x0D, 0x0E, 0x0F, 0x28, 0x30, 0x31, 0x32, 0x37, 0x38, 0x39, 0x3E, 0x3F];
    prop_oneof![8 => prop::sample::select(known.to_vec()), 1 => any::<u8>()]
}

/// Values: any, those that x2APIC mode takes, those that enable what is off after a reset.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(0),
        any::<u8>().prop_map(u64::from),
        any::<u8>().prop_map(|vector| 0x100 | u64::from(vector)),
        (0..4_u64, any::<u8>()).prop_map(|(mode, vector)| mode << 17 | u64::from(vector)),
        (any::<u32>(), any::<u8>()).prop_map(|(low, id)| u64::from(id) << 56 | u64::from(low & 0xC_CFFF)),
        (0..64, any::<u8>()).prop_map(|(bit, vector)| 1_u64 << bit | u64::from(vector)),
    ]
}

/// Widths that registers have, more often than others.
fn width() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(2), 1 => any::<u8>()]
}

fn instruction() -> impl Strategy<Value = Instruction> {
    prop_oneof![
        2 => Just(Instruction::Nop),
        3 => Just(Instruction::Sti),
        1 => Just(Instruction::Cli),
        3 => Just(Instruction::Iret),
        2 => Just(Instruction::Hlt),
        4 => number().prop_map(Instruction::Read),
        2 => (any::<u16>(), width()).prop_map(|(offset, width)| Instruction::ReadPage(offset, width)),
        1 => any::<u32>().prop_map(Instruction::ReadMsr),
        8 => (number(), value()).prop_map(|(number, value)| Instruction::Write(number, value)),
        4 => Just(Instruction::Write(0x0B, 0)),
        // Clusters, and LDRs that share clusters and bits.
        1 => Just(Instruction::Write(0x0E, 0)),
        2 => prop_oneof![0..0x40_u64, 0xF0..0x100_u64].prop_map(|id| Instruction::Write(0x0D, id << 24)),
        1 => (any::<u16>(), width(), any::<u32>())
            .prop_map(|(offset, width, value)| Instruction::WritePage(offset, width, value)),
        1 => (number(), any::<u8>(), any::<u32>())
            .prop_map(|(number, width, value)| Instruction::WritePage(u16::from(number) * 16, width, value)),
        1 => (any::<u32>(), any::<u64>()).prop_map(|(msr, value)| Instruction::WriteMsr(msr, value)),
        // Fixed, to a logical destination of such an LDR, or of all clusters.
        4 => (16..=255_u32, prop_oneof![0..0x40_u8, 0xC0..=0xFF_u8])
            .prop_map(|(vector, destination)| Instruction::Send { low: 0x4800 | vector, destination }),
        4 => (any::<u32>(), any::<u8>()).prop_map(|(low, destination)| Instruction::Send { low, destination }),
        1 => any::<u16>().prop_map(Instruction::ArmDeadline),
        1 => any::<i16>().prop_map(Instruction::WriteTsc),
        2 => (any::<u8>(), prop_oneof![Just(0), any::<u8>()])
            .prop_map(|(bits, page)| Instruction::WriteBase(bits, page)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(cr8, is_seen)| Instruction::WriteCr8(cr8, is_seen)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    // NMI, INIT and SIPI to everybody or to one, so that they meet.
    let somebody = || prop_oneof![Just(0xFF), 0..4_u8];
    let event = (4..7_u8, somebody());
    // Interrupts of few vectors, by an edge or by a level.
    let interrupt = (0x40..0x44_u8, prop::sample::select(vec![0, 1, 0x80, 0x81]), somebody());
    prop_oneof![
        20 => instruction().prop_map(Act::Execute),
        3 => Just(Act::Look),
        2 => prop_oneof![0..2000_u32, any::<u32>()].prop_map(Act::Pass),
        4 => event.prop_map(|(delivery_mode, destination)| Act::FromOutside { vector: 9, delivery_mode, destination }),
        3 => prop_oneof![interrupt, any::<(u8, u8, u8)>()].prop_map(|(vector, delivery_mode, destination)| {
            Act::FromOutside { vector, delivery_mode, destination }
        }),
        2 => (any::<u32>(), any::<u16>()).prop_map(|(address, data)| Act::Message { address, data }),
        1 => any::<u32>().prop_map(Act::Migrate),
    ]
}

/// What one processor does: an act, or several that are seldom in this order by chance.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    let write = |number, value| Act::Execute(Instruction::Write(number, value));
    let base = |bits| Act::Execute(Instruction::WriteBase(bits, 0));
    prop_oneof![
        30 => act().prop_map(|act| vec![act]),
        // A timer that expires soon.
        2 => (0..2_u64, 16..=255_u64, 1..1000_u64)
            .prop_map(move |(mode, vector, count)| vec![write(0x32, mode << 17 | vector), write(0x38, count)]),
        1 => (16..=255_u64, any::<u16>()).prop_map(move |(vector, cycles)| {
            vec![write(0x32, 2 << 17 | vector), Act::Execute(Instruction::ArmDeadline(cycles))]
        }),
        // Off for a while.
        1 => (0..2000_u32, 0..2_u8).prop_map(move |(ns, bootstrap)| {
            vec![base(bootstrap), Act::Pass(ns), Act::Look, base(0b1000 | bootstrap)]
        }),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let group = (0..4_u8, acts())
        .prop_map(|(cpu, acts)| acts.into_iter().map(|act| Operation { cpu, act }).collect::<Vec<_>>());
    prop::collection::vec(group, 0..120).prop_map(|groups| groups.concat())
}

proptest! {
    #[test]
    fn is_what_the_manual_says(x2apic: [bool; 4], operations in operations()) {
        compare::run(operation::bring_up(x2apic).into_iter().chain(operations));
    }
}

/// What the fuzzer has kept reaches as much of the code as all that it has tried.
#[test]
fn the_fuzzers_corpus_finds_no_difference() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/local_apic");
    let mut operations = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus is in the repository") {
        let bytes = std::fs::read(entry.expect("a file").path()).expect("readable");
        let program = operation::decode(&bytes).map(operation::of_program).unwrap_or_default();
        operations += program.len();
        compare::run(program);
    }
    assert!(operations > 500, "{operations} operations in all of {corpus}");
}

#[test]
fn a_difference_is_found() {
    let mut pair = compare::Pair::new(Fault::None);
    let write = |number, value| Operation { cpu: 0, act: Act::Execute(Instruction::Write(number, value)) };
    pair.apply(write(0x0F, 0x1FF));
    // Self IPI by shorthand.
    pair.apply(write(0x30, 0x4_40E1));
    pair.apply(Operation { cpu: 0, act: Act::Execute(Instruction::Sti) });
    pair.apply(Operation { cpu: 0, act: Act::Execute(Instruction::Nop) });
    pair.apply(Operation { cpu: 0, act: Act::Look });
    pair.apply(write(0x0B, 0));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.lose_an_interrupt(0x40)));
    assert!(found.is_err());
}

/// Operations of processor 1, or upon it, that are right only without this mistake.
fn finds(fault: Fault, acts: &[Act]) {
    let operations =
        || operation::bring_up([true; 4]).into_iter().chain(acts.iter().map(|&act| Operation { cpu: 1, act }));
    compare::run(operations());
    let found = std::panic::catch_unwind(|| compare::run_with(fault, operations()));
    assert!(found.is_err(), "{fault:?} is not found");
}

const fn sent(delivery_mode: u8) -> Act {
    Act::FromOutside { vector: 9, delivery_mode, destination: 1 }
}

const NMI: Act = sent(4);
const INIT: Act = sent(5);
const SIPI: Act = sent(6);
const INTERRUPT: Act = Act::FromOutside { vector: 0x51, delivery_mode: 0, destination: 1 };
const NOP: Act = Act::Execute(Instruction::Nop);
const STI: Act = Act::Execute(Instruction::Sti);
const IRET: Act = Act::Execute(Instruction::Iret);

#[test]
fn an_exit_that_is_not_completed_before_init_is_found() {
    finds(Fault::ExitNotCompleted, &[Act::Execute(Instruction::ReadMsr(0x802)), INIT, SIPI, NOP]);
    finds(Fault::ExitNotCompleted, &[Act::Execute(Instruction::ReadMsr(0)), INIT, SIPI, NOP]);
}

#[test]
fn an_nmi_that_outlives_init_is_found() {
    finds(Fault::InitKeepsNmis, &[NMI, Act::Look, INIT, SIPI, NOP]);
}

#[test]
fn nmis_that_merge_too_soon_are_found() {
    finds(Fault::NmisMerge, &[NMI, NMI, NOP, IRET, NOP]);
}

#[test]
fn an_nmi_that_an_interrupt_overtakes_is_found() {
    finds(Fault::NmisNotSaid, &[NOP, NMI, INTERRUPT, NOP]);
}

#[test]
fn a_hlt_with_an_nmi_that_sleeps_is_found() {
    let cli = Act::Execute(Instruction::Cli);
    finds(Fault::NmisNotSaid, &[cli, STI, NMI, Act::Execute(Instruction::Hlt), NOP]);
}

#[test]
fn an_interrupt_that_an_exception_loses_is_found() {
    finds(Fault::FaultNotForeseen, &[NOP, Act::Execute(Instruction::ReadMsr(0)), INTERRUPT, NOP]);
}
