use super::*;

fn word(system: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([system[at], system[at + 1]]))
}

/// Reads a file system as its first sector says, without this module's constants.
fn find(system: &[u8], path: &[&[u8; 11]]) -> Vec<u8> {
    let (sector, cluster) = (word(system, 11), word(system, 11) * usize::from(system[13]));
    let fat = word(system, 14) * sector;
    let root = fat + usize::from(system[16]) * word(system, 22) * sector;
    let data = root + word(system, 17) * 32;
    assert_eq!(word(system, 19) * sector, system.len(), "the total is that of the file");
    let next = |at: usize| (word(system, fat + at * 3 / 2) >> (at % 2 * 4)) & 0xFFF;
    let read = |first: usize| {
        let mut bytes = Vec::new();
        let mut at = first;
        while at < 0xFF8 {
            bytes.extend(&system[data + (at - 2) * cluster..][..cluster]);
            at = next(at);
        }
        bytes
    };
    let mut bytes = system[root..data].to_vec();
    for name in path {
        let entry = bytes.chunks(32).find(|entry| entry.starts_with(*name)).expect("it is there").to_vec();
        bytes = read(word(&entry, 26));
        if entry[11] & FOLDER_ATTRIBUTE == 0 {
            bytes.truncate(word(&entry, 28) | word(&entry, 30) << 16);
        }
    }
    bytes
}

#[test]
fn the_application_is_where_firmware_looks_for_it() {
    for size in [1, CLUSTER, CLUSTER + 1, 805_376] {
        let application: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let system = with_application(&application).unwrap();
        assert!(find(&system, &[b"EFI        ", b"BOOT       ", b"BOOTX64 EFI"]) == application, "{size} bytes");
    }
}

#[test]
fn what_fat12_cannot_hold_is_refused() {
    let most = (MOST_CLUSTERS - 2) * CLUSTER;
    assert!(with_application(&vec![1; most]).is_some());
    assert_eq!(with_application(&vec![1; most + 1]), None);
    assert_eq!(with_application(&[]), None);
}
