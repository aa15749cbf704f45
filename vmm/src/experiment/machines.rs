//! The machines of a measurement: each is booted when a cell needs it, and booted anew when it is of no more use.

use super::instruments;
use super::machine::Machine;
use crate::config::{CellId, MachineSpec};
use crate::guest::session;
use crate::results::measurement::Instruments;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;

/// The machines, and what their instruments cost.
pub(super) struct Machines<M, B> {
    boot: B,
    booted: BTreeMap<MachineSpec, M>,
    /// Those that a call was given up on: where their vCPUs are is not known.
    discarded: BTreeSet<MachineSpec>,
    instruments: BTreeMap<MachineSpec, Instruments>,
}

impl<M: Machine, B: FnMut(MachineSpec) -> Result<M, session::Error>> Machines<M, B> {
    /// None yet.
    pub(super) fn new(boot: B) -> Self {
        Self { boot, booted: BTreeMap::new(), discarded: BTreeSet::new(), instruments: BTreeMap::new() }
    }

    /// The machine that a cell is measured on, booted if there is none that can be used.
    pub(super) fn get(&mut self, cell: &CellId) -> Result<&mut M, session::Error> {
        let spec = MachineSpec::of(cell);
        if self.discarded.remove(&spec) {
            // Its threads end before those of the next one compete with them.
            self.booted.remove(&spec);
        }
        match self.booted.entry(spec) {
            Entry::Occupied(machine) => Ok(machine.into_mut()),
            Entry::Vacant(place) => {
                let mut machine = (self.boot)(spec)?;
                if let Some(instruments) = self.instruments.get_mut(&spec) {
                    instruments::widen_clock(&mut instruments.clock, &mut machine)?;
                }
                Ok(place.insert(machine))
            }
        }
    }

    /// The next cell that needs this machine gets a fresh one.
    pub(super) fn discard(&mut self, cell: &CellId) {
        self.discarded.insert(MachineSpec::of(cell));
    }

    /// Measures the instruments of a cell's machine, whose first call was complete `since_boot` after the boot began.
    pub(super) fn measure_instruments(
        &mut self,
        cell: &CellId,
        since_boot: Duration,
        since_start: Option<Duration>,
    ) -> Result<(), session::Error> {
        let instruments = instruments::measure(MachineSpec::of(cell), self.get(cell)?, since_boot, since_start)?;
        self.instruments.insert(MachineSpec::of(cell), instruments);
        Ok(())
    }
}

impl<M, B> Machines<M, B> {
    /// Whether no other machine's instruments have been measured.
    pub(super) fn is_first(&self, cell: &CellId) -> bool {
        self.booted.keys().all(|spec| *spec == MachineSpec::of(cell))
    }

    /// The machine that a cell was measured on last, whether or not it can be used.
    pub(super) fn last(&self, cell: &CellId) -> Option<&M> {
        self.booted.get(&MachineSpec::of(cell))
    }

    /// What the instruments of a cell's machine cost.
    pub(super) fn instruments(&self, cell: &CellId) -> Option<&Instruments> {
        self.instruments.get(&MachineSpec::of(cell))
    }

    /// All machines.
    pub(super) fn all(&self) -> impl Iterator<Item = &M> {
        self.booted.values()
    }

    /// The most vCPUs of a machine whose instruments have been measured.
    pub(super) fn most_vcpus(&self) -> Option<usize> {
        self.instruments.keys().map(|machine| machine.vcpus).max()
    }

    /// What the instruments of all machines cost.
    pub(super) fn into_instruments(self) -> Vec<Instruments> {
        self.instruments.into_values().collect()
    }
}
