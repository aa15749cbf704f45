//! Raw samples as CSV: one row for each participant of each round, as they were taken.

use crate::events::samples::{Block, Participant};
use guest_stub::abi::cell::{CellId, Under};
use serde::Serialize;
use std::io::{self, Write};

/// The header row.
const COLUMNS: [&str; 27] = [
    "call",
    "route",
    "destination",
    "target_state",
    "vcpus",
    "observe",
    "idle_before_us",
    "block",
    "boot",
    "round",
    "generation",
    "vcpu",
    "role",
    "t0",
    "t1",
    "t2",
    "a",
    "halted",
    "back",
    "w",
    "x",
    "vmm",
    "base",
    "tsc_khz",
    "disturbed",
    "wait",
    "under",
];

/// One row: the fields are [`COLUMNS`], in their order.
#[derive(Serialize)]
struct Row {
    call: &'static str,
    route: &'static str,
    destination: &'static str,
    target_state: &'static str,
    vcpus: usize,
    observe: &'static str,
    idle_before_us: Option<u32>,
    block: u32,
    boot: u32,
    round: usize,
    generation: u32,
    vcpu: usize,
    role: &'static str,
    t0: Option<i128>,
    t1: Option<i128>,
    t2: Option<i128>,
    a: Option<i128>,
    halted: Option<i128>,
    back: Option<i128>,
    w: Option<i128>,
    x: Option<i128>,
    vmm: Option<i128>,
    base: u64,
    tsc_khz: u64,
    disturbed: bool,
    wait: &'static str,
    under: Option<&'static str>,
}

/// Writes blocks of rounds as they come.
///
/// Stamps are TSC cycles of the guest's clock since `base`, the first `t0` of their block, and empty where none was taken; `t0`,
/// `t1` and `t2` stand in the initiator's row only. `tsc_khz` turns cycles into time. A column with empty fields becomes one of
/// 64-bit floats in pandas and R, which hold no integer beyond 2⁵³: after six weeks, a TSC of 2.6 GHz. `base` is in every row, and
/// stays an integer.
pub struct CsvWriter<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> CsvWriter<W> {
    /// Writes the header, so that even a run without samples leaves a readable file.
    ///
    /// # Errors
    /// The writer's own.
    pub fn new(writer: W) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(writer);
        writer.write_record(COLUMNS).map_err(into_io)?;
        Ok(Self { writer })
    }

    /// Adds one block of a cell's rounds, `tsc_khz` being the frequency of the guest's TSC. `block` and `boot` are the `number`
    /// and the `boot` that the measurement document has of it, which together tell it from the cell's other blocks; `round`
    /// counts from 0 within the block. The pings of a mesh's round have that number in common, and `generation` tells them apart.
    ///
    /// # Errors
    /// The writer's own.
    pub fn block(&mut self, key: &CellId, samples: &Block, tsc_khz: u64) -> io::Result<()> {
        let base = samples.rounds.first().map_or(0, |round| round.t0);
        for (index, round) in samples.rounds.iter().enumerate() {
            for participant in &round.participants {
                let mut row = target_row(key, samples, index, participant, (base, tsc_khz));
                // The host has no row: its stamps stand in vCPU 0's.
                if participant.vcpu == round.initiator.unwrap_or(0) {
                    row.role = "initiator";
                    let stamps = [round.t0, round.t1, round.t2];
                    [row.t0, row.t1, row.t2] = stamps.map(|stamp| Some(since(base, stamp)));
                }
                self.writer.serialize(row).map_err(into_io)?;
            }
        }
        Ok(())
    }

    /// Writes what is still buffered and hands the writer back.
    ///
    /// # Errors
    /// The writer's own.
    pub fn finish(self) -> io::Result<W> {
        self.writer.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// A stamp since another. A guest's may be anything, so that the difference of two may need a sign and 64 bits.
fn since(base: u64, stamp: u64) -> i128 {
    i128::from(stamp) - i128::from(base)
}

fn target_row(
    key: &CellId,
    samples: &Block,
    index: usize,
    participant: &Participant,
    (base, tsc_khz): (u64, u64),
) -> Row {
    let since_base = |stamp: Option<u64>| stamp.map(|stamp| since(base, stamp));
    Row {
        call: key.call.name(),
        route: key.route.name(),
        destination: key.destination.name(),
        target_state: key.target_state.name(),
        vcpus: key.vcpus,
        observe: key.observe.name(),
        idle_before_us: key.idle_before_us,
        block: samples.number,
        boot: samples.boot,
        round: index / samples.at_once.max(1),
        generation: samples.rounds[index].generation,
        vcpu: participant.vcpu,
        role: "target",
        t0: None,
        t1: None,
        t2: None,
        a: since_base(participant.a),
        halted: since_base(participant.halted),
        back: since_base(participant.back),
        w: since_base(participant.w),
        x: since_base(participant.x),
        vmm: since_base(participant.vmm),
        base,
        tsc_khz,
        disturbed: !samples.is_quiet(),
        wait: key.wait.name(),
        under: key.under.map(Under::name),
    }
}

/// The writer's own error back out of the `csv` crate's, whose conversion would hide its kind (a broken pipe).
fn into_io(error: csv::Error) -> io::Error {
    let message = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => io::Error::new(io::ErrorKind::InvalidData, format!("cannot write a row of samples: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples::Round;
    use guest_stub::abi::cell::{Observe, Route};
    use guest_stub::abi::{Destination, TargetState};
    use std::fs;
    use std::path::Path;

    const KEY: CellId = CellId {
        observe: Observe::Exits,
        ..CellId::broadcast(Route::X2Apic, Destination::AllButSelf, TargetState::Halt, 2)
    };

    #[test]
    fn the_guide_explains_every_column() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/guide/samples.md");
        let guide = fs::read_to_string(path).expect("the guide");
        let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let explained: Vec<&str> = rows.map(|(column, _)| column).collect();
        assert_eq!(explained, COLUMNS);
    }

    fn round() -> Round {
        Round {
            generation: 7,
            initiator: Some(0),
            t0: 100,
            t1: 150,
            t2: 900,
            participants: vec![
                Participant { vcpu: 0, a: None, halted: None, w: Some(500), x: Some(600), vmm: Some(550), back: None },
                Participant {
                    vcpu: 1,
                    a: Some(300),
                    halted: Some(20),
                    w: Some(501),
                    x: Some(610),
                    vmm: None,
                    back: Some(700),
                },
            ],
            trace: Vec::new(),
        }
    }

    fn block(number: u32, rounds: Vec<Round>) -> Block {
        Block { number, boot: 9, rounds, ..Block::default() }
    }

    fn text(writer: CsvWriter<Vec<u8>>) -> String {
        String::from_utf8(writer.finish().expect("a vector takes everything")).expect("UTF-8")
    }

    #[test]
    fn one_row_for_each_participant_with_empty_fields_where_nothing_was_taken() {
        let mut writer = CsvWriter::new(Vec::new()).expect("header");
        writer.block(&KEY, &block(3, vec![round()]), 2_600_000).expect("block");
        assert_eq!(
            text(writer),
            "call,route,destination,target_state,vcpus,observe,idle_before_us,block,boot,round,generation,vcpu,role,\
             t0,t1,t2,a,halted,back,w,x,vmm,base,tsc_khz,disturbed,wait,under\n\
             broadcast,x2apic,all-but-self,halt,2,exits,,3,9,0,7,0,initiator,0,50,800,,,,400,500,450,100,2600000,false,spin,\n\
             broadcast,x2apic,all-but-self,halt,2,exits,,3,9,0,7,1,target,,,,200,-80,600,401,510,,100,2600000,false,spin,\n"
        );
    }

    #[test]
    fn rounds_count_within_their_block() {
        let mut writer = CsvWriter::new(Vec::new()).expect("header");
        writer.block(&KEY, &block(0, vec![round(), round()]), 1).expect("block 0");
        writer.block(&KEY, &block(1, vec![round()]), 1).expect("block 1");
        let text = text(writer);
        let places: Vec<(&str, &str)> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').collect::<Vec<_>>())
            .map(|fields| (fields[7], fields[9]))
            .collect();
        assert_eq!(places, [("0", "0"), ("0", "0"), ("0", "1"), ("0", "1"), ("1", "0"), ("1", "0")]);
    }

    #[test]
    fn the_pings_of_a_meshs_round_have_its_number() {
        let mut writer = CsvWriter::new(Vec::new()).expect("header");
        let pings = (1..=4).map(|generation| Round { generation, ..round() }).collect();
        writer.block(&KEY, &Block { at_once: 2, ..block(0, pings) }, 1).expect("block");
        let text = text(writer);
        let fields = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        let pings: Vec<(String, String)> = fields.step_by(2).map(|it| (it[9].to_owned(), it[10].to_owned())).collect();
        let expected = [("0", "1"), ("0", "2"), ("1", "3"), ("1", "4")];
        assert_eq!(pings, expected.map(|(round, generation)| (round.to_owned(), generation.to_owned())));
    }

    #[test]
    fn header_alone_when_there_are_no_samples() {
        let text = text(CsvWriter::new(Vec::new()).expect("header"));
        assert_eq!(text.trim_end(), COLUMNS.join(","));
    }

    #[test]
    fn senseless_stamps_survive() {
        let mut writer = CsvWriter::new(Vec::new()).expect("header");
        let rounds = [(0, u64::MAX), (u64::MAX, 0)].map(|(t0, t2)| Round { t0, t2, ..round() });
        for round in rounds {
            writer.block(&KEY, &block(0, vec![round]), 1).expect("block");
        }
        let text = text(writer);
        assert!(text.contains(",0,150,18446744073709551615,"), "{text}");
        assert!(text.contains(",-18446744073709551615,") && text.contains(",18446744073709551615,1,false,"), "{text}");
    }

    /// Guests whose host has been up for months: a float of 64 bits, which pandas reads stamps as, loses their last digits.
    #[test]
    fn stamps_beyond_the_floats_integers_lose_nothing() {
        const LATE: u64 = (1 << 53) + 1;
        let mut writer = CsvWriter::new(Vec::new()).expect("header");
        let later = |stamp: Option<u64>| stamp.map(|stamp| stamp + LATE);
        let mut late = round();
        (late.t0, late.t1, late.t2) = (late.t0 + LATE, late.t1 + LATE, late.t2 + LATE);
        for each in &mut late.participants {
            (each.a, each.w, each.x, each.vmm) = (later(each.a), later(each.w), later(each.x), later(each.vmm));
        }
        writer.block(&KEY, &block(0, vec![late]), 1).expect("block");
        let text = text(writer);
        let header: Vec<&str> = COLUMNS.to_vec();
        let place = |name: &str| header.iter().position(|column| *column == name).expect(name);
        let row: Vec<&str> = text.lines().nth(1).expect("a row").split(',').collect();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what a reader does, of a small value"
        )]
        let read = |name: &str| row[place(name)].parse::<f64>().expect("a number") as u64;
        let base: u64 = row[place("base")].parse().expect("an integer");
        assert_eq!([read("t0"), read("t1"), read("w")].map(|stamp| base + stamp), [100, 150, 500].map(|it| it + LATE));
    }

    /// Takes nothing.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_writers_error_keeps_its_kind() {
        let finished = CsvWriter::new(Closed).and_then(CsvWriter::finish);
        assert_eq!(finished.err().map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));

        let mut writer = CsvWriter::new(Closed).expect("the header is buffered");
        let many = block(0, vec![round(); 1_000]);
        let error = writer.block(&KEY, &many, 1).expect_err("the buffer overflows into the closed writer");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
