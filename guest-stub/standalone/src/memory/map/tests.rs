extern crate std;

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn map(entries: &[(Kind, u64, u64)]) -> Map {
    let mut map = Map::new();
    for &(kind, start, length) in entries {
        map.add(kind, start, length);
    }
    map
}

fn spans(map: &Map) -> Vec<(u64, u64)> {
    map.usable().map(|span| (span.start, span.end)).collect()
}

/// What SeaBIOS says of a QEMU pc with 128 MiB.
fn qemu_pc() -> Map {
    map(&[
        (Kind::Usable, 0, 0x9_FC00),
        (Kind::Reserved, 0x9_FC00, 0x400),
        (Kind::Reserved, 0xF_0000, 0x1_0000),
        (Kind::Usable, 0x10_0000, 0x7EE_0000),
        (Kind::Reserved, 0x7FE_0000, 0x2_0000),
        (Kind::Reserved, 0xFFFC_0000, 0x4_0000),
    ])
}

#[test]
fn a_bios_map_leaves_low_memory_and_memory_from_1_mib() {
    assert_eq!(spans(&qemu_pc()), [(0x1000, 0x9_FC00), (0x10_0000, 0x7FE_0000)]);
    assert_eq!(qemu_pc().bytes(), 0x9_EC00 + 0x7EE_0000);
}

#[test]
fn video_memory_and_option_roms_are_not_usable_where_a_microvm_lists_them_as_ram() {
    assert_eq!(spans(&map(&[(Kind::Usable, 0, 0x800_0000)])), [(0x1000, 0xA_0000), (0x10_0000, 0x800_0000)]);
}

#[test]
fn what_is_reserved_once_is_not_usable_in_either_order() {
    let (ram, hole) = ((Kind::Usable, 0x100_0000, 0x100_0000), (Kind::Reserved, 0x140_0000, 0x1000));
    let expected = [(0x100_0000, 0x140_0000), (0x140_1000, 0x200_0000)];
    assert_eq!(spans(&map(&[ram, hole])), expected);
    assert_eq!(spans(&map(&[hole, ram])), expected);
}

#[test]
fn entries_that_touch_or_overlap_are_one_and_empty_ones_are_none() {
    let map = map(&[
        (Kind::Usable, 0x30_0000, 0x10_0000),
        (Kind::Usable, 0x20_0000, 0x10_0000),
        (Kind::Usable, 0x28_0000, 0x20_0000),
        (Kind::Usable, 0x90_0000, 0),
    ]);
    assert_eq!(spans(&map), [(0x20_0000, 0x48_0000)]);
}

#[test]
fn an_entry_that_reaches_past_the_last_address_ends_there() {
    let map = map(&[(Kind::Usable, 1 << 40, u64::MAX), (Kind::Reserved, u64::MAX - 0xFFF, u64::MAX)]);
    assert_eq!(spans(&map), [(1 << 40, u64::MAX - 0xFFF)]);
}

#[test]
fn pages_are_taken_from_1_mib_up_and_low_ones_on_request_only() {
    let mut map = qemu_pc();
    assert_eq!(map.take(1, Below(1 << 32)), Some(0x10_0000));
    assert_eq!(map.take(2, Below(1 << 32)), Some(0x10_1000));
    assert_eq!(map.take(1, Below(MIB)), Some(0x1000));
    assert_eq!(map.take(0x9E, Below(MIB)), None, "the last page of low memory is the EBDA's in part");
    assert_eq!(map.take(0x9D, Below(MIB)), Some(0x2000));
    assert_eq!(map.take(1, Below(MIB)), None);
}

#[test]
fn pages_are_whole_where_spans_are_not() {
    let mut map = map(&[(Kind::Usable, 0x20_0800, 0x1FFF), (Kind::Usable, 0x30_0001, 0x2FFF)]);
    assert_eq!(map.take(1, Below(u64::MAX)), Some(0x20_1000));
    assert_eq!(map.take(1, Below(u64::MAX)), Some(0x30_1000));
}

#[test]
fn what_is_reserved_is_not_taken() {
    let mut map = qemu_pc();
    map.reserve(0x10_0000, 0x20_0001);
    assert_eq!(map.take(1, Below(0x20_2000)), Some(0x20_1000));
    assert_eq!(map.take(1, Below(0x20_2000)), None);
    assert_eq!(map.take(0, Below(u64::MAX)), None);
    assert_eq!(map.take(u64::MAX, Below(u64::MAX)), None);
}

#[test]
fn the_shortest_of_too_many_usable_ranges_are_left_out() {
    let mut map = Map::new();
    for at in 1..=200_u64 {
        map.add(Kind::Usable, at << 24, if at % 2 == 0 { 0x20_0000 } else { PAGE });
    }
    let kept = spans(&map);
    assert_eq!(kept.len(), 128);
    assert!((2..=200).step_by(2).all(|at| kept.contains(&(at << 24, (at << 24) + 0x20_0000))));
}

#[test]
fn the_narrowest_gaps_between_too_many_reserved_ranges_are_reserved() {
    let mut map = map(&[(Kind::Usable, 0, u64::MAX)]);
    let reserved = |at: u64| (at * at) << 24;
    for at in 1..=300 {
        map.add(Kind::Reserved, reserved(at), PAGE);
    }
    assert!((1..=300).all(|at| map.usable().all(|span| span.end <= reserved(at) || reserved(at) + PAGE <= span.start)));
    assert!(map.usable().any(|span| span == Span { start: reserved(299) + PAGE, end: reserved(300) }));
    assert!(!map.usable().any(|span| span.end == reserved(2)));
}

/// The maps of the model have this many units.
const MODEL: usize = 0x400;
/// Bytes of a unit: a part of a page, so that spans do not begin and end at pages.
const UNIT: u64 = 0x400;

proptest! {
    #[test]
    fn a_map_says_of_each_address_what_its_entries_say(
        entries in prop::collection::vec((any::<bool>(), 0..MODEL, 0..64_usize), 0..60),
        requests in prop::collection::vec((0..20_u64, 0..MODEL), 0..20)
    ) {
        const BASE: u64 = MIB;
        let mut map = Map::new();
        let mut free = [false; MODEL + 64];
        for reserved in [false, true] {
            for &(_, start, length) in entries.iter().filter(|entry| entry.0 == reserved) {
                free[start..start + length].fill(!reserved);
            }
        }
        for &(reserved, start, length) in &entries {
            let kind = if reserved { Kind::Reserved } else { Kind::Usable };
            map.add(kind, BASE + start as u64 * UNIT, length as u64 * UNIT);
        }
        let says = |map: &Map, at: usize| {
            let address = BASE + at as u64 * UNIT;
            map.usable().any(|span| span.start <= address && address + UNIT <= span.end)
        };
        for (at, free) in free.iter().enumerate() {
            prop_assert_eq!(says(&map, at), *free, "{}", at);
        }
        for (pages, below) in requests {
            let units = (pages * PAGE / UNIT) as usize;
            let fits = |start: &usize| units > 0 && start + units <= below && free[*start..start + units].iter().all(|&free| free);
            let expected = (0..MODEL).step_by(4).find(fits);
            let taken = map.take(pages, Below(BASE + below as u64 * UNIT));
            prop_assert_eq!(taken, expected.map(|start| BASE + start as u64 * UNIT));
            if let Some(start) = expected {
                free[start..start + units].fill(false);
            }
        }
    }

    #[test]
    fn any_map_is_kept_on_the_safe_side(
        entries in prop::collection::vec((any::<bool>(), any::<u64>(), prop_oneof![0..0x10_0000_u64, any::<u64>()]), 0..600),
        requests in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20)
    ) {
        let mut map = Map::new();
        let mut kept: Vec<Span> = NEVER.into();
        for &(reserved, start, length) in &entries {
            map.add(if reserved { Kind::Reserved } else { Kind::Usable }, start, length);
            if reserved {
                kept.push(Span { start, end: start.saturating_add(length) });
            }
        }
        let apart = |kept: &[Span], span: Span| {
            kept.iter().all(|kept| kept.end <= span.start || span.end <= kept.start || kept.start == kept.end)
        };
        let mut last = None;
        for span in map.usable() {
            prop_assert!(span.start < span.end && last.is_none_or(|last| last < span.start));
            prop_assert!(apart(&kept, span));
            last = Some(span.end);
        }
        for (pages, below) in requests {
            if let Some(start) = map.take(pages, Below(below)) {
                let span = Span { start, end: start + pages * PAGE };
                prop_assert!(start >= PAGE && start.is_multiple_of(PAGE) && span.end <= below);
                prop_assert!(apart(&kept, span));
                kept.push(span);
            }
        }
    }
}
