use super::*;
use crate::records::tests::records;
use crate::records::{BATCH, DIFFERENCES, OwnedRecord, Record, TEXT_BYTES, in_batches};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use guest_stub::abi::Sample;
use proptest::collection;
use proptest::prelude::*;

/// The line of so high a number of some boot.
fn place(line: u32) -> Place {
    Place { boot: 0x3F9C_02D1, line }
}

fn line(number: u32, record: &OwnedRecord) -> Vec<u8> {
    encode(place(number), record, &mut [0xAA; LINE]).expect("it fits").to_vec()
}

fn decoded(log: &[u8]) -> Vec<Line<'_>> {
    decode(log).collect()
}

/// Whatever has happened to a line, the record is as it was, or there is none.
fn assert_that_nothing_else_is_read(damaged: &[u8], number: u32, record: &OwnedRecord) {
    for part in decode(damaged) {
        if let Line::Record(read_place, read) = part {
            assert_eq!((read_place, &read), (place(number), record), "{}", String::from_utf8_lossy(damaged));
        }
    }
}

fn text(text: &str) -> OwnedRecord {
    OwnedRecord::Text { text: text.into() }
}

#[test]
fn lines_are_as_they_were_agreed_on() {
    let mut buffer = [0; LINE];
    let mut line = |number, record| {
        let line = encode(place(number), &record, &mut buffer).expect("it fits");
        String::from_utf8(line.to_vec()).expect("it is ASCII")
    };
    let start = Record::Start { abi: 2, version: "0.1.0", door: "pvh", command_line: "rounds=50" };
    assert_eq!(line(0, start), "~kipi 3f9c02d100000000 AAIFMC4xLjADcHZoCXJvdW5kcz01MA b340b58a\r\n");
    assert_eq!(line(0x1A2B, Record::End { blocks: 27 }), "~kipi 3f9c02d100001a2b DBs b5ad03da\r\n");
    assert_eq!(line(u32::MAX, Record::Stamps { differences: &[24; 3] }), "~kipi 3f9c02d1ffffffff BwMYGBg fcb03234\r\n");
}

#[test]
fn the_checksum_is_that_of_zip() {
    assert_eq!(CRC.checksum(b"123456789"), 0xCBF4_3926);
}

#[test]
fn the_longest_records_fit() {
    let long = "x".repeat(TEXT_BYTES);
    let most = u32::MAX;
    let start =
        OwnedRecord::Start { abi: most, version: String::new(), door: String::new(), command_line: long.clone() };
    let stamps = OwnedRecord::Stamps { differences: vec![u64::MAX; DIFFERENCES] };
    let mut longest = vec![start, text(&long), stamps];
    let far = |round| if round % 2 == 0 { 1 << 62 } else { 3 << 62 };
    let extreme = |round| {
        let (t0, t1) = (far(round), far(round + 1));
        Sample { generation: round << 31, flags: most, t0, t1, a: t0, w: t1, x: t0, t2: t1, result: u64::MAX }
    };
    in_batches((0..20_u32).map(extreme), |first, samples| {
        let first = most - first;
        longest.push(OwnedRecord::Samples { block: most, vcpu: most, first, samples: samples.to_vec() });
    });
    assert!(longest.len() > 3 + 20 / BATCH);
    for record in longest {
        assert_eq!(decoded(&line(most, &record)), [Line::Record(place(most), record)]);
    }
}

#[test]
fn a_record_that_is_longer_than_a_line_is_refused() {
    let longest = (0..LINE).find(|&length| encode(place(0), &text(&"x".repeat(length)), &mut [0; LINE]).is_err());
    assert_eq!(longest, Some(RECORD - 3 + 1), "a tag and a length of two bytes come before the text");
    assert_eq!(line(0, &text(&"x".repeat(RECORD - 3))).len(), LINE);
}

#[test]
fn every_flip_of_a_bit_is_noticed() {
    for record in [text("vCPU 3 did not start"), OwnedRecord::Stamps { differences: vec![24, 26, 1000] }] {
        let line = line(7, &record);
        for bit in 0..line.len() * 8 {
            let mut damaged = line.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let is_in_the_record = bit / 8 < line.len() - 2;
            let read = decode(&damaged).filter(|part| matches!(part, Line::Record(..))).count();
            assert_eq!(read, usize::from(!is_in_the_record), "bit {bit}");
            assert_that_nothing_else_is_read(&damaged, 7, &record);
        }
    }
}

#[test]
fn what_others_write_around_a_record_is_told_apart() {
    let record = text("hello");
    let line = line(3, &record);
    let log =
        [b"SeaBIOS (version 1.16)\r\n\x1b[2J\0", &line[..], b"\r\n\0Booting\n", b"[  0.1] x ", &line, b"~kip"].concat();
    assert_eq!(
        decoded(&log),
        [
            Line::Other(b"SeaBIOS (version 1.16)\r"),
            Line::Other(b"\x1b[2J\0"),
            Line::Record(place(3), record.clone()),
            Line::Other(b"\0Booting"),
            Line::Other(b"[  0.1] x "),
            Line::Record(place(3), record),
            Line::Other(b"~kip"),
        ]
    );
}

#[test]
fn a_record_whose_line_end_is_lost_does_not_take_the_next_one_with_it() {
    let (first, second) = (text("one"), text("two"));
    let (a, b) = (line(1, &first), line(2, &second));
    let joined = [&a[..a.len() - 2], &b].concat();
    assert_eq!(decoded(&joined), [Line::Record(place(1), first), Line::Record(place(2), second.clone())]);
    let cut = [&a[..a.len() - 6], &b].concat();
    assert_eq!(decoded(&cut), [Line::Damaged(Damage::Cut), Line::Record(place(2), second)]);
}

#[test]
fn each_damage_is_named() {
    let whole = String::from_utf8(line(1, &text("one"))).expect("it is ASCII");
    let at = |place: &str, payload: &str| {
        let summed = format!("{place} {payload}");
        format!("~kipi {summed} {:08x}\r\n", CRC.checksum(summed.as_bytes()))
    };
    let framed = |payload: &str| at("3f9c02d100000001", payload);
    let too_many = [10, 0, 0, 0, 9].into_iter().chain([0; 9 * 9]).collect::<Vec<u8>>();
    let cases = [
        (whole[..20].into(), Damage::Cut),
        (whole.replace("00000001", "0000001"), Damage::Checksum),
        (whole.replace("00000001", "0000000A"), Damage::Checksum),
        (whole.replace("00000001", "0000 001"), Damage::Cut),
        (whole.replace("00000001", "0000.001"), Damage::Cut),
        (whole.replace("00000001", "00000002"), Damage::Checksum),
        (format!("~kipi 3f9c02d100000001 {}\n", "A".repeat(LINE)), Damage::TooLong),
        (framed(""), Damage::Unknown),
        // The places of another version.
        (at("00000001", "DBs"), Damage::Unknown),
        (at("3F9C02D100000001", "DBs"), Damage::Unknown),
        (at("3f9c02d1000000010", "DBs"), Damage::Unknown),
        // A record that this version has not got, half a number, something after the record, bits after the last byte.
        (framed(&STANDARD_NO_PAD.encode([13])), Damage::Unknown),
        (framed(&STANDARD_NO_PAD.encode([12, 0x80])), Damage::Unknown),
        (framed(&STANDARD_NO_PAD.encode([12, 1, 0])), Damage::Unknown),
        (framed("DBt"), Damage::Unknown),
        // No UTF-8; more samples than a record has; a length that nothing could have.
        (framed(&STANDARD_NO_PAD.encode([11, 1, 0xFF])), Damage::Unknown),
        (framed(&STANDARD_NO_PAD.encode(too_many)), Damage::Unknown),
        (framed(&STANDARD_NO_PAD.encode([7, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F])), Damage::Unknown),
    ];
    for (log, damage) in cases {
        assert_eq!(decoded(log.as_bytes()), [Line::Damaged(damage)], "{log}");
    }
}

proptest! {
    #[test]
    fn every_record_comes_back_from_its_line(boot: u32, number: u32, record in records()) {
        let place = Place { boot, line: number };
        let line = encode(place, &record, &mut [0xAA; LINE]).expect("it fits").to_vec();
        prop_assert!(line.len() <= LINE && line.is_ascii() && line.ends_with(b"\r\n"));
        prop_assert_eq!(decoded(&line), [Line::Record(place, record)]);
    }

    #[test]
    fn insertions_are_noticed_or_change_nothing(
        record in records(), at: prop::sample::Index, inserted in collection::vec(any::<u8>(), 1..8)
    ) {
        let mut line = line(5, &record);
        let at = at.index(line.len());
        line.splice(at..at, inserted);
        assert_that_nothing_else_is_read(&line, 5, &record);
    }

    #[test]
    fn deletions_are_noticed_or_change_nothing(record in records(), at: prop::sample::Index, length in 1..40_usize) {
        let mut line = line(5, &record);
        let at = at.index(line.len());
        line.drain(at..(at + length).min(line.len()));
        assert_that_nothing_else_is_read(&line, 5, &record);
    }

    #[test]
    fn characters_that_change_places_are_noticed(record in records(), a: prop::sample::Index, b: prop::sample::Index) {
        let mut line = line(5, &record);
        let (a, b) = (a.index(line.len()), b.index(line.len()));
        line.swap(a, b);
        assert_that_nothing_else_is_read(&line, 5, &record);
    }

    #[test]
    fn control_characters_in_a_record_change_nothing(
        record in records(), places in collection::vec((any::<prop::sample::Index>(), 0..32_u8), 0..6)
    ) {
        let mut line = line(5, &record);
        for (place, control) in places {
            // The prefix tells where a record begins, and LF where it ends.
            let at = PREFIX.len() + place.index(line.len() - PREFIX.len());
            line.insert(at, if control == b'\n' { b'\r' } else { control });
        }
        prop_assert_eq!(decoded(&line), [Line::Record(place(5), record)]);
    }

    #[test]
    fn a_log_of_whatever_bytes_has_an_end(log in collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(decode(&log).all(|part| matches!(part, Line::Other(_))));
    }

    #[test]
    fn records_are_found_in_a_log_of_whatever_else(
        parts in collection::vec(prop_oneof!["[ -}]{0,30}\r\n", "~kipi [0-9a-f]{0,9}( [A-Za-z]{0,9}){0,2}\n"], 0..6), record in records()
    ) {
        let mut log: Vec<u8> = Vec::new();
        for (number, part) in (0..).zip(&parts) {
            log.extend_from_slice(part.as_bytes());
            log.extend_from_slice(&line(number, &record));
        }
        let read = decode(&log).filter_map(|part| if let Line::Record(place, read) = part { Some((place, read)) } else { None });
        let expected = (0..).zip(&parts).map(|(number, _)| (place(number), record.clone()));
        prop_assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
