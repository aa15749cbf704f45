//! What a ping costs beside the broadcast call to the same target: `just bench-ping`, or
//! `cargo bench -p kipi --bench ping -- [--quick]`.
//!
//! Two vCPUs; blocks of both calls in turns, for each route and target state, on one machine. Halted targets are to have been in HLT
//! for [`IDLE_US`] before either call. Printed are the medians of the round trips, the ratio of the medians, its range over the
//! blocks, the median times in HLT, and for halted targets whether the goal is met. Below them are the destinations that only pings
//! have. A goal that is not met never fails the benchmark, being unable to run does.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::{self, Route};
use kipi::config::{Call, CellId, refuse};
use kipi::events::recording::Recording;
use kipi::events::samples::Round;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Limits, Session};
use kipi::results::halts::are_alike;
use kipi::statistics::metrics;
use kipi::statistics::order::{Observation, Quantile, Sample};
use kipi::vm::{ApicIds, Hypervisor, VmConfig};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The most that a ping's round trip may be of the broadcast call's, with a halted target.
const GOAL: f64 = 0.45;

/// About as long as the targets of kvm-unit-tests' `ipi_halt` have been halted; longer where what lies between two rounds is.
const IDLE_US: u32 = 60;

const VCPUS: usize = 2;
const ROUNDS: usize = 50;
const BLOCKS: usize = 40;
const QUICK_BLOCKS: usize = 8;

const ROUTES: [Route; 2] = [Route::XApic, Route::X2Apic];
const STATES: [TargetState; 3] = [TargetState::Halt, TargetState::User, TargetState::Spin];

fn main() -> ExitCode {
    let mut blocks = BLOCKS;
    let mut asked = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => asked = true,
            "--quick" => blocks = QUICK_BLOCKS,
            other => {
                eprintln!("ping: '{other}' is not known (the only argument is --quick)");
                return ExitCode::from(2);
            }
        }
    }
    if !asked {
        println!("SKIP: `cargo bench` runs this, `cargo test` does not (--bench was not passed)");
        return ExitCode::SUCCESS;
    }
    let hypervisor = match Hypervisor::open(Path::new("/dev/kvm")) {
        Ok(hypervisor) => hypervisor,
        Err(error) => {
            println!("SKIP: {error}");
            return ExitCode::SUCCESS;
        }
    };
    match run(&hypervisor, blocks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ping: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that is measured: pairs of calls to the same target, then pings alone.
fn run(hypervisor: &Hypervisor, blocks: usize) -> anyhow::Result<()> {
    let idle_before_us = |state| match state {
        TargetState::Halt => Some(IDLE_US),
        TargetState::Spin | TargetState::User | TargetState::Masked | TargetState::Preempted | TargetState::Out => None,
    };
    let cell = |call, route, destination, state| {
        let idle_before_us = idle_before_us(state);
        CellId { call, idle_before_us, ..CellId::broadcast(route, destination, state, VCPUS) }
    };
    let mut cells = Vec::new();
    for route in ROUTES {
        for state in STATES {
            cells.extend(Call::ALL.iter().map(|&call| cell(call, route, Destination::Unicast, state)));
        }
    }
    for route in ROUTES {
        for destination in [Destination::Itself, Destination::SelfIpi, Destination::Mesh] {
            cells.push(cell(Call::Ping, route, destination, TargetState::Spin));
        }
    }
    let offers = hypervisor.offers_to(&ROUTES);
    cells.retain(|cell| refuse(cell, offers).is_none());
    let measured = measure(hypervisor, &cells, blocks)?;
    println!("2 vCPUs, round trips of {blocks} blocks of {ROUNDS} rounds, in turns\n");
    println!(
        "{:<8}{:<7}{:>11}{:>11}{:>8}  {:<15}{:<22}goal",
        "route", "state", "broadcast", "ping", "ratio", "of blocks", "in HLT before them"
    );
    for pair in measured
        .chunk_by(|one, other| (one.cell.route, one.cell.target_state) == (other.cell.route, other.cell.target_state))
    {
        if let [call, ping] = pair
            && call.cell.call == Call::Broadcast
        {
            print_pair(call, ping);
        }
    }
    println!("\n{:<8}{:<10}{:>11}", "route", "pings", "round trip");
    for Measured { cell, blocks, .. } in measured.iter().filter(|it| it.cell.call == Call::Ping) {
        let to = match cell.destination {
            Destination::Unicast => cell.target_state.name(),
            Destination::AllButSelf
            | Destination::All
            | Destination::Logical
            | Destination::Itself
            | Destination::SelfIpi
            | Destination::Mesh => cell.destination.name(),
        };
        println!("{:<8}{to:<10}{:>8.1} µs", cell.route.name(), median(blocks.concat()));
    }
    Ok(())
}

/// A cell's times in µs.
struct Measured {
    cell: CellId,
    /// Its round trips, by block.
    blocks: Vec<Vec<f64>>,
    /// How long its targets had been in HLT.
    halted: Vec<f64>,
}

fn measure(hypervisor: &Hypervisor, cells: &[CellId], blocks: usize) -> anyhow::Result<Vec<Measured>> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    let limits = Limits { deadline: Duration::from_secs(4), settle: Duration::from_micros(10) };
    let config = VmConfig {
        vcpus: VCPUS,
        ids: ApicIds::Consecutive,
        local_apics: routes::of(ROUTES[0]).local_apics().unwrap_or_default(),
        interface: routes::of(ROUTES[0]).interface(),
        pin: &[0, 1],
        cpus: VCPUS,
        image: kipi::vm::image::EMBEDDED,
        halt_poll_ns: None,
        tsc_shifts: &[],
    };
    let mut session = Session::boot(hypervisor, &config, limits, &NEVER)?;
    let mut measured: Vec<Measured> =
        cells.iter().map(|&cell| Measured { cell, blocks: Vec::new(), halted: Vec::new() }).collect();
    for _ in 0..blocks {
        for Measured { cell, blocks, halted } in &mut measured {
            let spec = BlockSpec {
                cell: *cell,
                initiator: 0,
                worker: Worker::Stamp,
                argument: 0,
                recording: Recording::NOTHING,
                warmup: 3,
                rounds: ROUNDS,
            };
            let block = blocks::run(&mut session, &spec, None)?;
            let microseconds = |cycles: f64| cycles * 1e3 / session.tsc_khz() as f64;
            let round_trip = |round: &Round| microseconds((round.t2 - round.t0) as f64);
            blocks.push(block.rounds.iter().map(round_trip).collect());
            halted.extend(block.rounds.iter().flat_map(metrics::halts).map(microseconds));
        }
    }
    Ok(measured)
}

fn print_pair(call: &Measured, ping: &Measured) {
    let (call_us, ping_us) = (median(call.blocks.concat()), median(ping.blocks.concat()));
    let of_blocks =
        call.blocks.iter().zip(&ping.blocks).map(|(call, ping)| median(ping.clone()) / median(call.clone()));
    let ratios: Vec<f64> = of_blocks.filter(|ratio| ratio.is_finite()).collect();
    let (least, most) =
        ratios.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &it| (low.min(it), high.max(it)));
    let ratio = ping_us / call_us;
    let CellId { route, target_state, .. } = call.cell;
    let (idle, verdict) = match target_state {
        TargetState::Halt => {
            let [call_us, ping_us] = [call, ping].map(|it| median(it.halted.clone()));
            let verdict = match (are_alike(call_us * 1e3, ping_us * 1e3), ratio <= GOAL) {
                (false, _) => "not comparable".to_owned(),
                (true, true) => format!("≤ {GOAL}: met"),
                (true, false) => format!("≤ {GOAL}: NOT met"),
            };
            (format!("{call_us:.1} µs, {ping_us:.1} µs"), verdict)
        }
        TargetState::User | TargetState::Spin | TargetState::Masked | TargetState::Preempted | TargetState::Out => {
            (String::new(), String::new())
        }
    };
    let line = format!(
        "{:<8}{:<7}{call_us:>8.1} µs{ping_us:>8.1} µs{ratio:>8.2}  {:<15}{idle:<22}{verdict}",
        route.name(),
        target_state.name(),
        format!("{least:.2} – {most:.2}")
    );
    println!("{}", line.trim_end());
}

/// NaN of nothing.
fn median(values: Vec<f64>) -> f64 {
    let sample = Sample::new(values.into_iter().map(|value| Observation::one(value, 0)).collect());
    sample.map_or(f64::NAN, |sample| sample.quantile(Quantile::P50))
}
