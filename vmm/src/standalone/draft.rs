//! A boot while its records are read: what they say is checked, and put together at its end.

use super::boot::{Boot, BootBlock, End, Image, Plan, Platform, Tsc};
use super::faults::Faults;
use crate::config::{self, CellId, HostOffers, MachineSpec};
use crate::events::clock::Exchange;
use crate::guest::recorded::RecordedBlock;
use crate::results::count::count;
use crate::results::machine::{Interface, LocalApics};
use crate::results::measurement::Skipped;
use guest_stub::abi::cell::{Call, Route};
use guest_stub::abi::{Destination, MASK_WORDS, MAX_VCPUS, RING_SAMPLES, Report, Sample, TargetState, Worker};
use guest_stub::mask;
use kipi_standalone::records::{OwnedRecord, RecordOf, unpack};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// As many as `kipi measure --boots` takes, of two blocks each.
const MOST_BLOCKS: u32 = 20_000;
/// As `kipi measure --rounds`.
const MOST_ROUNDS: u32 = 10_000_000;

/// A boot of which more may come.
pub(super) struct Draft {
    /// The line that it begins on.
    pub(super) line: usize,
    image: Image,
    platform: Option<Platform>,
    tsc: Option<Tsc>,
    plan: Option<Plan>,
    cells: BTreeMap<u32, CellId>,
    skipped: Vec<Skipped>,
    exchanges: BTreeMap<usize, (usize, Exchange)>,
    stamps: Vec<i64>,
    instructions: Vec<i64>,
    blocks: BTreeMap<u32, DraftBlock>,
    texts: Vec<String>,
    /// How many blocks it had.
    end: Option<u32>,
    pub(super) faults: Faults,
}

/// Why a boot is none that can be measured by.
#[derive(Debug)]
pub(super) struct Lack {
    /// Whose record is not there.
    of: &'static str,
    /// The image's last text.
    text: Option<String>,
    /// The image has ended the boot.
    pub(super) has_ended: bool,
}

impl Lack {
    /// Why the image has ended the boot, as it says.
    pub(super) fn said(self) -> String {
        self.text.unwrap_or_else(|| "it does not say why".to_owned())
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record of its {}", self.of)?;
        // Where the image did not get that far, it says why.
        self.text.as_ref().map_or(Ok(()), |text| write!(f, " (the image says: {text})"))
    }
}

/// A block while its samples are read.
struct DraftBlock {
    cell: u32,
    turn: u32,
    report: Report,
    silent: u32,
    rings: BTreeMap<usize, DraftRing>,
}

/// A vCPU's samples of a block.
#[derive(Default)]
struct DraftRing {
    samples: Vec<Sample>,
    /// The rounds that are missing, where samples of later ones have come.
    gap: Option<[usize; 2]>,
}

impl DraftRing {
    /// Adds samples of the rounds from `first` on.
    fn add(&mut self, first: usize, samples: impl Iterator<Item = Sample>) {
        let length = self.samples.len();
        if self.gap.is_none() && first == length {
            self.samples.extend(samples);
        } else if self.gap.is_none() && first > length {
            self.gap = Some([length, first - 1]);
        }
    }

    /// The first and the last of the rounds that are missing next, of so many.
    fn missing(&self, rounds: usize) -> Option<[usize; 2]> {
        self.gap.or_else(|| (self.samples.len() < rounds).then(|| [self.samples.len(), rounds - 1]))
    }
}

impl Draft {
    pub(super) fn new(line: usize, image: Image) -> Self {
        Self {
            line,
            image,
            platform: None,
            tsc: None,
            plan: None,
            cells: BTreeMap::new(),
            skipped: Vec::new(),
            exchanges: BTreeMap::new(),
            stamps: Vec::new(),
            instructions: Vec::new(),
            blocks: BTreeMap::new(),
            texts: Vec::new(),
            end: None,
            faults: Faults::default(),
        }
    }

    /// Adds a record. [`RecordOf::Start`] says nothing that is not known.
    ///
    /// # Errors
    /// What it says cannot be: it is left out.
    pub(super) fn add(&mut self, record: OwnedRecord) -> Result<(), String> {
        match record {
            RecordOf::Start { .. } => {}
            RecordOf::Platform { cpu, hypervisor, listed, processors, x2apic, .. } => {
                let hypervisor = (!hypervisor.is_empty()).then_some(hypervisor);
                self.platform.get_or_insert(Platform { cpu, hypervisor, listed, processors, x2apic });
            }
            RecordOf::Tsc { khz, error_ppm, source } => {
                // From 1 MHz to 1 THz.
                if !(1_000..=1_000_000_000).contains(&khz) {
                    return Err(format!("a time stamp counter of {khz} kHz"));
                }
                self.tsc.get_or_insert(Tsc { khz, error_ppm, source });
            }
            RecordOf::Plan { .. } => {
                let plan = plan(&record)?;
                self.plan.get_or_insert(plan);
            }
            RecordOf::Cell { number, call, route, destination, state } => {
                let cell = self.cell([&call, &route, &destination, &state])?;
                if let Some(why) = refuse(&cell) {
                    return Err(format!("cell {number} ({cell}) cannot be: {why}"));
                }
                self.cells.entry(number).or_insert(cell);
            }
            RecordOf::Skipped { call, route, destination, state, reason } => {
                let id = self.cell([&call, &route, &destination, &state])?;
                self.skipped.push(Skipped { id, reason });
            }
            RecordOf::Exchange { partner, made, sent, answered, received } => {
                let exchange = Exchange { sent, answered, received };
                self.exchanges.entry(partner as usize).or_insert((made as usize, exchange));
            }
            RecordOf::Stamps { differences } => self.stamps.extend(differences.into_iter().map(u64::cast_signed)),
            RecordOf::Instructions { differences } => {
                self.instructions.extend(differences.into_iter().map(u64::cast_signed));
            }
            RecordOf::Block {
                number,
                cell,
                turn,
                status,
                rounds,
                generation,
                resent,
                duplicate,
                late,
                missing,
                missing_count,
            } => {
                let mut members = [0; MASK_WORDS];
                if let Some(first) = missing.map(|vcpu| vcpu as usize).filter(|&vcpu| vcpu < MAX_VCPUS) {
                    mask::insert(&mut members, first);
                }
                let report = Report { status, rounds, generation, resent, duplicate, late, missing: members };
                let block = DraftBlock { cell, turn, report, silent: missing_count, rings: BTreeMap::new() };
                if self.blocks.insert(number, block).is_some() {
                    return Err(format!("a second block {number}"));
                }
            }
            RecordOf::Samples { block, vcpu, first, samples } => {
                // Of a block whose report is lost, that it is missing is told.
                if let Some(block) = self.blocks.get_mut(&block)
                    && (vcpu as usize) < MAX_VCPUS
                {
                    block.rings.entry(vcpu as usize).or_default().add(first as usize, unpack(&samples));
                }
            }
            RecordOf::Text { text } => self.texts.push(text),
            RecordOf::End { blocks } => self.end = Some(blocks),
        }
        Ok(())
    }

    /// The cell of these names: call, route, destination, state.
    fn cell(&self, [call, route, destination, state]: [&str; 4]) -> Result<CellId, String> {
        let vcpus = self.plan.ok_or("a cell before the plan")?.vcpus;
        let unknown = |what: &str, name: &str| format!("a cell with {what} '{name}', which this version does not know");
        Ok(CellId {
            call: Call::from_name(call).ok_or_else(|| unknown("call", call))?,
            ..CellId::broadcast(
                Route::from_name(route).ok_or_else(|| unknown("route", route))?,
                Destination::from_name(destination).ok_or_else(|| unknown("destination", destination))?,
                TargetState::from_name(state).ok_or_else(|| unknown("state", state))?,
                vcpus,
            )
        })
    }

    /// The boot, if enough of it is there.
    ///
    /// # Errors
    /// What it lacks.
    pub(super) fn finish(mut self) -> Result<Boot, Lack> {
        let lacks = |of| Lack { of, text: self.texts.last().cloned(), has_ended: self.end.is_some() };
        let platform = self.platform.take().ok_or_else(|| lacks("platform"))?;
        let tsc = self.tsc.take().ok_or_else(|| lacks("time stamp counter"))?;
        let plan = self.plan.ok_or_else(|| lacks("plan"))?;
        let cells = self.cells.last_key_value().map_or(0, |(&last, _)| u64::from(last) + 1);
        let end = match self.end {
            None => End::Unknown,
            Some(blocks) if u64::from(blocks) < cells * u64::from(plan.blocks) => End::GaveUp,
            Some(_) => End::Complete,
        };
        let seen = self.blocks.last_key_value().map_or(0, |(&last, _)| u64::from(last) + 1);
        let missing = seen.max(self.end.unwrap_or(0).into()) - self.blocks.len() as u64;
        if missing > 0 {
            let blocks = format!("{} {}", count(missing, "block"), if missing == 1 { "is" } else { "are" });
            self.faults.add(format_args!("{blocks} missing"));
        }
        let mut blocks = BTreeMap::new();
        for (number, block) in std::mem::take(&mut self.blocks) {
            match whole(&plan, &self.cells, block) {
                Ok((cell, turn, block)) => {
                    if blocks.insert((cell, turn), block).is_some() {
                        self.faults
                            .add(format_args!("block {number} ({cell}) is turn {turn} once more: the last one counts"));
                    }
                }
                Err(why) => self.faults.add(format_args!("block {number} {why}: left out")),
            }
        }
        Ok(Boot {
            line: self.line,
            image: self.image,
            platform,
            tsc,
            plan,
            cells: self.cells,
            skipped: self.skipped,
            exchanges: self.exchanges,
            stamps: self.stamps,
            instructions: self.instructions,
            blocks,
            texts: self.texts,
            end,
            faults: self.faults,
        })
    }
}

/// A block that has all of its samples.
fn whole(plan: &Plan, cells: &BTreeMap<u32, CellId>, block: DraftBlock) -> Result<(CellId, u32, BootBlock), String> {
    let DraftBlock { cell: number, turn, report, silent, mut rings } = block;
    let cell = *cells.get(&number).ok_or_else(|| format!("is of cell {number}, of which there is no record"))?;
    if turn >= plan.blocks {
        return Err(format!("({cell}) is turn {turn} of {}", plan.blocks));
    }
    let rounds = report.rounds as usize;
    if rounds > RING_SAMPLES {
        return Err(format!("({cell}) has {rounds} rounds, more than a ring holds"));
    }
    let mut read = Vec::new();
    // Of no round, nobody has a ring.
    for vcpu in 0..if rounds == 0 { 0 } else { plan.vcpus } {
        let ring = rings.remove(&vcpu).unwrap_or_default();
        if let Some([first, last]) = ring.missing(rounds) {
            let which = if first == last { format!("round {first}") } else { format!("rounds {first} to {last}") };
            return Err(format!("({cell}) lacks vCPU {vcpu}'s {which}"));
        }
        read.push(ring.samples);
    }
    Ok((cell, turn, BootBlock { block: RecordedBlock { report, rings: read }, silent }))
}

fn plan(record: &OwnedRecord) -> Result<Plan, String> {
    let &RecordOf::Plan { vcpus, rounds, warmup, blocks, worker, argument, settle_ns, deadline_ms } = record else {
        return Err("no plan".to_owned());
    };
    if !(1..=MAX_VCPUS).contains(&(vcpus as usize)) {
        return Err(format!("a plan for {vcpus} vCPUs"));
    }
    if !(1..=MOST_ROUNDS).contains(&rounds) || warmup as usize >= RING_SAMPLES || !(1..=MOST_BLOCKS).contains(&blocks) {
        return Err(format!("a plan of {rounds} rounds in {blocks} blocks, with {warmup} to warm up"));
    }
    Ok(Plan {
        vcpus: vcpus as usize,
        rounds: rounds as usize,
        warmup: warmup as usize,
        blocks,
        worker: Worker::from_wire(worker).ok_or_else(|| format!("a plan with worker {worker}"))?,
        argument,
        settle: Duration::from_nanos(settle_ns),
        deadline: Duration::from_millis(deadline_ms.into()),
    })
}

/// Why no image can have measured a cell; `None`: one can.
fn refuse(cell: &CellId) -> Option<String> {
    // All cells of a boot are measured on one machine.
    let vcpus = cell.vcpus;
    let machine = MachineSpec { vcpus, local_apics: Some(LocalApics::Kernel), interface: Interface::Kvm };
    if MachineSpec::of(cell) != machine || config::routes::of(cell.route).is_host() || cell.target_state.is_away() {
        return Some("it needs kipi's VMM".to_owned());
    }
    config::refuse(cell, HostOffers::EVERYTHING).map(|refusal| refusal.reason().to_owned())
}
