use super::*;
use crate::standalone::fixture::{Writer, begin, log, start};
use kipi_standalone::lines;
use kipi_standalone::plan;
use kipi_standalone::records::Record;

/// What the fixture's image is told.
const WORDS: &str = "route=x2apic,memory,msi state=spin rounds=20 warmup=2 vcpus=2";

/// What comes of a log: whether it is over, by each of its lines.
fn heard(words: &str, log: &[u8]) -> Result<Vec<bool>, String> {
    let mut telling = Telling::of(&plan::parse(words).expect("a plan"));
    lines::decode(log).map(|line| telling.hear(line).map_err(|fault| fault.to_string())).collect()
}

#[test]
fn a_boot_of_the_plan_that_was_asked_for_is_over_with_its_last_record() {
    let over = heard(WORDS, &log(1, 5)).expect("it is that plan");
    assert_eq!(over.iter().position(|&is_over| is_over), Some(over.len() - 2), "text follows");
}

#[test]
fn an_image_that_gives_up_before_it_has_a_plan_is_quoted() {
    let mut writer = Writer::default();
    start(&mut writer, "vcpus=2");
    writer.record(&Record::Text { text: "end=acpi: there is no reset register" });
    writer.record(&Record::Text { text: "vcpus=2: this machine has 1" });
    assert_eq!(heard(WORDS, &writer.log), Ok(vec![false; 3]), "what it says need not be the end");
    writer.record(&Record::End { blocks: 0 });
    let gave_up = "the image has given up: vcpus=2: this machine has 1".to_owned();
    assert_eq!(heard(WORDS, &writer.log), Err(gave_up));
}

#[test]
fn an_image_that_gives_up_later_is_over_and_its_log_says_why() {
    let mut writer = Writer::default();
    begin(&mut writer, 5, "KVMKVMKVM");
    writer.record(&Record::Text { text: "a call was given up" });
    writer.record(&Record::End { blocks: 0 });
    assert_eq!(heard(WORDS, &writer.log).expect("it had that plan").last(), Some(&true));
}

#[test]
fn another_plan_is_named_with_what_differs() {
    let told = |words: &str| heard(words, &log(1, 5)).expect_err("it is another plan");
    let way_out = ": its command line lacks {append}, or has words that override it";
    for (word, other, what) in [
        ("rounds=20", "rounds=8", "measures with rounds=20 instead of rounds=8"),
        ("rounds=20", "rounds=20 blocks=3", "measures with blocks=5 instead of blocks=3"),
        ("vcpus=2", "vcpus=3", "measures with vcpus=2 instead of vcpus=3"),
        ("warmup=2", "worker=spin", "measures with warmup=2 instead of warmup=3"),
        ("state=spin", "state=halt", "measures broadcast x2apic all-but-self spin, which was not asked for"),
        ("state=spin", "state=spin,user", "does not measure broadcast memory all-but-self user"),
        ("msi", "msi,nmi", "does not measure broadcast nmi all-but-self spin"),
    ] {
        assert_eq!(told(&WORDS.replace(word, other)), format!("the image {what}{way_out}"));
    }
}

#[test]
fn a_combination_may_have_been_lost_on_the_line() {
    let log = String::from_utf8_lossy(&log(1, 5)).into_owned();
    let of_cells: Vec<&str> = log.split_inclusive('\n').collect();
    let is_second_cell = |line: &str| {
        lines::decode(line.as_bytes()).any(|line| matches!(line, Line::Record(_, RecordOf::Cell { number: 1, .. })))
    };
    let without: String = of_cells.iter().copied().filter(|line| !is_second_cell(line)).collect();
    assert!(without.len() < log.len());
    assert_eq!(heard(WORDS, without.as_bytes()).map(drop), Ok(()));
    let damaged: String =
        of_cells.iter().map(|&line| if is_second_cell(line) { "~kipi 0000\n" } else { line }).collect();
    assert_eq!(heard(WORDS, damaged.as_bytes()).map(drop), Ok(()));
}

#[test]
fn another_start_begins_anew() {
    let mut writer = Writer::default();
    begin(&mut writer, 5, "");
    let mut twice = writer.log.clone();
    twice.extend(log(1, 5));
    let over = heard(WORDS, &twice).expect("both are of that plan");
    assert_eq!(over.iter().filter(|&&is_over| is_over).count(), 1);
}
