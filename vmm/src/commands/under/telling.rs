//! What the image tells of a boot while that runs: whether it is over, or why it is to be over, since the image has given up or
//! measures something else than was asked for.

use guest_stub::abi::Worker;
use guest_stub::abi::cell::CellId;
use kipi_standalone::lines::{Line, Place};
use kipi_standalone::plan::{Offers, Plan, Planned};
use kipi_standalone::records::RecordOf;
use std::collections::BTreeSet;
use thiserror::Error;

/// Why a boot that goes on would bring nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Fault {
    /// The image has ended before it had a plan.
    #[error("the image has given up: {0}")]
    GaveUp(String),
    /// Its plan is another one.
    #[error("the image {0}: its command line lacks {{append}}, or has words that override it")]
    OtherPlan(String),
}

/// What has been told of one boot.
pub(super) struct Telling {
    settings: [String; 8],
    /// Combinations that were asked for, by their names.
    asked: BTreeSet<String>,
    told: BTreeSet<String>,
    has_plan: bool,
    /// The last text.
    text: Option<String>,
    /// The place of the next record if none is lost; `None`: one is, or none has come.
    next: Option<Place>,
}

impl Telling {
    /// Of a boot that is to measure this.
    pub(super) fn of(plan: &Plan) -> Self {
        // What a platform lacks is told as not measured.
        let offers = Offers { x2apic: true, xapic: true, processors: plan.vcpus(1) };
        let asked = plan.cells(offers).map(|planned| match planned {
            Planned::Cell(cell) | Planned::Skipped(cell, _) => {
                let CellId { call, route, destination, target_state, .. } = cell;
                name([call.name(), route.name(), destination.name(), target_state.name()])
            }
        });
        Self {
            settings: settings(&plan.record(offers)),
            asked: asked.collect(),
            told: BTreeSet::new(),
            has_plan: false,
            text: None,
            next: None,
        }
    }

    /// Takes what comes next. Whether the boot is over.
    ///
    /// # Errors
    /// It is to be.
    pub(super) fn hear(&mut self, line: Line<'_>) -> Result<bool, Fault> {
        let (place, record) = match line {
            Line::Record(place, record) => (place, record),
            Line::Damaged(_) => {
                self.next = None;
                return Ok(false);
            }
            Line::Other(_) => return Ok(false),
        };
        let next = Place { line: place.line.wrapping_add(1), ..place };
        self.next = self.next.filter(|&expected| expected == place).map(|_| next);
        match record {
            // Of a VMM that boots the image once more, too.
            RecordOf::Start { .. } => {
                (self.next, self.has_plan, self.text) = (Some(next), false, None);
                self.told.clear();
            }
            RecordOf::Text { text } => self.text = Some(text),
            RecordOf::Plan { .. } => {
                self.has_plan = true;
                let told = settings(&record);
                if let Some((told, asked)) = told.iter().zip(&self.settings).find(|(told, asked)| told != asked) {
                    return Err(Fault::OtherPlan(format!("measures with {told} instead of {asked}")));
                }
            }
            RecordOf::Cell { call, route, destination, state, .. }
            | RecordOf::Skipped { call, route, destination, state, .. } => {
                let name = name([&call, &route, &destination, &state]);
                if !self.asked.contains(&name) {
                    return Err(Fault::OtherPlan(format!("measures {name}, which was not asked for")));
                }
                self.told.insert(name);
            }
            RecordOf::Block { .. } => self.compare_cells()?,
            RecordOf::End { .. } if self.has_plan => {
                self.compare_cells()?;
                return Ok(true);
            }
            RecordOf::End { .. } => {
                return Err(Fault::GaveUp(self.text.take().unwrap_or_else(|| "it does not say why".to_owned())));
            }
            RecordOf::Platform { .. }
            | RecordOf::Tsc { .. }
            | RecordOf::Exchange { .. }
            | RecordOf::Stamps { .. }
            | RecordOf::Instructions { .. }
            | RecordOf::Samples { .. } => {}
        }
        Ok(false)
    }

    /// Whether all combinations have been told, when no more of them can come. Where records are lost, nobody knows.
    fn compare_cells(&self) -> Result<(), Fault> {
        match self.asked.difference(&self.told).next().filter(|_| self.next.is_some()) {
            Some(lacking) => Err(Fault::OtherPlan(format!("does not measure {lacking}"))),
            None => Ok(()),
        }
    }
}

fn name(names: [&str; 4]) -> String {
    names.join(" ")
}

/// What a plan's record says, as words.
fn settings<T, D, S>(record: &RecordOf<T, D, S>) -> [String; 8] {
    let RecordOf::Plan { vcpus, rounds, warmup, blocks, worker, argument, settle_ns, deadline_ms } = record else {
        return Default::default();
    };
    let worker = Worker::from_wire(*worker).map_or("?", Worker::name);
    [
        format!("vcpus={vcpus}"),
        format!("rounds={rounds}"),
        format!("warmup={warmup}"),
        format!("blocks={blocks}"),
        format!("worker={worker}"),
        format!("argument={argument}"),
        format!("settle={}", settle_ns / 1_000),
        format!("deadline={deadline_ms}"),
    ]
}

#[cfg(test)]
mod tests;
