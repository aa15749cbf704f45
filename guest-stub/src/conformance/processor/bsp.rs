//! vCPU 0: what it does to vCPU 1, how it waits, and what it notes.

use super::Stuck;
use super::ap::{self, AP};
use super::handlers::{self, HANDLERS};
use super::probe::{self, Record, Registers, VECTORS};
use crate::cpu::{apic, tsc};
use crate::polling;
use crate::processor::Private;
use crate::routes;
use crate::shared;
use core::sync::atomic::Ordering;
use guest_stub::abi::command::Processor;
use guest_stub::abi::{Fault, Findings, GuestRoute, Observation};
use guest_stub::icr::{self, To};
use guest_stub::random::SplitMix64;

pub(super) struct Bsp<'a> {
    private: &'static Private,
    command: &'a Processor,
    /// What is to go wrong, until it has.
    fault: Fault,
    random: SplitMix64,
    findings: Findings,
    /// Something has gone wrong in this round.
    is_wrong: bool,
    to_ap: To,
    pub(super) record: &'static Record,
}

impl<'a> Bsp<'a> {
    pub(super) fn new(private: &'static Private, command: &'a Processor, route: GuestRoute, fault: Fault) -> Self {
        routes::mode(route).enter(private);
        Self {
            private,
            command,
            fault,
            random: SplitMix64(command.seed.into()),
            findings: Findings::default(),
            is_wrong: false,
            to_ap: To::One(shared::apic_id(ap::INDEX)),
            record: probe::record(),
        }
    }

    pub(super) fn findings(&self) -> Findings {
        self.findings
    }
}

/// What it does to vCPU 1.
impl Bsp<'_> {
    pub(super) fn init(&mut self) {
        self.send(icr::init(self.to_ap), self.to_ap);
    }

    pub(super) fn startup(&mut self, vector: u8) {
        self.send(icr::startup_at(vector, self.to_ap), self.to_ap);
    }

    pub(super) fn nmi(&mut self) {
        self.send(icr::nmi(self.to_ap), self.to_ap);
    }

    /// A fixed interrupt, whose handler counts.
    pub(super) fn interrupt(&mut self) {
        self.interrupt_by(self.to_ap);
    }

    /// As [`Bsp::interrupt`], by another address.
    pub(super) fn interrupt_by(&mut self, to: To) {
        self.send(icr::fixed(handlers::VECTOR, to), to);
    }

    pub(super) fn send(&mut self, command: u32, to: To) {
        if !self.is_lost(command) {
            self.private.apic.send(command, to);
        }
    }

    /// Whether a command is the one that is to go wrong.
    fn is_lost(&mut self, command: u32) -> bool {
        let fault = if icr::is_init(command) {
            Fault::LostInit
        } else if icr::is_startup(command) {
            Fault::LostSipi
        } else {
            return false;
        };
        let is_lost = self.fault == fault;
        if is_lost {
            self.fault = Fault::Nothing;
        }
        is_lost
    }

    /// Writes a register of its own local APIC.
    pub(super) fn write_own(&self, register: u32, value: u32) {
        self.private.apic.write(register, value);
    }

    /// Sends commands with as little time in between as there can be.
    pub(super) fn burst(&mut self, commands: &[u32]) {
        apic::publish();
        let in_x2apic_mode = self.private.apic.is_in_x2apic_mode();
        for &command in commands {
            if self.is_lost(command) {
                continue;
            }
            if in_x2apic_mode {
                apic::x2apic::write_icr(command, self.to_ap.field());
            } else {
                apic::xapic::write_icr(command, self.to_ap.field());
            }
        }
    }

    /// An NMI, and a fixed interrupt right behind it, which this waits for.
    pub(super) fn burst_with_interrupt(&mut self) -> Result<(), Stuck> {
        let before = HANDLERS.interrupts.load(Ordering::Relaxed);
        self.burst(&[icr::nmi(self.to_ap), icr::fixed(handlers::VECTOR, self.to_ap)]);
        self.expect_interrupt(before)
    }

    /// As [`Bsp::start`], but vCPU 1 stays in real mode until [`Bsp::go_on`].
    pub(super) fn start_and_stay(&mut self, vector: u8) -> Result<(), Stuck> {
        self.stay();
        self.start(vector)
    }

    /// From its next start on, vCPU 1 stays in real mode.
    pub(super) fn stay(&self) {
        self.record.stay.store(1, Ordering::Relaxed);
    }

    /// Lets vCPU 1 go from real mode to its job.
    pub(super) fn go_on(&mut self) -> Result<(), Stuck> {
        self.record.stay.store(0, Ordering::Relaxed);
        self.wait_for_job()
    }

    /// INIT, then SIPI, in one random moment each. vCPU 1 has taken down its registers when this returns.
    pub(super) fn start(&mut self, vector: u8) -> Result<(), Stuck> {
        let starts = self.starts();
        self.init();
        self.pause();
        self.startup(vector);
        self.expect_start(starts, vector)
    }

    /// Waits for the start that follows the first `starts`.
    pub(super) fn expect_start(&mut self, starts: u32, vector: u8) -> Result<(), Stuck> {
        if self.happens(|| self.starts() != starts) {
            return Ok(());
        }
        // Of the two, which has had no effect? A processor that runs ignores SIPI.
        self.startup(vector);
        let was_reset = self.happens(|| self.starts() != starts);
        Err(self.stuck(if was_reset { Observation::Starts } else { Observation::Resets }))
    }
}

/// How it waits.
impl Bsp<'_> {
    /// vCPU 1's starts so far.
    pub(super) fn starts(&self) -> u32 {
        // Acquire: what the processor took down comes with its start.
        self.record.starts.load(Ordering::Acquire)
    }

    /// Whether `event` happens in time.
    pub(super) fn happens(&self, event: impl Fn() -> bool) -> bool {
        polling::poll_until(tsc::now().wrapping_add(self.command.patience), event)
    }

    /// Whether `event` happens within the time in which it does, if nobody loses a CPU.
    pub(super) fn happens_soon(&self, event: impl Fn(&Self) -> bool) -> bool {
        polling::poll_until(tsc::now().wrapping_add(self.command.quiet), || event(self))
    }

    /// As [`Bsp::happens`], where it may well not: in the time for which a vCPU may lose its CPU.
    pub(super) fn happens_in_a_while(&self, event: impl Fn() -> bool) -> bool {
        polling::poll_until(tsc::now().wrapping_add(self.command.patience / 16), event)
    }

    /// [`Bsp::quiet`]'s time, in TSC cycles.
    pub(super) fn quiet_cycles(&self) -> i64 {
        self.command.quiet.cast_signed()
    }

    /// Whether the test is about x2APIC mode.
    pub(super) fn is_x2apic(&self) -> bool {
        self.private.apic.is_in_x2apic_mode()
    }

    /// Waits until vCPU 1 does its job.
    pub(super) fn wait_for_job(&mut self) -> Result<(), Stuck> {
        let starts = self.starts();
        if self.happens(|| AP.in_job.load(Ordering::Acquire) == starts) {
            return Ok(());
        }
        Err(self.stuck(Observation::Progress))
    }

    /// Lets vCPU 1 do so much in real mode, in the loop of [`Job::Spin`](guest_stub::abi::Job::Spin), or in an NMI's handler that
    /// waits, that what is pending is taken.
    pub(super) fn let_turn(&mut self) -> Result<(), Stuck> {
        // A KVM that emulates CPL0 looks for NMIs after 1,024 instructions.
        const TURNS: u32 = 1000;
        let turns = || {
            let loops = [&self.record.turns, &AP.turns, &HANDLERS.turns];
            loops.iter().fold(0_u32, |sum, turns| sum.wrapping_add(turns.load(Ordering::Relaxed)))
        };
        let before = turns();
        if self.happens(|| turns().wrapping_sub(before) > TURNS) {
            Ok(())
        } else {
            Err(self.stuck(Observation::Progress))
        }
    }

    /// Interrupts vCPU 1, whose IF is set, and waits until it has served that, and all that was pending before it.
    pub(super) fn fence(&mut self) -> Result<(), Stuck> {
        let before = HANDLERS.interrupts.load(Ordering::Relaxed);
        self.interrupt();
        self.expect_interrupt(before)
    }

    /// Waits until more interrupts have been served than `before`.
    pub(super) fn expect_interrupt(&mut self, before: u32) -> Result<(), Stuck> {
        if !self.happens(|| HANDLERS.interrupts.load(Ordering::Acquire) != before) {
            return Err(self.stuck(Observation::InterruptsTaken));
        }
        self.quiet();
        Ok(())
    }

    /// Waits until what must not happen would have happened.
    pub(super) fn quiet(&self) {
        tsc::wait(self.command.quiet);
    }

    /// Some moments, or none.
    pub(super) fn pause(&mut self) {
        const LONGEST: usize = 100_000;
        if self.random.below(2) == 0 {
            tsc::wait(self.random.below(LONGEST) as u64);
        }
    }
}

/// What it notes.
impl Bsp<'_> {
    /// The next round, and which of the real-mode code's pages it starts vCPU 1 at; `None` after the last one.
    pub(super) fn next_round(&mut self) -> Option<u8> {
        let round = self.findings.rounds;
        self.is_wrong = false;
        // The VMM takes it for life.
        self.private.user_page().handled().store(round, Ordering::Relaxed);
        (round < self.command.rounds).then(|| {
            self.findings.rounds = round + 1;
            VECTORS[round as usize % VECTORS.len()]
        })
    }

    /// Notes that `observation` was not as expected, if so.
    #[inline]
    pub(super) fn expect(&mut self, observation: Observation, expected: impl Into<u64>, seen: impl Into<u64>) {
        let (expected, seen) = (expected.into(), seen.into());
        if expected == seen {
            return;
        }
        if self.findings.wrong == 0 && !self.is_wrong {
            self.findings = Findings { observation: observation as u32, expected, seen, ..self.findings };
        }
        if !self.is_wrong {
            self.findings.wrong += 1;
            self.is_wrong = true;
        }
    }

    /// Notes the first register that is not as a SIPI of this vector leaves it, and `expected` says.
    pub(super) fn expect_registers(&mut self, vector: u8, expected: &Registers) {
        self.expect(Observation::Cs, u32::from(vector) << 8, self.record.selector.load(Ordering::Relaxed));
        if let Some((name, expected, seen)) = self.record.first_difference(expected) {
            self.expect(name, expected, seen);
        }
    }

    /// Notes that something has not happened which the test needs to go on.
    pub(super) fn stuck(&mut self, observation: Observation) -> Stuck {
        self.findings.rounds = self.findings.rounds.max(1);
        self.expect(observation, 1_u32, 0_u32);
        Stuck
    }
}
