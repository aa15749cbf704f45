use super::packed::tests::{packed, stamps};
use super::*;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use guest_stub::abi::Sample;
use proptest::collection;
use proptest::prelude::*;

/// Any record that fits on a line.
pub(crate) fn records() -> impl Strategy<Value = OwnedRecord> {
    let text = || "\\PC{0,20}";
    let differences = || collection::vec(stamps(), 0..=DIFFERENCES);
    let samples = (any::<[u32; 3]>(), packed());
    prop_oneof![
        (any::<u32>(), text(), text(), text())
            .prop_map(|(abi, version, door, command_line)| { OwnedRecord::Start { abi, version, door, command_line } }),
        (text(), text(), any::<[u32; 2]>(), any::<bool>(), any::<u64>()).prop_map(
            |(cpu, hypervisor, [listed, processors], x2apic, memory_kib)| OwnedRecord::Platform {
                cpu,
                hypervisor,
                listed,
                processors,
                x2apic,
                memory_kib
            }
        ),
        (any::<u64>(), any::<u32>(), text()).prop_map(|(khz, error_ppm, source)| OwnedRecord::Tsc {
            khz,
            error_ppm,
            source
        }),
        (any::<[u32; 6]>(), any::<[u64; 2]>()).prop_map(
            |([vcpus, rounds, warmup, blocks, worker, deadline_ms], [argument, settle_ns])| OwnedRecord::Plan {
                vcpus,
                rounds,
                warmup,
                blocks,
                worker,
                argument,
                settle_ns,
                deadline_ms
            }
        ),
        (any::<u32>(), [text(), text(), text(), text()]).prop_map(|(number, [call, route, destination, state])| {
            OwnedRecord::Cell { number, call, route, destination, state }
        }),
        [text(), text(), text(), text(), text()].prop_map(|[call, route, destination, state, reason]| {
            OwnedRecord::Skipped { call, route, destination, state, reason }
        }),
        (any::<[u32; 2]>(), any::<[u64; 3]>()).prop_map(|([partner, made], [sent, answered, received])| {
            OwnedRecord::Exchange { partner, made, sent, answered, received }
        }),
        differences().prop_map(|differences| OwnedRecord::Stamps { differences }),
        differences().prop_map(|differences| OwnedRecord::Instructions { differences }),
        (any::<[u32; 10]>(), any::<Option<u32>>()).prop_map(
            |([number, cell, turn, status, rounds, generation, resent, duplicate, late, missing_count], missing)| {
                OwnedRecord::Block {
                    number,
                    cell,
                    turn,
                    status,
                    rounds,
                    generation,
                    resent,
                    duplicate,
                    late,
                    missing,
                    missing_count,
                }
            }
        ),
        samples.prop_map(|([block, vcpu, first], samples)| OwnedRecord::Samples { block, vcpu, first, samples }),
        text().prop_map(|text| OwnedRecord::Text { text }),
        any::<u32>().prop_map(|blocks| OwnedRecord::End { blocks }),
    ]
}

fn bytes(record: &RecordOf<impl Serialize, impl Serialize, impl Serialize>) -> Vec<u8> {
    let mut buffer = [0; 1024];
    postcard::to_slice(record, &mut buffer).expect("it is shorter").to_vec()
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(record in records()) {
        prop_assert_eq!(postcard::from_bytes::<OwnedRecord>(&bytes(&record)), Ok(record));
    }
}

/// Numbers that both sides have agreed on: a change of them is one of [`RECORDS_VERSION`].
#[test]
fn records_have_their_numbers() {
    let numbers = [
        Record::Start { abi: 2, version: "0.1.0", door: "pvh", command_line: "" },
        Record::Platform { cpu: "c", hypervisor: "h", listed: 4, processors: 2, x2apic: true, memory_kib: 5 },
        Record::Tsc { khz: 3, error_ppm: 0, source: "s" },
        Record::Plan {
            vcpus: 2,
            rounds: 3,
            warmup: 4,
            blocks: 5,
            worker: 6,
            argument: 7,
            settle_ns: 8,
            deadline_ms: 9,
        },
        Record::Cell { number: 1, call: "a", route: "b", destination: "c", state: "d" },
        Record::Skipped { call: "a", route: "b", destination: "c", state: "d", reason: "e" },
        Record::Exchange { partner: 1, made: 2, sent: 3, answered: 4, received: 5 },
        Record::Stamps { differences: &[1, 200] },
        Record::Instructions { differences: &[] },
        Record::Block {
            number: 1,
            cell: 2,
            turn: 3,
            status: 4,
            rounds: 5,
            generation: 6,
            resent: 7,
            duplicate: 8,
            late: 9,
            missing: Some(10),
            missing_count: 11,
        },
        Record::Samples { block: 1, vcpu: 2, first: 3, samples: &[] },
        Record::Text { text: "t" },
        Record::End { blocks: 1 },
    ];
    let expected: [&[u8]; 13] = [
        b"\x00\x02\x050.1.0\x03pvh\x00",
        b"\x01\x01c\x01h\x04\x02\x01\x05",
        b"\x02\x03\x00\x01s",
        b"\x03\x02\x03\x04\x05\x06\x07\x08\x09",
        b"\x04\x01\x01a\x01b\x01c\x01d",
        b"\x05\x01a\x01b\x01c\x01d\x01e",
        b"\x06\x01\x02\x03\x04\x05",
        b"\x07\x02\x01\xC8\x01",
        b"\x08\x00",
        b"\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09\x01\x0A\x0B",
        b"\x0A\x01\x02\x03\x00",
        b"\x0B\x01t",
        b"\x0C\x01",
    ];
    for (record, expected) in numbers.iter().zip(expected) {
        assert_eq!(bytes(record), expected, "{record:?}");
    }
}

#[test]
fn both_sides_have_one_encoding() {
    let differences = [7, u64::MAX, 0];
    let owned = OwnedRecord::Stamps { differences: differences.to_vec() };
    assert_eq!(bytes(&Record::Stamps { differences: &differences }), bytes(&owned));
    let (block, vcpu, first) = (1, 2, 3);
    in_batches([Sample { generation: 9, t0: 77, ..Sample::default() }; 3], |_, samples| {
        let owned = OwnedRecord::Samples { block, vcpu, first, samples: samples.to_vec() };
        assert_eq!(bytes(&Record::Samples { block, vcpu, first, samples }), bytes(&owned));
    });
    let text = "NMI on vCPU 3 – nobody asked";
    assert_eq!(bytes(&Record::Text { text }), bytes(&OwnedRecord::Text { text: String::from(text) }));
}

#[test]
fn what_is_clipped_ends_with_a_whole_character() {
    assert_eq!(clip("rounds=5", 100), "rounds=5");
    assert_eq!(clip("rounds=5", 6), "rounds");
    assert_eq!(clip("aé", 2), "a");
    assert_eq!(clip("é", 0), "");
}
