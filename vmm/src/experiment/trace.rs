//! `kipi trace`: a few broadcast calls on a fresh machine, with every event of every source.

use super::clock::Clocks;
use super::described_call::{choose, describe};
use super::described_config::describe_trace;
use super::instruments::Effort;
use super::instruments::frequency;
use super::machine::{self, Machine};
use crate::config::{self, CellId, Config, routes};
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::events::stays::Keep;
use crate::guest::blocks::BlockSpec;
use crate::host;
use crate::results::count::count;
use crate::results::integrity::Integrity;
use crate::results::quiet::Quiet;
use crate::results::source;
use crate::results::trace::{self, TRACE_SCHEMA, Trace};
use crate::statistics::breakdown::Ways;
use crate::statistics::exits::ExitTotals;

/// What is to be traced.
#[derive(Debug, Clone)]
pub struct Plan<'c> {
    /// The call, and the machine.
    pub cell: CellId,
    /// How calls are made, how many, and by whom.
    pub config: &'c Config,
    /// Who records.
    pub recording: Recording,
}

/// Rounds of one block: what the rings of the vCPUs' threads have room for.
const BLOCK: usize = 200;
/// Blocks in a row without a round that counts before it is given up.
const PATIENCE: usize = 5;

/// Traces the calls on `machine`, and describes those whose round trips are the median and the largest. The document's command line,
/// its sandbox, and what it says of sources that could not record are the caller's to fill in. A call that is given up ends the trace,
/// and is counted; a user who wants to stop ends it with the rounds until then, if there are any.
///
/// # Errors
/// As [`Machine::run_block`].
pub fn run(plan: &Plan<'_>, machine: &mut impl Machine) -> Result<Trace, machine::Error> {
    let started = host::unix_time();
    let khz = frequency(machine.tsc_khz());
    let Clocks { clock, .. } = Clocks::of(machine, Effort::Full)?;
    let (blocks, given_up) = run_blocks(plan, machine)?;
    let mut integrity = Integrity::default();
    let (mut ways, mut exits) = (Ways::default(), ExitTotals::default());
    for block in &blocks {
        integrity.add(block.integrity);
        ways.add(block, routes::of(plan.cell.route).sends_from_guest());
        exits.add(block);
    }
    let rounds: Vec<&Round> = blocks.iter().flat_map(|block| &block.rounds).collect();
    let mut warnings = machine.warnings();
    if rounds.is_empty() && given_up.is_none() {
        let state = plan.cell.target_state.name();
        warnings.push(format!("no round counts: a target was not in state {state} in any of them"));
    }
    warnings.extend(given_up);
    let at_once = config::at_once(&plan.cell);
    let exit_names = |reason, isa| machine.exit_name(reason, isa);
    let described =
        choose(&rounds).into_iter().map(|(which, number)| describe(which, number, &rounds, at_once, khz, &exit_names));
    Ok(Trace {
        schema: TRACE_SCHEMA.to_owned(),
        date: started.and_then(host::date),
        command: Vec::new(),
        host: host::describe(),
        config: describe_trace(plan.cell, plan.config),
        sources: sources(plan, &blocks),
        rounds: blocks.iter().map(Block::whole_rounds).sum(),
        not_in_state: blocks.iter().map(|block| block.not_in_state).sum(),
        integrity,
        clock: clock.of_cell(&plan.cell, routes::of(plan.cell.route).is_host() || plan.recording.has_events()),
        calls: described.collect(),
        breakdown: ways.breakdown(khz),
        exits: exits.per_call(config::targets(&plan.cell)),
        quiet: machine
            .unknown_disturbances()
            .map(|unknown| Quiet::of_blocks(plan.cell, blocks.iter().map(|block| &*block.disturbances), unknown)),
        ran_on: machine.ran_on(),
        sandbox: None,
        warnings,
    })
}

/// Runs blocks until there are enough rounds, a call is given up, or the user wants to stop: then with the reason.
fn run_blocks(plan: &Plan<'_>, machine: &mut impl Machine) -> Result<(Vec<Block>, Option<String>), machine::Error> {
    let mut blocks: Vec<Block> = Vec::new();
    let asked = plan.config.rounds;
    let mut missing = asked;
    let mut idle = 0;
    while missing > 0 && idle < PATIENCE {
        let block = match machine.run_block(&spec(plan, missing.min(BLOCK))) {
            Ok(block) => block,
            Err(machine::Error::GivenUp(given_up)) => {
                blocks.push(given_up.block);
                return Ok((blocks, Some(format!("a call was given up: {}", given_up.silence))));
            }
            Err(error) if error.is_interruption() && blocks.iter().any(|block| !block.rounds.is_empty()) => {
                let made = asked - missing;
                return Ok((blocks, Some(format!("interrupted: {made} of {}", count(asked, "round")))));
            }
            Err(error) => return Err(error),
        };
        idle = if block.rounds.is_empty() { idle + 1 } else { 0 };
        missing -= usize::try_from(block.whole_rounds()).map_or(missing, |rounds| rounds.min(missing));
        blocks.push(block);
    }
    Ok((blocks, None))
}

fn spec(plan: &Plan<'_>, rounds: usize) -> BlockSpec {
    BlockSpec {
        cell: plan.cell,
        initiator: 0,
        worker: plan.config.worker,
        argument: plan.config.argument,
        recording: plan.recording,
        warmup: plan.config.warmup,
        rounds,
    }
}

fn sources(plan: &Plan<'_>, blocks: &[Block]) -> Vec<trace::Recorder> {
    let source = |source, lost| trace::Recorder { source, unavailable: None, lost };
    let Recording { stats, kernel, .. } = plan.recording;
    let mut sources = vec![source(source::Source::Guest, 0)];
    sources.extend(stats.then(|| source(source::Source::Stats, 0)));
    if plan.recording.stays == Keep::Everything {
        sources.push(source(source::Source::Vmm, blocks.iter().map(|block| block.dropped).sum()));
    }
    sources.extend(kernel.then(|| source(source::Source::Kernel, blocks.iter().map(|block| block.lost).sum())));
    sources
}
