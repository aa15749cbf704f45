//! How a call's cost for each of its targets scales with the number of vCPUs, where participants poll and where they park, beside its
//! floor: all in one run of the release binary, so that the goals are ratios of what one machine did in a minute.
//!
//! The floor is the same rendezvous by as many threads of the host that sleep, and the instructions that each participant executes
//! at what one costs here, where KVM emulates them: the CPUs share those, as they share the threads.

mod measured;

use kipi::config::routes::Route;
use kipi::results::instruments::Instruments;
use kipi::results::measurement::{Cell, Measurement};
use kipi::results::metric::MetricName;
use std::collections::BTreeMap;

/// The largest machine may cost so many times what the smaller one, and its floor, do.
const MOST: f64 = 1.5;
/// The machines that are compared.
const SMALL: usize = 8;
const LARGE: usize = 1024;
/// The time that the larger one may take until all its vCPUs are up.
const BOOT_NS: f64 = 2e9;

/// What is printed of a machine.
struct Row {
    /// Cost for each target, ns, by the wait's name.
    each: BTreeMap<&'static str, f64>,
    /// Of threads, and of instructions.
    floor: [f64; 2],
    boot: f64,
}

fn row(measurement: &Measurement, machine: &Instruments, cpus: f64) -> Option<Row> {
    let targets = (machine.vcpus - 1) as f64;
    // Native cells are measured beside the smallest machine's.
    let is_of = |cell: &&Cell| (cell.id.vcpus, cell.id.route) == (machine.vcpus, Route::X2Apic);
    let cells: Vec<&Cell> = measurement.cells.iter().filter(is_of).collect();
    let each = |cell: &&Cell| Some((cell.id.wait.name(), cell.metrics.get(&MetricName::RoundTrip)?.p50 / targets));
    let parked = cells.iter().find(|cell| !cell.id.wait.is_spin())?;
    machine.instruction_ns?;
    // Where none were counted, none were emulated.
    let instructions = machine.instructions_of_each_ns(parked).unwrap_or(0.0) / cpus;
    Some(Row {
        each: cells.iter().filter_map(each).collect(),
        floor: [machine.park_floor_of_each_ns()?, instructions],
        boot: machine.up_ns?,
    })
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let sizes: &[usize] = if quick { &[SMALL, LARGE] } else { &[2, 4, SMALL, 16, 32, 64, 128, 256, 512, LARGE] };
    let vcpus: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let vcpus = vcpus.join(",");
    let arguments = ["--vcpus", &vcpus, "--route", "x2apic", "--target-state", "halt", "--wait", "spin,park"];
    let rounds = ["--observe", "guest", "--rounds", "10", "--boots", "1", "--references", "none", "--json", "-"];
    let arguments = [&["measure"], arguments.as_slice(), rounds.as_slice()].concat();
    let Some(measurement) = measured::measure(&arguments)? else {
        println!("SKIP: this host cannot do it");
        return Ok(());
    };
    let cpus = measurement.host.cpus.len().max(1) as f64;
    let rows: BTreeMap<usize, Row> = measurement
        .instruments
        .iter()
        .filter(|of| of.local_apic.is_some())
        .filter_map(|of| Some((of.vcpus, row(&measurement, of, cpus)?)))
        .collect();
    println!("x2apic, all-but-self, halt: round trip p50 / targets, µs, on {cpus} CPUs");
    println!("{:>6} {:>9} {:>9} {:>9} {:>13} {:>9}", "vCPUs", "spin", "park", "threads", "instructions", "boot, ms");
    for (vcpus, Row { each, floor: [threads, instructions], boot }) in &rows {
        let of = |wait| each.get(wait).copied().unwrap_or(f64::NAN) / 1e3;
        let (threads, instructions, boot) = (threads / 1e3, instructions / 1e3, boot / 1e6);
        println!("{vcpus:6} {:9.1} {:9.1} {threads:9.1} {instructions:13.1} {boot:9.1}", of("spin"), of("park"));
    }
    let (small, large) = (&rows[&SMALL], &rows[&LARGE]);
    let parked = |row: &Row| row.each["park"];
    let goals = [
        (format!("park, {LARGE} vCPUs / {SMALL} vCPUs"), parked(large) / parked(small), MOST),
        (format!("park, {LARGE} vCPUs / its floor"), parked(large) / large.floor.iter().sum::<f64>(), MOST),
        (format!("boot of {LARGE} vCPUs, s"), large.boot / 1e9, BOOT_NS / 1e9),
    ];
    for (what, is, goal) in goals {
        println!("{what:34} {is:6.2}  goal ≤ {goal}: {}", if is <= goal { "met" } else { "NOT MET" });
    }
    Ok(())
}
