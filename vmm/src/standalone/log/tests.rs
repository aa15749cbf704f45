use super::super::boot::End;
use super::super::fixture::{KHZ, Writer, begin, boot, log, start};
use super::super::runs;
use super::*;
use guest_stub::abi::Status;
use kipi_standalone::records::Record;
use proptest::prelude::*;

fn faults(log: &Log) -> Vec<String> {
    log.faults.lines().chain(log.boots.iter().flat_map(|boot| boot.faults.lines())).collect()
}

/// The log without the lines that hold this text.
fn without(log: &[u8], is_lost: impl Fn(usize) -> bool) -> Vec<u8> {
    let lines = log.split_inclusive(|&byte| byte == b'\n').enumerate();
    lines.filter(|(index, _)| !is_lost(index + 1)).flat_map(|(_, line)| line.to_vec()).collect()
}

/// The number of the first line that is a record of this kind.
fn line_of(log: &[u8], is_it: impl Fn(&OwnedRecord) -> bool) -> usize {
    let mut lines = log.split(|&byte| byte == b'\n');
    let found = lines
        .position(|line| lines::decode(line).any(|part| matches!(part, Line::Record(_, record) if is_it(&record))));
    found.expect("there is one") + 1
}

#[test]
fn a_whole_log_is_read_whole() {
    let log = read(&log(1, 3));
    assert_eq!(faults(&log), [""; 0]);
    let [boot] = &log.boots[..] else { panic!("{} boots", log.boots.len()) };
    assert_eq!((boot.image.door.as_str(), boot.platform.hypervisor.as_deref()), ("pvh", Some("KVMKVMKVM")));
    assert_eq!((boot.tsc.khz, boot.tsc.error_ppm, boot.plan.blocks), (KHZ, 25, 3));
    let cells: Vec<String> = boot.cells.values().map(ToString::to_string).collect();
    assert_eq!(cells, ["x2apic, all-but-self, spin, 2 vCPUs, guest", "memory, all-but-self, spin, 2 vCPUs, guest"]);
    assert_eq!((boot.skipped.len(), boot.exchanges.len(), boot.blocks.len()), (1, 1, 6));
    assert!(boot.blocks.values().all(|block| block.block.rings.iter().all(|ring| ring.len() == 6)));
    assert_eq!((boot.end, boot.texts.len()), (End::Complete, 0));
}

#[test]
fn a_damaged_line_costs_its_block_and_is_named() {
    let mut bytes = log(1, 3);
    let line = line_of(&bytes, |record| matches!(record, RecordOf::Samples { block: 2, vcpu: 1, .. }));
    let start: usize = bytes.split_inclusive(|&byte| byte == b'\n').take(line - 1).map(<[u8]>::len).sum();
    let byte = &mut bytes[start + 30];
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    let log = read(&bytes);
    assert_eq!(
        faults(&log),
        [
            format!("log line {line} is damaged: its checksum is wrong"),
            "block 2 (x2apic, all-but-self, spin, 2 vCPUs, guest) lacks vCPU 1's rounds 0 to 5: left out".to_owned()
        ]
    );
    assert_eq!(log.boots[0].blocks.len(), 5);
}

#[test]
fn a_line_that_is_lost_shows_by_its_number() {
    let bytes = log(1, 3);
    let line = line_of(&bytes, |record| matches!(record, RecordOf::Block { number: 3, .. }));
    let log = read(&without(&bytes, |at| at == line));
    assert_eq!(faults(&log), [format!("1 line is missing before log line {line}"), "1 block is missing".to_owned()]);
    assert_eq!(log.boots[0].blocks.len(), 5);
}

/// The log's lines, and which of them are a boot's first record.
fn lines_of(log: &[u8]) -> (Vec<&[u8]>, Vec<usize>) {
    let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
    let is_start =
        |&at: &usize| lines::decode(lines[at]).any(|part| matches!(part, Line::Record(_, RecordOf::Start { .. })));
    let starts = (0..lines.len()).filter(is_start).collect();
    (lines, starts)
}

fn is_record(line: &[u8]) -> bool {
    lines::decode(line).any(|part| matches!(part, Line::Record(..)))
}

/// What was measured in each boot.
fn measured(log: &Log) -> Vec<(usize, End, usize)> {
    log.boots.iter().map(|boot| (boot.blocks.len(), boot.end, boot.exchanges.len())).collect()
}

#[test]
fn a_line_that_is_there_twice_counts_once() {
    let bytes = log(2, 2);
    let (lines, _) = lines_of(&bytes);
    let whole = measured(&read(&bytes));
    for (index, line) in lines.iter().enumerate() {
        let twice = [&lines[..=index], &lines[index..]].concat().concat();
        let log = read(&twice);
        assert_eq!(measured(&log), whole, "line {}", index + 1);
        let told = format!("log line {} repeats an earlier one: passed over", index + 2);
        assert_eq!(faults(&log), if is_record(line) { vec![told] } else { Vec::new() });
    }
    let all = read(&lines.iter().flat_map(|line| [*line, *line]).collect::<Vec<_>>().concat());
    assert_eq!(measured(&all), whole);
    let told = faults(&all);
    assert!(
        told.len() == 2 && told[0].ends_with(" lines repeat earlier ones, log line 6 first: passed over"),
        "{told:?}"
    );
}

#[test]
fn a_line_that_stands_behind_the_next_is_put_back() {
    let bytes = log(2, 2);
    let (lines, starts) = lines_of(&bytes);
    let whole = read(&bytes);
    for index in 0..lines.len() - 1 {
        let mut swapped = lines.clone();
        swapped.swap(index, index + 1);
        let log = read(&swapped.concat());
        let records = is_record(lines[index]) && is_record(lines[index + 1]);
        if starts.contains(&index) {
            // Which boot's the line before the first record is cannot be known.
            assert!(log.boots.len() == 1 && !faults(&log).is_empty(), "line {}", index + 1);
        } else {
            assert_eq!(measured(&log), measured(&whole), "line {}", index + 1);
            let told = format!("log line {} stands behind later ones: put back", index + 2);
            assert_eq!(faults(&log), if records { vec![told] } else { Vec::new() });
        }
    }
}

/// Of two boots' lines without some that lie together, the second one's first among them, the first boot's are read, and those alone.
fn assert_that_a_hole_makes_no_boot_of_two([first_turns, second_turns]: [u32; 2]) {
    let mut writer = Writer::default();
    boot(&mut writer, first_turns, "KVMKVMKVM");
    boot(&mut writer, second_turns, "KVMKVMKVM");
    let (lines, starts) = lines_of(&writer.log);
    for first in starts[0] + 1..=starts[1] {
        let alone = measured(&read(&lines[..first].concat()));
        for last in starts[1]..lines.len() {
            let log = read(&[&lines[..first], &lines[last + 1..]].concat().concat());
            let told = format!("without lines {} to {}: {:?}", first + 1, last + 1, faults(&log));
            assert_eq!(measured(&log), alone, "{told}");
            let is_second_there = lines[last + 1..].iter().any(|line| is_record(line));
            let is_said = faults(&log).iter().any(|fault| fault.ends_with("lacks its first record: left out"));
            assert_eq!(is_said, is_second_there, "{told}");
        }
    }
}

#[test]
fn a_hole_makes_no_boot_of_two() {
    [[1, 2], [2, 1]].into_iter().for_each(assert_that_a_hole_makes_no_boot_of_two);
}

#[test]
fn a_line_far_behind_its_place_is_taken_for_another_boots() {
    let bytes = log(1, 3);
    let (mut lines, _) = lines_of(&bytes);
    let moved = lines.remove(line_of(&bytes, |record| matches!(record, RecordOf::Exchange { .. })) - 1);
    let end = lines.len();
    lines.insert(end, moved);
    let log = read(&lines.concat());
    assert_eq!(log.boots[0].exchanges.len(), 0);
    assert!(faults(&log)[0].contains(&format!("the boot around log line {} lacks its first record", end + 1)));
}

#[test]
fn a_log_that_is_cut_off_has_its_whole_blocks() {
    let bytes = log(1, 3);
    let line = line_of(&bytes, |record| matches!(record, RecordOf::Samples { block: 4, vcpu: 1, .. }));
    let log = read(&without(&bytes, |at| at >= line));
    let boot = &log.boots[0];
    assert_eq!((boot.end, boot.blocks.len()), (End::Unknown, 4));
    assert!(faults(&log)[0].starts_with("block 4 (x2apic"), "{:?}", faults(&log));
}

#[test]
fn boots_of_one_plan_are_a_run_and_others_are_not() {
    let mut writer = Writer::default();
    boot(&mut writer, 2, "KVMKVMKVM");
    boot(&mut writer, 2, "");
    boot(&mut writer, 3, "KVMKVMKVM");
    boot(&mut writer, 2, "KVMKVMKVM");
    let log = read(&writer.log);
    assert_eq!(faults(&log), [""; 0]);
    let runs = runs::of(log.boots);
    let told = runs.iter().map(|run| (run.boots().len(), run.first().platform.hypervisor.is_some(), run.blocks()));
    assert_eq!(told.collect::<Vec<_>>(), [(2, true, 8), (1, false, 4), (1, true, 6)]);
}

#[test]
fn a_boot_without_its_first_record_is_left_out() {
    let bytes = log(2, 2);
    let second = bytes.len() / 2;
    let line = bytes[..second].split(|&byte| byte == b'\n').count();
    let start = line + line_of(&bytes[second..], |record| matches!(record, RecordOf::Start { .. })) - 1;
    let log = read(&without(&bytes, |at| at == start));
    assert_eq!(log.boots.len(), 1);
    assert_eq!(faults(&log), [format!("the boot around log line {start} lacks its first record: left out")]);
}

#[test]
fn a_boot_without_a_plan_is_left_out() {
    let bytes = log(1, 2);
    let line = line_of(&bytes, |record| matches!(record, RecordOf::Plan { .. }));
    let log = read(&without(&bytes, |at| at == line));
    assert!(log.boots.is_empty());
    assert_eq!(
        log.faults.lines().last().unwrap(),
        "the boot from log line 3 on lacks the record of its plan: left out"
    );
}

#[test]
fn why_an_image_did_not_get_to_its_plan_is_told() {
    let mut writer = Writer::default();
    start(&mut writer, "x");
    writer.record(&Record::Text { text: "no word 'x'" });
    let told = read(&writer.log).faults.lines().last();
    assert_eq!(
        told.as_deref(),
        Some("the boot from log line 1 on lacks the record of its platform (the image says: no word 'x'): left out")
    );
}

#[test]
fn records_of_another_version_are_not_guessed_at() {
    let mut writer = Writer::default();
    writer.record(&Record::Start { abi: 9, version: "7.0.0", door: "pvh", command_line: "" });
    writer.record(&Record::End { blocks: 0 });
    let log = read(&writer.log);
    assert_eq!(
        faults(&log),
        [format!(
            "the boot from log line 1 on has records of version 9, of kipi 7.0.0; this kipi reads version {RECORDS_VERSION}: \
             left out"
        )]
    );
}

#[test]
fn a_cell_that_no_image_measures_is_refused() {
    let mut writer = Writer::default();
    begin(&mut writer, 1, "");
    let (call, destination, state) = ("broadcast", "all-but-self", "spin");
    for (number, route) in (2..).zip(["vmm", "native", "msi-x"]) {
        writer.record(&Record::Cell { number, call, route, destination, state });
    }
    let log = read(&writer.log);
    assert_eq!(log.boots[0].cells.len(), 2);
    let told = faults(&log);
    assert!(told[0].contains("needs kipi's VMM") && told[1].contains("needs kipi's VMM"), "{told:?}");
    assert!(told[2].contains("route 'msi-x', which this version does not know"), "{told:?}");
}

#[test]
fn a_block_that_was_given_up_has_the_rounds_before() {
    let mut writer = Writer::default();
    begin(&mut writer, 2, "");
    writer.block(0, 0, 0, 4, Status::Aborted);
    writer.record(&Record::Text { text: "a call was given up" });
    writer.record(&Record::End { blocks: 1 });
    let log = read(&writer.log);
    let boot = &log.boots[0];
    assert_eq!((boot.blocks.len(), boot.end, boot.texts.len()), (1, End::GaveUp, 1));
    assert_eq!(boot.blocks.values().next().map(|block| block.silent), Some(3));
}

/// A byte that something has happened to.
fn mutations() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((any::<usize>(), any::<u8>()), 0..40)
}

proptest! {
    #[test]
    fn no_damage_makes_more_of_a_log(changes in mutations(), cuts in any::<[usize; 2]>()) {
        // Two boots with the same stamps: which of them a block is of makes no difference.
        let mut bytes = [log(1, 2), log(1, 2)].concat();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let cuts = cuts.map(|cut| cut % bytes.len());
        bytes.drain(cuts[0].min(cuts[1])..cuts[0].max(cuts[1]));
        let whole = read(&log(1, 2));
        for boot in read(&bytes).boots {
            for (key, block) in boot.blocks {
                prop_assert!(whole.boots.iter().any(|other| other.blocks.get(&key) == Some(&block)), "{key:?}");
            }
        }
    }

    #[test]
    fn records_in_any_order_are_read(order in proptest::collection::vec(0..60_usize, 0..80)) {
        let bytes = log(1, 2);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        let shuffled: Vec<u8> = order.iter().flat_map(|&at| lines[at % lines.len()].to_vec()).collect();
        prop_assert!(read(&shuffled).boots.len() <= order.len());
    }
}
