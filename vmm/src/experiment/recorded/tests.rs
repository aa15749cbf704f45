use super::*;
use crate::results::integrity::Integrity;
use crate::results::measurement::{Cell, IntervalScope};
use crate::results::metric::MetricName;
use crate::standalone::fixture::{self, ROUND_TRIP, WARMUP, Writer, begin};
use crate::standalone::{log, runs};
use guest_stub::abi::Status;
use kipi_standalone::records::Record;

/// The document of a log's only run.
fn document(bytes: &[u8]) -> Measurement {
    let runs = runs::of(log::read(bytes).boots);
    assert_eq!(runs.len(), 1);
    let mut progress = |_: usize, _: usize, _: &CellId| {};
    let mut observer = Observer { progress: &mut progress, samples: None, started: None, details: None, repeats: None };
    let (measurement, error) = import(&runs[0], "serial.log", &mut observer);
    assert!(error.is_none(), "{error:?}");
    measurement
}

fn told(cell: &Cell) -> (&'static str, u64, u64, usize) {
    (cell.id.route.name(), cell.rounds, cell.rounds_asked, cell.blocks.len())
}

#[test]
fn a_log_is_a_measurement_as_any_other() {
    let measurement = document(&fixture::log(1, 3));
    assert_eq!(measurement.cells.iter().map(told).collect::<Vec<_>>(), [("x2apic", 12, 12, 3), ("memory", 12, 12, 3)]);
    assert!(measurement.cells.iter().all(|cell| cell.integrity == Integrity::default()));
    let round_trip = &measurement.cells[0].metrics[&MetricName::RoundTrip];
    // Two cycles are a nanosecond, and the rounds after the warm-up are the third one and those after.
    let least = (ROUND_TRIP + u64::from(WARMUP)) as f64 / 2.0;
    assert_eq!((round_trip.min, round_trip.max), (least, least + 1.5));
    assert_eq!((measurement.warnings.len(), measurement.partial, measurement.quiet), (0, false, None));
    assert_eq!(measurement.intervals, IntervalScope::WithinRun);
    assert_eq!((measurement.config.boots, measurement.config.vcpus.as_slice()), (1, &[2][..]));
    assert_eq!(measurement.skipped.len(), 1);
}

#[test]
fn what_the_image_has_seen_of_its_machine_is_in_the_document() {
    let measurement = document(&fixture::log(1, 1));
    let host = &measurement.host;
    assert_eq!((host.kernel.as_str(), host.cpu.as_str(), host.cpus.len()), ("none", "Made Up CPU", 2));
    assert_eq!((host.nested, host.hypervisor.as_deref(), host.kvm.len()), (true, Some("KVMKVMKVM"), 0));
    assert_eq!(host.standalone_platform().as_deref(), Some("standalone image under KVMKVMKVM"));
    let standalone = host.standalone.as_ref().unwrap();
    assert_eq!(
        (standalone.door.as_str(), standalone.log.as_str(), standalone.tsc_error_ppm),
        ("pvh", "serial.log", 25)
    );
    let [instruments] = &measurement.instruments[..] else { panic!("{:?}", measurement.instruments) };
    assert_eq!((instruments.stamp_ns.n, instruments.stamp_ns.p50, instruments.exit_leg_ns.n), (3, 21.0, 0));
    assert_eq!((instruments.boot_ns, instruments.up_ns, instruments.first_broadcast_ns), (None, None, None));
    assert_eq!(instruments.instruction_ns.map(|spread| spread.p50), Some(1.0));
    // The partner's clock is 40 behind to 60 ahead, in half nanoseconds.
    assert_eq!(instruments.clock.error_ns, Some(30.0));
    let method = "512 exchanges of stamps between 2 vCPUs, whose TSC offsets are not known; TSC at 2000.000 MHz ± 25 ppm \
                  (measured against the ACPI PM timer)";
    assert_eq!(instruments.clock.method, method);
}

#[test]
fn bare_metal_is_told_from_a_hypervisor() {
    let mut writer = Writer::default();
    fixture::boot(&mut writer, 1, "");
    let on_metal = document(&writer.log);
    let host = &on_metal.host;
    assert_eq!((host.nested, host.standalone_platform().as_deref()), (false, Some("standalone image on bare metal")));
    let undivided = |measurement: &Measurement| {
        assert_eq!(measurement.undivided.len(), measurement.cells.len());
        measurement.undivided[0].reason.clone()
    };
    assert!(undivided(&on_metal).starts_with("these calls are native themselves; kipi compare --as-overhead"));
    assert!(undivided(&document(&fixture::log(1, 1))).ends_with("divides by the same calls on bare metal"));
}

#[test]
fn each_boot_is_a_boot() {
    let measurement = document(&fixture::log(5, 2));
    let cell = &measurement.cells[0];
    assert_eq!((cell.rounds, cell.blocks.len(), measurement.config.boots), (40, 10, 5));
    assert_eq!(cell.blocks.iter().map(|block| block.boot).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    assert!(cell.metrics[&MetricName::RoundTrip].ci95.p50.is_some(), "five boots are enough");
}

#[test]
fn a_block_that_was_lost_on_the_line_is_no_fault_of_the_calls() {
    let mut writer = Writer::default();
    begin(&mut writer, 3, "");
    for number in 0..6 {
        let start = (writer.log.len(), writer.sequence);
        writer.block(number, number % 2, number / 2, 4 + WARMUP, Status::Done);
        if number == 2 {
            writer.log.truncate(start.0);
        }
    }
    writer.record(&Record::End { blocks: 6 });
    let measurement = document(&writer.log);
    let cells: Vec<_> = measurement.cells.iter().map(told).collect();
    assert_eq!(cells, [("x2apic", 8, 12, 2), ("memory", 12, 12, 3)]);
    assert!(measurement.cells.iter().all(|cell| cell.integrity == Integrity::default()));
    assert!(!measurement.partial, "it came to its end");
    assert_eq!(measurement.warnings.last().map(String::as_str), Some("1 block is missing"));
}

#[test]
fn a_call_that_was_given_up_ends_its_boot_and_is_counted() {
    let mut writer = Writer::default();
    begin(&mut writer, 2, "");
    writer.block(0, 0, 0, 4 + WARMUP, Status::Done);
    writer.block(1, 1, 0, 1 + WARMUP, Status::Aborted);
    writer.record(&Record::Text { text: "a call was given up in round 3" });
    writer.record(&Record::End { blocks: 2 });
    fixture::boot(&mut writer, 2, "");
    let measurement = document(&writer.log);
    let [x2apic, memory] = &measurement.cells[..] else { panic!("two cells") };
    assert_eq!((x2apic.integrity.timed_out, memory.integrity.timed_out), (0, 1));
    assert_eq!((x2apic.rounds, memory.rounds), (4 + 8, 1 + 8), "the second boot has all of them");
    assert_eq!(measurement.error.as_deref(), Some("the image has ended boot 1: a call was given up in round 3"));
    let silence = "never arrived: vCPU 1 and 2 more";
    assert!(measurement.warnings.iter().any(|warning| warning.ends_with(silence)), "{:?}", measurement.warnings);
}

#[test]
fn a_log_that_is_cut_off_is_a_partial_run() {
    let bytes = fixture::log(1, 3);
    let measurement = document(&bytes[..bytes.len() * 2 / 3]);
    assert_eq!(measurement.error.as_deref(), Some("the log ends before the run does"));
    assert!(measurement.partial && measurement.cells.iter().all(|cell| cell.rounds > 0));
}

#[test]
fn a_last_boot_that_is_cut_off_leaves_a_whole_run() {
    let bytes = fixture::log(6, 2);
    let measurement = document(&bytes[..bytes.len() - 300]);
    assert_eq!((measurement.partial, measurement.error.as_deref(), measurement.config.boots), (false, None, 5));
    assert_eq!(
        measurement.cells.iter().map(told).collect::<Vec<_>>(),
        [("x2apic", 40, 40, 10), ("memory", 40, 40, 10)]
    );
    assert_eq!(measurement.warnings, ["boot 6, the last one, is cut off after 3 of its 4 blocks: it is left out"]);
    // Others are needed, and so is each that is not the last one.
    let cut_in_the_middle = [&bytes[..bytes.len() / 3 - 300], &bytes[bytes.len() / 3..]].concat();
    let measurement = document(&cut_in_the_middle);
    assert_eq!(measurement.error.as_deref(), Some("boot 2 is cut off: the log has not got its end"));
}

#[test]
fn a_run_without_a_block_has_no_cells() {
    let mut writer = Writer::default();
    begin(&mut writer, 2, "");
    assert_eq!(document(&writer.log).cells, []);
}

#[test]
fn what_no_guest_reports_ends_the_import() {
    let mut writer = Writer::default();
    begin(&mut writer, 1, "");
    writer.block(0, 0, 0, 4 + WARMUP, Status::BadCommand);
    let runs = runs::of(log::read(&writer.log).boots);
    let mut progress = |_: usize, _: usize, _: &CellId| {};
    let mut observer = Observer { progress: &mut progress, samples: None, started: None, details: None, repeats: None };
    let (measurement, error) = import(&runs[0], "-", &mut observer);
    assert!(error.is_some_and(|error| error.to_string().contains("does not know the command")) && measurement.partial);
}
