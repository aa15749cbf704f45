extern crate std;

use super::*;
use crate::memory::fake::Fake;
use proptest::prelude::*;
use std::string::String;
use std::vec;
use std::vec::Vec;

fn read(bytes: &[u8], limit: u64) -> Option<(String, bool)> {
    let mut memory = Fake::new();
    memory.put(0x1000, bytes);
    let line = CommandLine::read(0x1000, limit, &memory)?;
    Some((line.text().into(), line.is_truncated()))
}

#[test]
fn what_is_found_fits_on_an_early_stack() {
    assert!(size_of::<Found>() < 7 * 1024 && size_of::<crate::acpi::Tables>() < 5 * 1024);
}

#[test]
fn a_command_line_ends_at_a_zero_byte_or_its_limit() {
    assert_eq!(read(b"route=x2apic\0rounds=5", 100), Some(("route=x2apic".into(), false)));
    assert_eq!(read(b"route=x2apic\0", 5), Some(("route".into(), false)));
    assert_eq!(read(b"\0", 100), Some((String::new(), false)));
    assert_eq!(read(b"route=x2apic", 100), None, "memory ends first");
}

#[test]
fn of_a_long_command_line_the_first_2048_bytes_are_kept() {
    let line = |length| [vec![b'x'; length], vec![0]].concat();
    assert_eq!(read(&line(2048), u64::MAX), Some(("x".repeat(2048), false)));
    assert_eq!(read(&line(2049), u64::MAX), Some(("x".repeat(2048), true)));
    let mut split = line(3000);
    split[2046..2050].copy_from_slice("😀".as_bytes());
    assert_eq!(read(&split, u64::MAX), Some(("x".repeat(2046) + "??", true)));
}

#[test]
fn bytes_that_are_no_utf_8_are_question_marks() {
    assert_eq!(read(b"a\xFFb\xC3\xA4\xE2\x82 \xF0\0", 100), Some(("a?bä?? ?".into(), false)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_command_line(bytes in prop::collection::vec(prop_oneof![any::<u8>(), b' '..b'~'], 0..2100)) {
        let (line, truncated) = read(&[&bytes[..], &[0]].concat(), u64::MAX).unwrap();
        let whole: Vec<u8> = bytes.iter().copied().take_while(|&byte| byte != 0).collect();
        prop_assert_eq!(truncated, whole.len() > 2048);
        prop_assert_eq!(line.len(), whole.len().min(2048));
        if let Ok(whole) = core::str::from_utf8(&whole) {
            prop_assert!(truncated || line == whole);
        }
        prop_assert!(line.bytes().zip(whole).all(|(shown, byte)| shown == byte || shown == b'?'));
    }
}
