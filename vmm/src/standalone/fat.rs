//! A FAT12 file system with one file in it, which UEFI starts from a stick or disc: EFI/BOOT/BOOTX64.EFI (UEFI specification 3.5.1.1;
//! Microsoft, FAT: General Overview of On-Disk Format).

#![expect(clippy::cast_possible_truncation, reason = "a file system of at most MOST_CLUSTERS has 16-bit sizes")]

const SECTOR: usize = 512;
/// Sectors of a cluster.
const SECTORS: usize = 8;
const CLUSTER: usize = SECTORS * SECTOR;
/// FATs, one for each loss of the other.
const FATS: usize = 2;
/// Entries of the root directory: those of a sector.
const ROOT_ENTRIES: usize = 16;
/// Of a fixed disk.
const MEDIA: u8 = 0xF8;
/// A file system of more is no FAT12.
const MOST_CLUSTERS: usize = 4084;
/// The last cluster of a chain.
const LAST: u16 = 0xFFF;
/// The first cluster, of folder EFI; folder BOOT's; the file's first one.
const FIRST: u16 = 2;
const BOOT: u16 = 3;
const FILE: u16 = 4;

const FOLDER_ATTRIBUTE: u8 = 0x10;
const ARCHIVE_ATTRIBUTE: u8 = 0x20;

/// The file system with this application; `None`: it is too large for FAT12 (16 MB).
pub(super) fn with_application(application: &[u8]) -> Option<Vec<u8>> {
    let of_file = application.len().div_ceil(CLUSTER);
    let clusters = of_file + usize::from(FILE - FIRST);
    if application.is_empty() || clusters > MOST_CLUSTERS {
        return None;
    }
    let size = u32::try_from(application.len()).ok()?;
    let mut chains = vec![0xF00 | u16::from(MEDIA), LAST, LAST, LAST];
    chains.extend((0..of_file - 1).zip(FILE + 1..).map(|(_, next)| next));
    chains.push(LAST);
    let table = packed(&chains);

    let mut system = boot_sector(clusters, table.len() / SECTOR);
    (0..FATS).for_each(|_| system.extend(&table));
    push_folder(&mut system, SECTOR, &[entry(b"EFI        ", FOLDER_ATTRIBUTE, FIRST, 0)]);
    let of_efi = [
        entry(b".          ", FOLDER_ATTRIBUTE, FIRST, 0),
        entry(b"..         ", FOLDER_ATTRIBUTE, 0, 0),
        entry(b"BOOT       ", FOLDER_ATTRIBUTE, BOOT, 0),
    ];
    push_folder(&mut system, CLUSTER, &of_efi);
    let of_boot = [
        entry(b".          ", FOLDER_ATTRIBUTE, BOOT, 0),
        entry(b"..         ", FOLDER_ATTRIBUTE, FIRST, 0),
        entry(b"BOOTX64 EFI", ARCHIVE_ATTRIBUTE, FILE, size),
    ];
    push_folder(&mut system, CLUSTER, &of_boot);
    system.extend(application);
    system.resize(system.len() + of_file * CLUSTER - application.len(), 0);
    Some(system)
}

/// The first sector: how large everything is.
fn boot_sector(clusters: usize, table_sectors: usize) -> Vec<u8> {
    let total = 1 + FATS * table_sectors + 1 + clusters * SECTORS;
    let mut sector = Vec::from(*b"\xEB\xFE\x90KIPI    ");
    sector.extend((SECTOR as u16).to_le_bytes());
    sector.extend([SECTORS as u8, 1, 0, FATS as u8]);
    sector.extend((ROOT_ENTRIES as u16).to_le_bytes());
    // At most 65,535 sectors: MOST_CLUSTERS have fewer.
    sector.extend((total as u16).to_le_bytes());
    sector.push(MEDIA);
    sector.extend((table_sectors as u16).to_le_bytes());
    // Geometry, which nobody asks for; no hidden sectors; the 32-bit total is unused.
    sector.extend([32, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Drive number; an extended boot signature: serial number, label and type follow.
    sector.extend([0x80, 0, 0x29]);
    sector.extend(*b"KIPIKIPI       FAT12   ");
    sector.resize(SECTOR - 2, 0);
    sector.extend([0x55, 0xAA]);
    sector
}

/// Entries of 12 bits, two in three bytes, in whole sectors.
fn packed(entries: &[u16]) -> Vec<u8> {
    let mut table = Vec::new();
    for pair in entries.chunks(2) {
        let word = u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0)) << 12;
        table.extend(&word.to_le_bytes()[..3]);
    }
    table.resize(table.len().next_multiple_of(SECTOR), 0);
    table
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

fn push_folder(system: &mut Vec<u8>, size: usize, entries: &[[u8; 32]]) {
    let start = system.len();
    system.extend(entries.iter().flatten());
    system.resize(start + size, 0);
}

#[cfg(test)]
mod tests;
