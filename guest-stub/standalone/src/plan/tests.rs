use super::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

const EVERYTHING: Offers = Offers { x2apic: true, xapic: true, processors: 4 };

/// What a command line that is not understood is answered with.
fn error(command_line: &str) -> String {
    parse(command_line).map(drop).expect_err(command_line).to_string()
}

fn planned(command_line: &str, offers: Offers) -> (Vec<String>, Vec<(String, &'static str)>) {
    let plan = parse(command_line).expect(command_line);
    let (mut cells, mut skipped) = (Vec::new(), Vec::new());
    for planned in plan.cells(offers) {
        match planned {
            Planned::Cell(cell) => cells.push(cell.to_string()),
            Planned::Skipped(cell, reason) => skipped.push((cell.to_string(), reason)),
        }
    }
    (cells, skipped)
}

#[test]
fn nothing_is_what_measure_does_by_default() {
    assert_eq!(parse("").expect("it is nothing"), Plan::default());
    let (cells, skipped) = planned("", EVERYTHING);
    assert_eq!(
        cells,
        [
            "xapic, all-but-self, spin, 4 vCPUs, guest",
            "xapic, all-but-self, user, 4 vCPUs, guest",
            "xapic, all-but-self, halt, 4 vCPUs, guest",
            "x2apic, all-but-self, spin, 4 vCPUs, guest",
            "x2apic, all-but-self, user, 4 vCPUs, guest",
            "x2apic, all-but-self, halt, 4 vCPUs, guest",
            "memory, all-but-self, spin, 4 vCPUs, guest",
        ]
    );
    assert_eq!(
        skipped,
        [
            ("memory, all-but-self, user, 4 vCPUs, guest".into(), "the memory route's targets poll at CPL0"),
            ("memory, all-but-self, halt, 4 vCPUs, guest".into(), "a halted processor polls nothing"),
        ]
    );
}

#[test]
fn every_word_is_read() {
    let plan = parse(
        "call=ping,broadcast route=nmi,x2apic,nmi destination=unicast,mesh target-state=masked,halt rounds=12 warmup=0 \
         blocks=4 vcpus=1024 worker=spin argument=77 settle=1000000 deadline=1 end=acpi console=both",
    );
    let expected = Plan {
        calls: Chosen::of(&[Call::Ping, Call::Broadcast]),
        routes: Chosen::of(&[Route::Nmi, Route::X2Apic]),
        destinations: Chosen::of(&[Destination::Unicast, Destination::Mesh]),
        target_states: Chosen::of(&[TargetState::Masked, TargetState::Halt]),
        rounds: 12,
        warmup: 0,
        blocks: Some(4),
        vcpus: Some(1024),
        worker: Worker::Spin,
        argument: Some(77),
        settle_us: 1_000_000,
        deadline_ms: 1,
        end: End::Acpi,
        console: Console { serial: Some(0x3F8), e9: true },
    };
    assert_eq!(plan.expect("each is a word"), expected);
}

#[test]
fn every_name_that_there_is_can_be_chosen() {
    let chosen = |key: &str, names: &[&str]| {
        let word = [key, &names.join(",")].concat();
        parse(&word).expect(&word)
    };
    let routes: Vec<_> = Route::ALL.iter().map(|route| route.name()).collect();
    assert!(chosen("route=", &routes).routes.iter().eq(Route::ALL.iter().copied()));
    let destinations: Vec<_> = Destination::ALL.iter().map(|at| at.name()).collect();
    assert!(chosen("destination=", &destinations).destinations.iter().eq(Destination::ALL.iter().copied()));
    let states: Vec<_> = TargetState::ALL.iter().map(|state| state.name()).collect();
    assert!(chosen("state=", &states).target_states.iter().eq(TargetState::ALL.iter().copied()));
    let calls: Vec<_> = Call::ALL.iter().map(|call| call.name()).collect();
    assert!(chosen("call=", &calls).calls.iter().eq(Call::ALL.iter().copied()));
    for &end in End::ALL {
        assert_eq!(chosen("end=", &[end.name()]).end, end);
    }
    for &(name, console) in Console::NAMED {
        assert_eq!(chosen("console=", &[name]).console, console);
    }
}

#[test]
fn a_serial_port_is_a_name_or_a_number() {
    let chosen = |word| parse(word).expect(word).console;
    assert_eq!(chosen("console=com2"), Console { serial: Some(0x2F8), e9: false });
    assert_eq!(chosen("console=0x3E8"), Console { serial: Some(0x3E8), e9: false });
    for value in ["0x0", "0xfff9", "0x10000", "0x", "3f8", "com5"] {
        let word = ["console=", value].concat();
        let there_are = "there are com1, com2, e9, both, ttyS0, ttyS1, a serial port as 0x3e8";
        assert_eq!(error(&word), alloc::format!("console cannot be \"{value}\"; {there_are}"));
    }
    let told: Vec<String> = ["com2", "0x3e8", "e9", "both"].map(|name| Console::of(name).unwrap().to_string()).into();
    assert_eq!(
        told,
        [
            "COM2 (115200 baud, 8N1)",
            "the serial port at 3E8H (115200 baud, 8N1)",
            "port E9H",
            "COM1 (115200 baud, 8N1) and port E9H"
        ]
    );
}

#[test]
fn the_console_is_known_where_the_rest_is_not_understood() {
    assert_eq!(Console::chosen_by("bad=word console=com2"), Console { serial: Some(0x2F8), e9: false });
    assert_eq!(Console::chosen_by("console=e9 console=pigeon"), Console { serial: None, e9: true });
    assert_eq!(Console::chosen_by("xconsole=e9"), Console::COM1);
}

#[test]
fn a_word_that_is_there_twice_is_refused() {
    assert_eq!(error("rounds=5 state=spin\trounds=6"), "rounds is there twice: leave one out");
    assert_eq!(error("rounds=5 rounds=5"), "rounds is there twice: leave one out");
    assert_eq!(error("state=spin\n target-state=halt"), "target-state is there twice: leave one out");
    assert_eq!(error("argument=5 spin-cycles=6"), "spin-cycles is there twice: leave one out");
    assert_eq!(error("console=com1 console=com2"), "console is there twice: leave one out");
}

#[test]
fn a_console_that_a_vmm_adds_for_linux_is_no_repetition() {
    for line in ["console=com2 console=ttyS0", "console=ttyS0 console=com2", "console=ttyS0 console=ttyS1"] {
        let last = line.rsplit_once('=').expect("a word").1;
        assert_eq!(Some(parse(line).expect(line).console), Console::of(last), "{line}");
    }
}

#[test]
fn the_end_is_known_where_the_rest_is_not_understood() {
    assert_eq!(End::chosen_by("rounds=20 bogus=3 end=qemu"), End::Qemu);
    assert_eq!(End::chosen_by("end=reset rounds=x end=acpi end=pigeon"), End::Acpi);
    assert_eq!([End::chosen_by(""), End::chosen_by("xend=reset end")], [End::Halt; 2]);
}

#[test]
fn a_word_is_told_from_a_files_name() {
    assert!(["rounds=20", "state=", "spin-cycles=x"].into_iter().all(is_word));
    assert!(!["kipi.elf", "./rounds=20", "round=20", "rounds", "-", ""].into_iter().any(is_word));
}

#[test]
fn words_for_linux_are_ignored() {
    let by_loaders = "/boot/kipi.elf BOOT_IMAGE=/boot/kipi.elf virtio_mmio.device=512@0xfeb00e00:12 pci=off reboot=k panic=1 \
                      nomodule 8250.nr_uarts=0 i8042.noaux root=/dev/vda ro rounds=7";
    assert_eq!(parse(by_loaders).expect("the others are Linux's"), Plan { rounds: 7, ..Plan::default() });
}

#[test]
fn what_is_not_understood_is_named_with_what_there_is() {
    assert_eq!(
        error("rounds=5 round=6"),
        "there is no word round=6; there are call, route, destination, target-state, state, rounds, warmup, blocks, vcpus, worker, \
         argument, spin-cycles, settle, deadline, end, console"
    );
    assert_eq!(error("rounds=5 /boot/kipi")[..30], *"there is no word /boot/kipi; t");
    assert_eq!(error("/rounds=5")[..28], *"there is no word /rounds=5; ", "it is no path");
    assert_eq!(
        error("state=halt,sleep"),
        "state cannot be \"sleep\"; there are spin, user, halt, masked, preempted, out"
    );
    assert_eq!(error("end"), "end cannot be \"\"; there are halt, reset, acpi, qemu");
    assert_eq!(error("worker=hang"), "worker cannot be \"hang\"; there are stamp, spin");
    for (word, range) in [
        ("rounds=0", "1 to 10000000"),
        ("rounds=10000001", "1 to 10000000"),
        ("vcpus=1025", "1 to 1024"),
        ("warmup=-1", "0 to 1000"),
        ("settle=1e3", "0 to 1000000"),
        ("deadline=99999999999999999999999", "1 to 600000"),
        ("blocks=", "1 to 10000000"),
    ] {
        let (key, value) = word.split_once('=').expect("it has both");
        assert_eq!(error(word), alloc::format!("{key} cannot be {value:?}; it is a number from {range}"));
    }
}

#[test]
fn what_needs_kipis_vmm_is_skipped_with_the_reason() {
    let routes: Vec<_> = Route::ALL.iter().map(|route| route.name()).collect();
    let (cells, skipped) = planned(&alloc::format!("state=spin,preempted,out route={}", routes.join(",")), EVERYTHING);
    let of_image: Vec<_> = ["xapic", "x2apic", "memory", "nmi"]
        .iter()
        .map(|route| alloc::format!("{route}, all-but-self, spin, 4 vCPUs, guest"))
        .collect();
    assert_eq!(cells, of_image);
    assert_eq!(skipped.len(), 14 * 3 - 4);
}

#[test]
fn what_the_platform_lacks_is_skipped_with_the_reason() {
    let skipped = |offers| planned("state=spin route=xapic,x2apic,memory", offers).1;
    let cell = |route| alloc::format!("{route}, all-but-self, spin, 4 vCPUs, guest");
    assert_eq!(
        skipped(Offers { x2apic: false, ..EVERYTHING }),
        [(cell("x2apic"), "this machine's local APICs have no x2APIC mode")]
    );
    assert_eq!(
        skipped(Offers { xapic: false, ..EVERYTHING }),
        [(cell("xapic"), "xAPIC mode is locked out, or a processor's APIC id is 255 or more: use x2apic")]
    );
    let (cells, skipped) = planned("vcpus=5", EVERYTHING);
    assert_eq!(cells.len(), 0);
    assert_eq!(skipped[0].1, "this machine has not got so many processors");
}

#[test]
fn as_many_processors_take_part_as_there_are_up_to_four() {
    assert_eq!([1, 2, 3, 64].map(|processors| Plan::default().vcpus(processors)), [1, 2, 3, 4]);
    assert_eq!(parse("vcpus=3").expect("it is a word").vcpus(64), 3);
}

#[test]
fn each_call_has_its_usual_destination() {
    let (cells, _) = planned("call=broadcast,ping state=spin route=x2apic", EVERYTHING);
    assert_eq!(cells, ["x2apic, all-but-self, spin, 4 vCPUs, guest", "ping x2apic, unicast, spin, 4 vCPUs, guest"]);
}

#[test]
fn the_worker_has_its_usual_argument() {
    let argument = |line| parse(line).expect(line).argument();
    assert_eq!(["", "worker=spin", "worker=spin spin-cycles=5", "argument=6"].map(argument), [0, 10_000, 5, 6]);
}

#[test]
fn blocks_are_as_many_as_asked_for_where_the_rounds_allow_it() {
    let blocks = |line| parse(line).expect(line).blocks().collect::<Vec<_>>();
    assert_eq!(blocks("").len(), 20);
    assert_eq!(blocks("rounds=10 blocks=3"), [3, 3, 4]);
    assert_eq!(blocks("rounds=2 blocks=3"), [1, 1]);
    assert_eq!(blocks("rounds=2042 blocks=1"), [1021, 1021], "a ring has room for 1,024 with three of the warm-up");
}

#[test]
fn it_is_known_where_there_are_not_as_many_blocks_as_asked_for() {
    let other = |line| parse(line).expect(line).other_blocks();
    assert_eq!(["", "rounds=10 blocks=3", "rounds=20 blocks=20"].map(other), [None; 3]);
    assert_eq!(other("rounds=20 blocks=50"), Some((50, 20)));
    assert_eq!(other("rounds=2042 blocks=1"), Some((1, 2)));
}

#[test]
fn the_record_says_what_is_measured() {
    let plan = parse("worker=spin settle=7 rounds=10 blocks=3 deadline=5").expect("each is a word");
    let expected = Record::Plan {
        vcpus: 2,
        rounds: 10,
        warmup: 3,
        blocks: 3,
        worker: 2,
        argument: 10_000,
        settle_ns: 7000,
        deadline_ms: 5,
    };
    assert_eq!(plan.record(Offers { processors: 2, ..EVERYTHING }), expected);
}

proptest! {
    #[test]
    fn whatever_the_command_line_is_there_is_an_answer(line in "\\PC{0,60}") {
        if let Err(error) = parse(&line) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn words_that_there_are_make_a_plan(
        routes in proptest::sample::subsequence(Route::ALL, 1..5),
        states in proptest::sample::subsequence(TargetState::ALL, 1..4),
        rounds in 1..5000_u32,
        vcpus in 1..=1024_u32,
        processors in 1..=1024_u32,
        x2apic: bool,
        xapic: bool,
    ) {
        let routes: Vec<_> = routes.iter().map(|route| route.name()).collect();
        let states: Vec<_> = states.iter().map(|state| state.name()).collect();
        let line = alloc::format!("route={} state={} rounds={rounds} vcpus={vcpus}", routes.join(","), states.join(","));
        let offers = Offers { x2apic, xapic, processors };
        let plan = parse(&line).expect("each is a word");
        prop_assert_eq!(plan.cells(offers).count(), routes.len() * states.len());
        for planned in plan.cells(offers) {
            if let Planned::Cell(cell) = planned {
                prop_assert!(cell.vcpus <= processors as usize && !cell.target_state.is_away());
            }
        }
    }
}
