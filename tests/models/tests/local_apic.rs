//! Random accesses to the user-space local APIC, against the manual's. `fuzz/` looks for such sequences with coverage.

use kipi_models::local_apic::compare;
use kipi_models::local_apic::operation::{self, Act, Operation};
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
        // LDRs that share clusters and bits.
        (0..4_u64, 0..16_u64).prop_map(|(cluster, bits)| cluster << 28 | bits << 24),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => number().prop_map(Act::Read),
        1 => any::<u16>().prop_map(Act::ReadPage),
        1 => any::<u32>().prop_map(Act::ReadMsr),
        8 => (number(), value()).prop_map(|(number, value)| Act::Write(number, value)),
        1 => (any::<u16>(), any::<u32>()).prop_map(|(offset, value)| Act::WritePage(offset, value)),
        1 => (any::<u32>(), any::<u64>()).prop_map(|(msr, value)| Act::WriteMsr(msr, value)),
        // Fixed, to a logical destination of such an LDR, or of all clusters.
        2 => (16..=255_u32, prop_oneof![0..0x40_u8, 0xF0..=0xFF_u8])
            .prop_map(|(vector, destination)| Act::Send { low: 0x4800 | vector, destination }),
        4 => (any::<u32>(), any::<u8>()).prop_map(|(low, destination)| Act::Send { low, destination }),
        1 => any::<u16>().prop_map(Act::ArmDeadline),
        2 => (any::<u8>(), prop_oneof![Just(0), any::<u8>()]).prop_map(|(bits, page)| Act::WriteBase(bits, page)),
        1 => any::<u8>().prop_map(Act::WriteCr8),
        1 => any::<bool>().prop_map(Act::Halt),
        4 => Just(Act::Look),
        4 => Just(Act::Take),
        2 => prop_oneof![0..2000_u32, any::<u32>()].prop_map(Act::Pass),
        1 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(vector, delivery_mode, destination)| {
            Act::FromOutside { vector, delivery_mode, destination }
        }),
    ]
}

proptest! {
    #[test]
    fn is_what_the_manual_says(
        x2apic: [bool; 4],
        operations in prop::collection::vec((0..4_u8, act()).prop_map(|(cpu, act)| Operation { cpu, act }), 0..80)
    ) {
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
    let mut pair = compare::Pair::new();
    let write = |number, value| Operation { cpu: 0, act: Act::Write(number, value) };
    pair.apply(write(0x0F, 0x1FF));
    // Self IPI by shorthand.
    pair.apply(write(0x30, 0x4_40E1));
    pair.apply(Operation { cpu: 0, act: Act::Take });
    pair.apply(write(0x0B, 0));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.lose_an_interrupt(0x40)));
    assert!(found.is_err());
}
