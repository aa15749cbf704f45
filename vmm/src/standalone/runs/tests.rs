use super::super::fixture::{Writer, begin, boot};
use super::super::log;
use super::*;
use guest_stub::abi::Status;
use kipi_standalone::records::Record;

#[test]
fn turns_that_all_boots_lack_are_no_turns() {
    let mut writer = Writer::default();
    for turns in [vec![0, 3], vec![3]] {
        begin(&mut writer, 5, "");
        for (number, turn) in (0..).zip(turns) {
            writer.block(number, 0, turn, 6, Status::Done);
        }
    }
    let runs = of(log::read(&writer.log).boots);
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].turns(), runs[0].blocks(), runs[0].skipped().len()), (vec![0, 3], 3, 1));
}

#[test]
fn cells_are_in_the_order_of_their_numbers() {
    let mut writer = Writer::default();
    boot(&mut writer, 1, "");
    let runs = of(log::read(&writer.log).boots);
    let names: Vec<&str> = runs[0].cells().iter().map(|cell| cell.route.name()).collect();
    assert_eq!(names, ["x2apic", "memory"]);
}

/// Boots of two turns that are whole, and one of which the first lines are there.
fn cut_off(whole: usize, lines: usize) -> Vec<RecordedRun> {
    let mut writer = Writer::default();
    (0..whole).for_each(|_| boot(&mut writer, 2, ""));
    let mut last = Writer::default();
    boot(&mut last, 2, "");
    writer.log.extend(last.log.split_inclusive(|&byte| byte == b'\n').take(lines).flatten());
    of(log::read(&writer.log).boots)
}

/// Of each run, how many boots it has and how many whole blocks the one that it lacks.
fn told(runs: &[RecordedRun]) -> Vec<(usize, Option<usize>)> {
    runs.iter().map(|run| (run.boots().len(), run.cut_off().map(|boot| boot.blocks.len()))).collect()
}

#[test]
fn the_last_boot_is_left_out_where_it_is_cut_off_after_a_whole_one() {
    // Up to the first block, and in the last one.
    assert_eq!((told(&cut_off(2, 14)), told(&cut_off(1, 22))), (vec![(2, Some(0))], vec![(1, Some(3))]));
    assert_eq!(told(&cut_off(2, 99)), [(3, None)], "it is whole");
    assert_eq!(told(&cut_off(0, 22)), [(1, None)], "there is no other");
    assert_eq!(told(&cut_off(2, 5)), [(2, None)], "it has not come to its plan");
}

#[test]
fn a_boot_that_ends_early_for_another_reason_is_not_left_out() {
    let after_a_whole_boot = |damage: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::default();
        boot(&mut writer, 2, "");
        begin(&mut writer, 2, "");
        writer.block(0, 0, 0, 6, Status::Done);
        damage(&mut writer);
        told(&of(log::read(&writer.log).boots))
    };
    assert_eq!(after_a_whole_boot(&|_| {}), [(1, Some(1))]);
    let with_text = |writer: &mut Writer| writer.record(&Record::Text { text: "bug check" });
    assert_eq!(after_a_whole_boot(&with_text), [(2, None)], "the image says that something is wrong");
    let gives_up = |writer: &mut Writer| writer.block(1, 1, 0, 5, Status::Aborted);
    assert_eq!(after_a_whole_boot(&gives_up), [(2, None)], "a call went wrong");
    let ends = |writer: &mut Writer| writer.record(&Record::End { blocks: 1 });
    assert_eq!(after_a_whole_boot(&ends), [(2, None)], "the image has ended it");
    let goes_on = |writer: &mut Writer| boot(writer, 2, "");
    assert_eq!(after_a_whole_boot(&goes_on), [(3, None)], "it is not the last one");
}
