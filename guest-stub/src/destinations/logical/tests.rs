extern crate std;
use super::*;
use std::collections::BTreeSet;
use std::vec::Vec;

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap()
}

fn addresses(sender: Sender) -> Vec<u32> {
    let mut addresses = Vec::new();
    Logical::for_each_send(sender, |to| match to {
        To::Logical(address) => addresses.push(address),
        To::AllButSelf | To::All | To::One(_) => panic!("{to:?}"),
    });
    addresses
}

/// What a local APIC with the logical id `id` makes of an address (SDM Vol. 3A 12.6.2.2 and 12.12.10.2).
fn accepts(ids: LogicalIds, id: u32, address: u32) -> bool {
    match ids {
        LogicalIds::Flat => id & address != 0,
        LogicalIds::Cluster => id >> 4 == address >> 4 && id & address & 0xF != 0,
        LogicalIds::X2Apic => id >> 16 == address >> 16 && id & address & 0xFFFF != 0,
    }
}

#[test]
fn each_target_accepts_one_send_and_the_sender_none() {
    let apic_ids: [fn(usize) -> u32; 2] = [|index| number(index), |index| 1000 - 3 * number(index)];
    for (in_x2apic_mode, sizes) in [(false, [2, 8, 9, 60].as_slice()), (true, [2, 16, 17, 300].as_slice())] {
        for &processors in sizes {
            for index in [0, 1, processors - 1] {
                for apic_id in apic_ids {
                    let ids = LogicalIds::of(in_x2apic_mode, processors).unwrap();
                    let sends = addresses(Sender { index, processors, in_x2apic_mode, apic_id });
                    for target in 0..processors {
                        let id = ids.id(target, apic_id(target));
                        let accepted = sends.iter().filter(|&&address| accepts(ids, id, address)).count();
                        assert_eq!(accepted, usize::from(target != index), "{target} of {processors}, {ids:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_send_reaches_a_cluster() {
    let sends = |in_x2apic_mode, processors| {
        let sender = Sender { index: 0, processors, in_x2apic_mode, apic_id: number };
        let sends = addresses(sender);
        assert_eq!(sends.iter().collect::<BTreeSet<_>>().len(), sends.len());
        sends.len()
    };
    assert_eq!([8, 9, 60].map(|processors| sends(false, processors)), [1, 3, 15]);
    assert_eq!([16, 17, 300].map(|processors| sends(true, processors)), [1, 2, 19]);
    assert_eq!(sends(false, 61), 0, "which have no ids");
}
