//! The run, in the VMM's place: what the guest is to do next, and what is written of what it has done.

use crate::console::Console;
use crate::out::{Buffer, Out};
use crate::power::Power;
use core::fmt;
use guest_stub::abi::cell::{Call, CellId, Route};
use guest_stub::abi::command::{self, Command, TIMED_INSTRUCTIONS};
use guest_stub::abi::{self, BugCheck, GuestRoute, RING_SAMPLES, Report, Rule, Sample, Status, Wait, area};
use guest_stub::mask;
use kipi_standalone::lines::LINE;
use kipi_standalone::plan::{Offers, Plan, Planned};
use kipi_standalone::records::{BATCH, DIFFERENCES, Record, clip, in_batches};

const _: () = assert!(TIMED_INSTRUCTIONS == 32);

/// The most cells of a run.
const CELLS: usize = 128;
/// How many times each instrument is measured.
const INSTRUMENTS: u32 = 256;
/// The longest that two processors exchange stamps; a ring of them takes some milliseconds, where both run.
const EXCHANGE_MS: u64 = 200;

/// Bytes that the samples of a ring take at most.
const RING_LINES: usize = RING_SAMPLES / BATCH * LINE;

/// What vCPU 0 is doing.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Starting,
    /// Stamps, with this one.
    Exchanging(usize),
    Calibrating,
    /// A block, of this turn and cell.
    Measuring(usize, usize),
}

/// A run, from the guest's first word to the last record.
pub(crate) struct Run {
    pub(crate) out: Out<Buffer>,
    pub(crate) console: Console,
    plan: Plan,
    processors: usize,
    khz: u64,
    pub(crate) power: Power,
    cells: [Option<CellId>; CELLS],
    stage: Stage,
    /// Blocks that have been told.
    blocks: u32,
    /// vCPUs whose samples of this block have been told.
    said_vcpus: usize,
}

/// Why there is no command now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pause {
    /// What has been said is to be written first.
    Full,
    /// The run is over. Why, has been said.
    Over { good: bool },
}

impl Run {
    /// Says what is planned.
    pub(crate) fn new(mut out: Out<Console>, plan: Plan, offers: Offers, khz: u64, power: Power) -> Self {
        let mut cells = [None; CELLS];
        let mut count = 0;
        if let Some((asked, made)) = plan.other_blocks() {
            let most = RING_SAMPLES - plan.warmup as usize;
            out.say(format_args!("blocks={asked}: it is {made} instead, each of 1 to {most} rounds"));
        }
        out.record(&plan.record(offers));
        for planned in plan.cells(offers) {
            let (cell, reason) = match planned {
                Planned::Cell(cell) if count < CELLS => {
                    cells[count] = Some(cell);
                    let [made, route, destination, state] = names(&cell);
                    out.record(&Record::Cell { number: count as u32, call: made, route, destination, state });
                    count += 1;
                    continue;
                }
                Planned::Cell(cell) => (cell, "a run has 128 cells at most"),
                Planned::Skipped(cell, reason) => (cell, reason),
            };
            let [made, route, destination, state] = names(&cell);
            out.print(format_args!("not measured: {made} {route} {destination} {state}: {reason}\n"));
            out.record(&Record::Skipped { call: made, route, destination, state, reason: clip(reason, 300) });
        }
        let processors = plan.vcpus(offers.processors) as usize;
        let (out, console) = out.buffered();
        let stage = Stage::Starting;
        Self { out, console, plan, processors, khz, power, cells, stage, blocks: 0, said_vcpus: 0 }
    }

    /// Says what comes of the last command, and what is next.
    pub(crate) fn next(&mut self, report: &Report) -> Result<Command, Pause> {
        match self.stage {
            Stage::Starting => self.started(report)?,
            Stage::Exchanging(partner) => self.exchanged(partner, report)?,
            Stage::Calibrating => self.calibrated(report),
            Stage::Measuring(turn, cell) => self.measured(turn, cell, report)?,
        }
        self.stage = self.after();
        self.command().ok_or_else(|| self.over(true))
    }

    fn after(&self) -> Stage {
        match self.stage {
            Stage::Starting if self.processors > 1 => Stage::Exchanging(1),
            Stage::Exchanging(partner) if partner + 1 < self.processors => Stage::Exchanging(partner + 1),
            Stage::Starting | Stage::Exchanging(_) => Stage::Calibrating,
            Stage::Calibrating => Stage::Measuring(0, 0),
            Stage::Measuring(turn, cell) if cell + 1 < self.count() => Stage::Measuring(turn, cell + 1),
            Stage::Measuring(turn, _) => Stage::Measuring(turn + 1, 0),
        }
    }

    /// The command of this stage; `None`: all blocks have been run.
    fn command(&mut self) -> Option<Command> {
        match self.stage {
            // It has, when it rings.
            Stage::Starting => None,
            Stage::Exchanging(partner) => Some(Command::new(&command::ClockExchange {
                partner: partner as u32,
                reserved: 0,
                duration: EXCHANGE_MS * self.khz,
                deadline: self.deadline(),
            })),
            Stage::Calibrating => Some(Command::new(&command::Calibrate { samples: INSTRUMENTS, observed: 0 })),
            Stage::Measuring(turn, cell) => self.block(turn, cell),
        }
    }

    fn count(&self) -> usize {
        self.cells.iter().flatten().count()
    }

    fn deadline(&self) -> u64 {
        u64::from(self.plan.deadline_ms) * self.khz
    }

    fn started(&mut self, report: &Report) -> Result<(), Pause> {
        if report.status != Status::Done as u32 {
            let missing = mask::indices(&report.missing).count();
            let processors = self.processors;
            return self.fail(format_args!("{missing} of {processors} processors did not start"));
        }
        let are = if self.processors == 1 { " is" } else { "s are" };
        self.out.print(format_args!("{} processor{are} up\n", self.processors));
        Ok(())
    }

    /// The exchange with the shortest round trip tells most.
    fn exchanged(&mut self, partner: usize, report: &Report) -> Result<(), Pause> {
        let made = report.rounds.min(RING_SAMPLES as u32);
        let samples = (0..made as usize).map(|number| sample(0, number)).filter(|sample| sample.t2 > sample.t0);
        if let Some(Sample { t0, w, t2, .. }) = samples.min_by_key(|sample| sample.t2 - sample.t0) {
            let partner = partner as u32;
            self.out.record(&Record::Exchange { partner, made, sent: t0, answered: w, received: t2 });
        }
        if report.status != Status::Done as u32 {
            return self.fail(format_args!("processor {partner} does not come back from the comparison of clocks"));
        }
        Ok(())
    }

    fn calibrated(&mut self, report: &Report) {
        let count = report.rounds.min(INSTRUMENTS) as usize;
        for first in (0..count).step_by(DIFFERENCES) {
            let (mut stamps, mut instructions) = ([0; DIFFERENCES], [0; DIFFERENCES]);
            let length = DIFFERENCES.min(count - first);
            for number in 0..length {
                let Sample { t0, t1, a, t2, .. } = sample(0, first + number);
                stamps[number] = t1.wrapping_sub(t0);
                instructions[number] = t2.wrapping_sub(a).saturating_sub(stamps[number]);
            }
            self.out.record(&Record::Stamps { differences: &stamps[..length] });
            self.out.record(&Record::Instructions { differences: &instructions[..length] });
        }
    }

    fn block(&mut self, turn: usize, cell: usize) -> Option<Command> {
        let (turns, size) = (self.plan.blocks().len(), self.plan.blocks().nth(turn));
        let (size, cell) = size.zip(self.cells[cell])?;
        let CellId { call, route, destination, target_state: state, .. } = cell;
        let [_, of_route, of_destination, of_state] = names(&cell);
        if turn.is_multiple_of(5) {
            let number = turn + 1;
            self.out.print(format_args!("{of_route} {of_destination} {of_state}: block {number} of {turns}\n"));
        }
        let rounds = size as u32 + self.plan.warmup;
        let settle = u64::from(self.plan.settle_us) * self.khz / 1000;
        let (destination, target_state) = (destination as u32, state as u32);
        let (route, deadline) = (guest_route(route) as u32, self.deadline());
        // Nobody is there who would read counters.
        let counted_from = u32::MAX;
        Some(match call {
            Call::Broadcast => Command::new(&command::Block {
                route,
                destination,
                target_state,
                worker: self.plan.worker as u32,
                observe: 0,
                initiator: 0,
                rounds,
                counted_from,
                wait: Wait::Spin as u32,
                delay_instructions: 0,
                argument: self.plan.argument(),
                settle,
                deadline,
            }),
            Call::Ping => Command::new(&command::Pings {
                route,
                destination,
                target_state,
                initiator: 0,
                rounds,
                counted_from,
                settle,
                deadline,
            }),
        })
    }

    /// Says a block's report and samples, in as many parts as they need. One that did not end well ends the run: its processors stay
    /// where they are.
    fn measured(&mut self, turn: usize, cell: usize, report: &Report) -> Result<(), Pause> {
        let Report { status, rounds, generation, resent, duplicate, late, .. } = *report;
        let mut missing = mask::indices(&report.missing);
        let first = missing.next();
        let number = self.blocks;
        if self.said_vcpus == 0 {
            self.out.record(&Record::Block {
                number,
                cell: cell as u32,
                turn: turn as u32,
                status,
                rounds,
                generation,
                resent,
                duplicate,
                late,
                missing: first.map(|first| first as u32),
                missing_count: first.map_or(0, |_| 1 + missing.count() as u32),
            });
        }
        let recorded = (rounds as usize).min(RING_SAMPLES);
        while self.said_vcpus < self.processors {
            if !self.out.has_room(RING_LINES) {
                return Err(Pause::Full);
            }
            let vcpu = self.said_vcpus;
            in_batches((0..recorded).map(|number| sample(vcpu, number)), |first, samples| {
                self.out.record(&Record::Samples { block: number, vcpu: vcpu as u32, first, samples });
            });
            self.said_vcpus += 1;
        }
        self.said_vcpus = 0;
        self.blocks += 1;
        match Status::from_wire(status) {
            Some(Status::Done) => Ok(()),
            Some(Status::BadCommand) | None => self.fail(format_args!("the guest does not know its command")),
            Some(status) => {
                let status = status.name();
                match first {
                    Some(first) => self.fail(format_args!(
                        "a call was given up in round {rounds} ({status}): vCPU {first} did not answer"
                    )),
                    None => self.fail(format_args!("a call was given up in round {rounds} ({status})")),
                }
            }
        }
    }

    /// A broken rule ends it.
    pub(crate) fn bug_check(&mut self, bug: &BugCheck) {
        let message = bug.message.get(..bug.message_len as usize).unwrap_or_default();
        let message = core::str::from_utf8(message).unwrap_or_default();
        let rule = Rule::from_wire(bug.rule).map_or("?", |rule| rule.name());
        let BugCheck { vcpu, vector, error_code, rip, cr2, .. } = bug;
        self.out.say(format_args!(
            "bug check {rule} on vCPU {vcpu}: vector {vector}, error code {error_code:#x}, RIP {rip:#x}, CR2 {cr2:#x} {message}"
        ));
        self.over(false);
    }

    fn fail(&mut self, why: fmt::Arguments<'_>) -> Result<(), Pause> {
        self.out.say(why);
        Err(self.over(false))
    }

    fn over(&mut self, good: bool) -> Pause {
        self.out.record(&Record::End { blocks: self.blocks });
        self.out.print(format_args!("the run is over\n"));
        Pause::Over { good }
    }
}

/// Call, route, destination and state by their names.
fn names(cell: &CellId) -> [&'static str; 4] {
    let CellId { call, route, destination, target_state, .. } = cell;
    [call.name(), route.name(), destination.name(), target_state.name()]
}

/// What the guest calls a route that it can take without a VMM.
fn guest_route(route: Route) -> GuestRoute {
    match route {
        Route::XApic => GuestRoute::XApic,
        Route::X2Apic => GuestRoute::X2Apic,
        Route::Memory => GuestRoute::Memory,
        Route::Nmi => GuestRoute::Nmi,
        Route::KvmPv
        | Route::HyperV
        | Route::Msi
        | Route::Host
        | Route::VmmXApic
        | Route::VmmX2Apic
        | Route::VmmHost
        | Route::Native
        | Route::NativeRseq
        | Route::NativeFutex => unreachable!("the plan skips routes that need a VMM"),
    }
}

/// The sample of this number in a vCPU's ring.
fn sample(vcpu: usize, number: usize) -> Sample {
    let place = (abi::vcpu_area(vcpu) + area::RING) as *const Sample;
    // SAFETY: the ring is mapped, has RING_SAMPLES entries, and nobody writes it while vCPU 0 rings.
    unsafe { place.add(number % RING_SAMPLES).read_volatile() }
}
