//! What a run hands on besides its figures: warnings, refusals, raw samples.

use crate::invented::{Invented, KHZ, Log, WELL, alike, assert_valid, config, disturbed, run};
use guest_stub::abi::TargetState;
use kipi::config::routes::Route;
use kipi::config::{self, CellId, Config, HostOffers, MachineSpec};
use kipi::events::samples::Block;
use kipi::experiment::{self, Observer};
use kipi::report::csv::CsvWriter;
use kipi::results::metric::MetricName;
use kipi_tests::test;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Write};

#[test]
fn more_vcpus_than_cpus_are_warned_of() {
    let warnings = |config: &Config| run(config, WELL).document.warnings;
    let shares = |warnings: &[String], text: &str| warnings.iter().any(|warning| warning.contains(text));
    let enough = warnings(&config());
    assert!(!shares(&enough, "share"), "{enough:?}");
    let pinned = warnings(&Config { pin: vec![1, 1], ..config() });
    assert!(shares(&pinned, "2 vCPUs share 1 CPU:"), "{pinned:?}");
    let free = warnings(&Config { pin: vec![], vcpus: vec![2, 8], ..config() });
    assert!(shares(&free, "8 vCPUs share 2 CPUs"), "{free:?}");
    let by_host = |vcpus| warnings(&Config { routes: vec![Route::Host], vcpus: vec![vcpus], ..config() });
    assert!(shares(&by_host(2), "the host's calls share their CPU"), "{:?}", by_host(2));
    assert!(!shares(&by_host(1), "the host's calls"), "{:?}", by_host(1));
}

#[test]
fn what_cannot_be_measured_is_in_the_document_with_its_reason() {
    let config = Config { routes: vec![Route::X2Apic, Route::Memory], ..config() };
    let document = run(&config, WELL).document;
    assert_eq!(document.cells.len(), 3);
    let [skipped] = &document.skipped[..] else { panic!("{:?}", document.skipped) };
    assert_eq!((skipped.id.route, skipped.id.target_state, skipped.id.vcpus), (Route::Memory, TargetState::Halt, 2));
    assert_eq!(skipped.reason, "a halted processor polls nothing");
    assert_eq!(
        (document.config.routes.as_slice(), document.config.rounds),
        (&["x2apic", "memory"].map(str::to_owned)[..], 40)
    );
    assert_eq!((document.config.worker.as_str(), document.config.argument), ("spin", 100));
    assert_valid(&document);
}

#[test]
fn raw_samples_are_those_of_the_rounds_that_count() {
    let outcome = run(&Config { rounds: 2, ..config() }, WELL);
    let lines: Vec<&str> = outcome.csv.lines().skip(1).collect();
    let expected = |state: &str, block: u32| {
        let cell = format!("broadcast,x2apic,all-but-self,{state},2,guest,,{block},0,0,4");
        [
            format!("{cell},0,initiator,0,50,900,,,,500,600,700,0,1000000,false,spin,"),
            format!("{cell},1,target,,,,400,,,530,650,790,0,1000000,false,spin,"),
        ]
    };
    let blocks = [("spin", 0), ("halt", 0), ("spin", 1), ("halt", 1)];
    assert_eq!(lines, blocks.map(|(state, block)| expected(state, block)).concat());
}

#[test]
fn raw_samples_and_the_document_name_a_block_alike() {
    let blocks = Cell::new(0);
    let config = Config { boots: Some(2), ..config() };
    // Some of each cell's blocks are disturbed, one of them again; no two have the same round trip.
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        let mut block = if [4, 7, 12].contains(&blocks.get()) { disturbed(spec) } else { alike(spec) };
        block.rounds.iter_mut().for_each(|round| round.t2 += blocks.get());
        Ok(block)
    });
    let mut of_samples = BTreeMap::new();
    for line in outcome.csv.lines().skip(1).filter(|line| line.contains(",initiator,")) {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| fields[outcome.csv.split(',').position(|column| column == name).expect(name)];
        let number = |name: &str| field(name).parse::<u32>().expect("a number");
        let name = (field("target_state").to_owned(), number("block"), number("boot"));
        of_samples.insert(name, f64::from(number("t2") - number("t0")));
    }
    let cells = outcome.document.cells.iter();
    let of_document: BTreeMap<_, _> = cells
        .flat_map(|cell| cell.blocks.iter().map(|block| (cell.id.target_state.name().to_owned(), block)))
        .map(|(state, block)| ((state, block.number, block.boot), block.metrics[&MetricName::RoundTrip].p50))
        .collect();
    let measured: usize = outcome.document.cells.iter().map(|cell| cell.blocks.len()).sum();
    assert_eq!((of_document.len(), measured), (13, 13), "a name belongs to one block");
    assert_eq!(of_samples, of_document);
}

/// Takes the header, and then nothing more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > 10_000 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn samples_that_cannot_be_written_end_the_run_with_what_was_measured() {
    let config = Config { rounds: 1000, ..config() };
    let (cells, refused) = config::plan(&config, HostOffers::EVERYTHING);
    let log = Log::default();
    let mut csv = CsvWriter::new(Full(0)).expect("room for the header");
    let mut samples = |cell: &CellId, block: &Block, khz: u64| csv.block(cell, block, khz);
    let mut observer = Observer {
        progress: &mut |_, _, _| {},
        samples: Some(&mut samples),
        started: None,
        details: None,
        repeats: None,
    };
    let boot = |MachineSpec { vcpus, .. }| Ok(Invented { vcpus, khz: KHZ, blocks: 0, log: &log, behaviour: WELL });
    let (document, error) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    let Some(experiment::Error::Samples(error)) = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(document.partial && log.borrow().len() < 41, "it went on without its samples");
    assert!(!document.cells.is_empty(), "what was measured is lost");
    assert_valid(&document);
}
