use super::super::fixture::{Writer, begin, boot};
use super::super::log;
use super::*;
use guest_stub::abi::Status;

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
