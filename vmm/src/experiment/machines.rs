//! The machines of a measurement: each is booted when a cell needs it, and booted anew when it is of no more use.

use super::clock::Clocks;
use super::instruments::{self, Effort};
use super::machine::{self, Machine};
use crate::config::{CellId, MachineSpec};
use crate::host::watch::Baseline;
use crate::results::disturbance::Kind;
use crate::results::instruments::Instruments;
use crate::results::ran_on::RanOn;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::{Duration, Instant};

/// The machines, and what their instruments cost.
pub(super) struct Machines<M, B> {
    boot: B,
    booted: BTreeMap<MachineSpec, M>,
    /// Those that are of no more use: a call was given up on them, or others are to take their place.
    discarded: BTreeSet<MachineSpec>,
    boots: BTreeMap<MachineSpec, Boots>,
    instruments: BTreeMap<MachineSpec, Instruments>,
    clocks: BTreeMap<MachineSpec, Clocks>,
    /// What a reader should know about machines that are gone.
    warnings: Vec<String>,
    /// Which disturbances could not be told on one of those that are gone; `None`: nobody has looked for any.
    unknown_disturbances: Option<BTreeSet<Kind>>,
    /// Where the vCPUs of those that are gone ran.
    ran_on: Vec<RanOn>,
    /// The host as the first of them found it.
    baseline: Baseline,
}

/// How often a machine was booted.
#[derive(Default)]
struct Boots {
    count: u32,
    /// How long it took the last time, its clocks' comparison included.
    last: Duration,
}

impl<M: Machine, B: FnMut(MachineSpec) -> Result<M, machine::Error>> Machines<M, B> {
    /// None yet.
    pub(super) fn new(boot: B) -> Self {
        Self {
            boot,
            booted: BTreeMap::new(),
            discarded: BTreeSet::new(),
            boots: BTreeMap::new(),
            instruments: BTreeMap::new(),
            clocks: BTreeMap::new(),
            warnings: Vec::new(),
            unknown_disturbances: None,
            ran_on: Vec::new(),
            baseline: Baseline::default(),
        }
    }

    /// The machine that a cell is measured on, booted if there is none that can be used.
    pub(super) fn get(&mut self, cell: &CellId) -> Result<&mut M, machine::Error> {
        let spec = MachineSpec::of(cell);
        if self.discarded.remove(&spec) {
            // Its threads end before those of the next one compete with them.
            let gone = self.booted.remove(&spec);
            self.warnings.extend(gone.iter().flat_map(Machine::warnings));
            for unknown in gone.iter().filter_map(Machine::unknown_disturbances) {
                self.unknown_disturbances.get_or_insert_default().extend(unknown);
            }
            gone.iter().flat_map(Machine::ran_on).for_each(|found| add_to(&mut self.ran_on, found));
        }
        match self.booted.entry(spec) {
            Entry::Occupied(machine) => Ok(machine.into_mut()),
            Entry::Vacant(place) => {
                let start = Instant::now();
                let mut machine = (self.boot)(spec)?;
                machine.compare_with(&mut self.baseline);
                if let Some((instruments, clocks)) = self.instruments.get_mut(&spec).zip(self.clocks.get_mut(&spec)) {
                    clocks.hold_for(&mut machine)?;
                    instruments.clock.clone_from(&clocks.clock);
                }
                let boots = self.boots.entry(spec).or_default();
                *boots = Boots { count: boots.count + 1, last: start.elapsed() };
                Ok(place.insert(machine))
            }
        }
    }

    /// The next cell that needs this machine gets a fresh one.
    pub(super) fn discard(&mut self, cell: &CellId) {
        self.discarded.insert(MachineSpec::of(cell));
    }

    /// Every cell gets a fresh machine next time.
    pub(super) fn discard_all(&mut self) {
        self.discarded.extend(self.booted.keys());
    }

    /// Measures the instruments of a cell's machine, whose first call was complete `since_boot` after the boot began, if
    /// that is known, and some of
    /// whose cells may park.
    pub(super) fn measure_instruments(
        &mut self,
        cell: &CellId,
        since_boot: Option<Duration>,
        since_start: Option<Duration>,
        parks: bool,
        effort: Effort,
    ) -> Result<(), machine::Error> {
        let spec = MachineSpec::of(cell);
        let machine = self.get(cell)?;
        let clocks = Clocks::of(machine, effort)?;
        let clock = clocks.clock.clone();
        let instruments = instruments::measure(spec, machine, clock, since_boot, since_start, parks, effort)?;
        self.instruments.insert(spec, instruments);
        self.clocks.insert(spec, clocks);
        Ok(())
    }
}

impl<M: Machine, B> Machines<M, B> {
    /// What a reader should know about the machines, those that are gone included.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.booted.values().flat_map(Machine::warnings));
        warnings
    }

    /// Which disturbances cannot be told on one of the machines, those that are gone included; `None`: nobody looks for any.
    pub(super) fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        let booted = self.booted.values().filter_map(Machine::unknown_disturbances);
        self.unknown_disturbances.iter().cloned().chain(booted).reduce(|all, of_one| &all | &of_one)
    }
}

impl<M: Machine, B> Machines<M, B> {
    /// Where the threads of all machines' vCPUs ran, by vCPU.
    pub(super) fn ran_on(&self) -> Vec<RanOn> {
        let mut all = self.ran_on.clone();
        self.booted.values().flat_map(Machine::ran_on).for_each(|found| add_to(&mut all, found));
        all.sort_by_key(|of| of.vcpu);
        all
    }
}

/// Adds what a machine found of a vCPU.
fn add_to(all: &mut Vec<RanOn>, found: RanOn) {
    match all.iter_mut().find(|known| (known.vcpu, known.pin) == (found.vcpu, found.pin)) {
        Some(known) => known.add(&found),
        None => all.push(found),
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

    /// Which boot of a cell's machine the last one is, counted from 0.
    pub(super) fn boot_number(&self, cell: &CellId) -> u32 {
        self.boots.get(&MachineSpec::of(cell)).map_or(0, |boots| boots.count.saturating_sub(1))
    }

    /// How long it takes to boot all machines.
    pub(super) fn boot_time(&self) -> Duration {
        self.boots.values().map(|boots| boots.last).sum()
    }

    /// What the instruments of a cell's machine cost.
    pub(super) fn instruments(&self, cell: &CellId) -> Option<&Instruments> {
        self.instruments.get(&MachineSpec::of(cell))
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
