//! What guests write, without KVM: `kipi_tests::guest_words`, with acts by chance. `fuzz/` looks for them with coverage.

use arbitrary::{Arbitrary as _, Unstructured};
use guest_stub::random::SplitMix64;
use kipi::sandbox::{self, Files};
use kipi_tests::guest_words::act::{Act, Place, Port, ReportedBlock, Width};
use kipi_tests::guest_words::{Done, Script, play};
use kipi_tests::{run_tests, test};
use std::sync::atomic::AtomicBool;

/// What a forbidden system call would end: its line and the status of this program say that there was one.
static STOP: AtomicBool = AtomicBool::new(false);

/// As kipi's own threads, these are in the sandbox when they come to what a guest has written.
fn main() -> std::process::ExitCode {
    sandbox::enter(&Files::default(), &STOP);
    run_tests()
}

/// Bytes that a script is made of: some 60 acts, which [`LONG`] holds it to.
const BYTES: usize = 1024;
/// Acts of a script on average, at least: what an act leaves behind is to meet others.
const LONG: u64 = 40;
/// Acts where nothing else is said.
const ACTS: u64 = 20_000;

/// So many acts; `KIPI_GUEST_ACTS` takes another number.
#[test]
fn whatever_guests_do_has_an_answer() {
    let wanted = std::env::var("KIPI_GUEST_ACTS").map_or(ACTS, |acts| acts.parse().expect("KIPI_GUEST_ACTS: a number"));
    let mut random = SplitMix64(20_261_127);
    let mut done = Done::default();
    let mut scripts = 0;
    while done.acts < wanted {
        scripts += 1;
        let bytes: Vec<u8> = (0..BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let script = Script::arbitrary(&mut Unstructured::new(&bytes)).expect("any bytes are a script");
        done += play(&script);
    }
    println!("{scripts} scripts: {done:?}, sandbox {:?}", sandbox::state());
    assert!(done.acts / scripts >= LONG, "{scripts} scripts: {done:?}");
    // What chance never brings about is not tested.
    let Done { acts: _, interrupts, reports, believed, rounds, lines } = done;
    assert!([interrupts, reports, believed, rounds, lines].iter().all(|&count| count > 0), "{done:?}");
}

fn after(acts: Vec<Act>) -> Done {
    play(&Script { vcpus: 1, user_space: false, asked: (0, 1), acts })
}

const SOUND: ReportedBlock = ReportedBlock { status: 1, rounds: 5, wrong: (0, u8::MAX, 0), value: 0 };

/// The checks see what they are to see: a sound guest is believed.
#[test]
fn rounds_that_could_be_true_are_believed() {
    let done = after(vec![Act::Block(SOUND)]);
    assert_eq!((done.reports, done.believed, done.rounds), (1, 1, 4), "one is thrown away");
}

#[test]
fn a_wrong_generation_or_result_in_one_sample_is_not_believed() {
    for (word, value) in [(0, 99), (7, 0)] {
        let done = after(vec![Act::Block(ReportedBlock { wrong: (1, 2, word), value, ..SOUND })]);
        assert_eq!((done.reports, done.believed, done.lines), (1, 0, 1), "word {word}");
    }
}

#[test]
fn a_report_of_more_rounds_than_a_ring_has_is_not_believed() {
    let doorbell = Act::Out(0, Port::Known(0), [0; 5], Width::Double);
    let done = after(vec![Act::Block(SOUND), Act::Write(Place::Report(4), u64::MAX), doorbell]);
    assert_eq!((done.reports, done.believed, done.lines), (2, 1, 1));
}

#[test]
fn a_message_word_reaches_whom_it_names() {
    let message = |kind, target| Act::Message(1, 0x51, kind, target);
    let done = after(vec![message(1, 0), message(2, 0), message(0, 1)]);
    assert_eq!((done.interrupts, done.lines), (2 + 1 + 1, 0));
    assert_eq!(after(vec![message(0, 2)]).lines, 1, "there is no vCPU 2");
}
