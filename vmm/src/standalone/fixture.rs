//! Logs made up for tests, by the image's own encoder.

use guest_stub::abi::{Sample, Status, Worker, sample_flags};
use kipi_standalone::lines::{self, LINE, Place};
use kipi_standalone::records::{RECORDS_VERSION, Record, in_batches};

/// Cycles from a round to the next one.
const ROUND: u64 = 100_000;
/// Cycles from a boot to the next one.
const BOOT: u64 = 1_000_000_000_000;
/// How long a call takes, in cycles, and so in half nanoseconds.
pub(crate) const ROUND_TRIP: u64 = 20_000;
pub(crate) const KHZ: u64 = 2_000_000;
/// A block's rounds that do not count.
pub(crate) const WARMUP: u32 = 2;

/// What is written, a record a line, among text for people.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer {
    pub(crate) log: Vec<u8>,
    pub(crate) sequence: u32,
    /// Boots that have begun. Each has time stamps of its own.
    pub(crate) boots: u32,
}

impl Writer {
    pub(crate) fn record(&mut self, record: &Record<'_>) {
        let mut line = [0; LINE];
        let place = Place { boot: self.boots, line: self.sequence };
        self.log.extend(lines::encode(place, record, &mut line).expect("it fits"));
        self.sequence += 1;
    }

    /// A block of so many rounds on two vCPUs, those of the warm-up included, which ended like this.
    pub(crate) fn block(&mut self, number: u32, cell: u32, turn: u32, rounds: u32, status: Status) {
        let missing = (status != Status::Done).then_some(1);
        self.record(&Record::Block {
            number,
            cell,
            turn,
            status: status as u32,
            rounds,
            generation: 4 * (rounds + 1),
            resent: 0,
            duplicate: 0,
            late: 0,
            missing,
            missing_count: missing.map_or(0, |_| 3),
        });
        for vcpu in 0..2 {
            let boot = self.boots;
            let samples = (0..rounds).map(|round| sample(boot, vcpu, round, number));
            in_batches(samples, |first, samples| {
                self.record(&Record::Samples { block: number, vcpu, first, samples });
            });
        }
    }
}

/// A call of two vCPUs, one of which is in state `spin`.
fn sample(boot: u32, vcpu: u32, round: u32, block: u32) -> Sample {
    let t0 = BOOT * u64::from(boot) + ROUND * u64::from(2000 * block + round);
    let common = Sample { generation: 4 * (round + 1), result: vcpu.into(), ..Sample::default() };
    match vcpu {
        0 => Sample {
            flags: sample_flags::INITIATOR,
            t0,
            t1: t0 + 1_000,
            w: t0 + 15_000,
            x: t0 + 15_400,
            t2: t0 + ROUND_TRIP + u64::from(round),
            ..common
        },
        _ => Sample { a: t0 + 10_000, w: t0 + 15_100, x: t0 + 15_500, ..common },
    }
}

/// The first record of a boot that was given these words.
pub(crate) fn start(writer: &mut Writer, command_line: &str) {
    writer.sequence = 0;
    writer.boots += 1;
    writer.record(&Record::Start { abi: RECORDS_VERSION, version: "0.1.0", door: "pvh", command_line });
}

/// The beginning of a boot that has two cells, of so many blocks of four rounds each; and one that is skipped.
pub(crate) fn begin(writer: &mut Writer, turns: u32, hypervisor: &str) {
    begin_with(writer, turns, hypervisor, true);
}

/// The same, of a machine that can measure none of these cells unless it `has_cells`.
pub(crate) fn begin_with(writer: &mut Writer, turns: u32, hypervisor: &str, has_cells: bool) {
    writer.log.extend(b"\x1b[2JSeaBIOS (version 1.16)\r\nBooting from ROM..\r\n");
    start(writer, "route=x2apic,memory,msi state=spin");
    writer.record(&Record::Platform {
        cpu: "Made Up CPU",
        hypervisor,
        listed: 3,
        processors: 2,
        x2apic: true,
        memory_kib: 1 << 20,
    });
    writer.record(&Record::Tsc { khz: KHZ, error_ppm: 25, source: "measured against the ACPI PM timer" });
    writer.record(&Record::Plan {
        vcpus: 2,
        rounds: 4 * turns,
        warmup: WARMUP,
        blocks: turns,
        worker: Worker::Stamp as u32,
        argument: 0,
        settle_ns: 10_000,
        deadline_ms: 4_000,
    });
    let (call, destination, state) = ("broadcast", "all-but-self", "spin");
    for (number, route) in (0..).zip(["x2apic", "memory"]) {
        if has_cells {
            writer.record(&Record::Cell { number, call, route, destination, state });
        } else {
            let reason = "this made up machine has no such route";
            writer.record(&Record::Skipped { call, route, destination, state, reason });
        }
    }
    let reason = "it is kipi's VMM that sends these messages";
    writer.record(&Record::Skipped { call, route: "msi", destination, state, reason });
    writer.log.extend(b"2 processors are up\n");
    let start = BOOT * u64::from(writer.boots) - 1_000;
    writer.record(&Record::Exchange {
        partner: 1,
        made: 512,
        sent: start,
        answered: start + 60,
        received: start + 100,
    });
    writer.record(&Record::Stamps { differences: &[40, 42, 44] });
    writer.record(&Record::Instructions { differences: &[64, 64, 96] });
}

/// A boot of so many turns that goes well.
pub(crate) fn boot(writer: &mut Writer, turns: u32, hypervisor: &str) {
    begin(writer, turns, hypervisor);
    for number in 0..2 * turns {
        writer.block(number, number % 2, number / 2, 4 + WARMUP, Status::Done);
    }
    writer.record(&Record::End { blocks: 2 * turns });
    writer.log.extend(b"the run is over\r\n");
}

/// A log of so many boots on KVM, of so many turns each.
pub(crate) fn log(boots: usize, turns: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    (0..boots).for_each(|_| boot(&mut writer, turns, "KVMKVMKVM"));
    writer.log
}
