//! The tables of the documents, one file each: which columns they have, which of them matter most, and what is said
//! about them. [`text`](super::text) and [`html`](super::html) print them.

mod absences;
mod calls;
mod cells;
mod deliveries;
mod distances;
mod exit_costs;
mod exits;
mod halts;
mod host_cpu;
mod hypercalls;
mod instruments;
mod parts;
mod recording;
mod slopes;
mod stages;
mod targets;
mod timeline;
mod times;
mod vantages;

pub(super) use cells::{add_keys, name, name_of, separate};
pub(super) use exits::of_trace as exits_of_trace;
pub(super) use halts::median_in_hlt;
pub(super) use stages::{of_call as stages_of_call, of_rounds as stages_of_rounds};
pub(super) use timeline::{lane_name, lanes, timeline};

use super::table::Table;
use crate::results::measurement::Measurement;

/// The result: every cell of the guest's vantage, or where there is none, every cell of both vantages.
pub(super) fn result(measurement: &Measurement) -> Option<Table> {
    calls::table(measurement).or_else(|| vantages::table(measurement))
}

/// What single exits cost, where that was asked for.
pub(super) fn exit_costs(measurement: &Measurement) -> Option<Table> {
    exit_costs::table(measurement)
}

/// Everything behind the result.
pub(super) fn details(measurement: &Measurement) -> Vec<Table> {
    let vantages = calls::table(measurement).and_then(|_| vantages::table(measurement));
    let tables = [
        vantages,
        hypercalls::table(measurement),
        targets::table(measurement),
        slopes::table(measurement),
        distances::table(measurement),
        stages::of_cells(measurement),
        halts::table(measurement),
        host_cpu::table(measurement),
        absences::table(measurement),
        deliveries::table(measurement),
        recording::table(measurement),
        exits::of_cells(measurement),
        parts::table(measurement),
        instruments::table(measurement),
    ];
    times::tables(measurement).chain(tables.into_iter().flatten()).collect()
}
