//! The conformance suite: whether the broadcast call keeps its contract on real vCPUs.
//!
//! [`contract`] has a test for each clause and route, over every destination and target state that there is;
//! [`restrictions`] breaks each rule for workers and expects the bug check that names it; [`traps`] are the situations
//! that broadcast calls go wrong in; every ping has to arrive once, and so do calls of targets that are preempted or out; [`native`] looks at what threads of the
//! host do without a virtual machine; [`processor`] asks what vCPUs do with INIT, SIPI and NMI;
//! [`hostile`] guests try to harm the VMM; a soak mixes disturbances at random. Each test boots a machine of its own; the clauses
//! of one route share the calls that they look at.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod contract;
pub mod hostile;
pub mod native;
mod pings;
pub mod processor;
pub mod restrictions;
mod soak;
mod states;
pub mod traps;
mod verdict;

pub use verdict::Verdict;

use crate::config::HostOffers;
use crate::config::routes::{self, Route};
use crate::guest::calls::{self, Calls, CallsSpec};
use crate::guest::session::{self, Disturb, Limits, Session};
use crate::host::starvation::Starvation;
use crate::results::check::{Finished, Outcome, Summary};
use crate::results::integrity::Integrity;
use crate::vm::{ApicIds, Hypervisor, VmConfig, offers};
use guest_stub::abi::{Destination, Fault, TargetState};
use guest_stub::random::SplitMix64;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a test is about.
#[derive(Debug, Clone, Copy)]
pub enum Subject {
    Contract(contract::Clause),
    /// A rule for workers, broken.
    Restriction(restrictions::BrokenRule),
    /// A situation that broadcast calls go wrong in.
    Trap(&'static traps::Trap),
    /// Pings of this destination.
    Ping(Destination),
    /// Calls of targets in this state, in which the VMM keeps them from the guest.
    State(TargetState),
    /// What of the contract can be seen on threads of the host.
    Native(native::Clause),
    /// What a vCPU does with INIT, SIPI, NMI and the like.
    Processor(&'static processor::Case),
    /// A guest that does random things. Takes its time, and is run only when it is asked for.
    Hostile,
    /// A round of the soak.
    Soak(u32),
}

/// A test: its subject, over one route.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// What it is about.
    pub subject: Subject,
    /// How interrupts travel.
    pub route: Route,
}

impl Test {
    /// The name: group, subject, route.
    pub fn name(&self) -> String {
        let route = self.route.name();
        match self.subject {
            Subject::Contract(clause) => format!("contract/{}/{route}", clause.name()),
            Subject::Restriction(broken) => format!("restriction/{}/{route}", broken.name()),
            Subject::Trap(trap) => format!("trap/{}/{route}", trap.name),
            Subject::Ping(destination) => format!("pings/{}/{route}", destination.name()),
            Subject::State(state) => format!("state/{}/{route}", state.name()),
            Subject::Native(clause) => format!("native/{}/{route}", clause.name()),
            Subject::Processor(case) => format!("processor/{}/{route}", case.name),
            Subject::Hostile => format!("hostile/{route}"),
            Subject::Soak(minute) => format!("soak/{}/{route}", minute + 1),
        }
    }

    /// Whether it boots a machine.
    pub fn needs_kvm(&self) -> bool {
        !routes::of(self.route).is_native()
    }
}

/// Every test, in the order in which they run.
pub fn all() -> Vec<Test> {
    let mut tests = Vec::new();
    for route in in_guest() {
        let clauses = contract::Clause::ALL.iter().filter(|clause| clause.is_about(routes::of(route)));
        tests.extend(clauses.map(|&clause| Test { subject: Subject::Contract(clause), route }));
    }
    for &broken in restrictions::BrokenRule::ALL {
        tests.push(Test { subject: Subject::Restriction(broken), route: Route::X2Apic });
    }
    for trap in traps::ALL {
        let tried = routes::those(trap.happens_on);
        tests.extend(tried.map(|route| Test { subject: Subject::Trap(trap), route }));
    }
    let pinged = pings::all().into_iter();
    tests.extend(pinged.map(|(destination, route)| Test { subject: Subject::Ping(destination), route }));
    tests.extend(states::all().into_iter().map(|(state, route)| Test { subject: Subject::State(state), route }));
    for route in routes::those(routes::Spec::is_native) {
        let clauses = native::Clause::ALL.iter().filter(|clause| clause.is_about(routes::of(route)));
        tests.extend(clauses.map(|&clause| Test { subject: Subject::Native(clause), route }));
    }
    for case in processor::ALL {
        let tried = routes::those(case.happens_on);
        tests.extend(tried.map(|route| Test { subject: Subject::Processor(case), route }));
    }
    tests.extend(in_guest().map(|route| Test { subject: Subject::Hostile, route }));
    tests
}

/// The routes that guests have.
fn in_guest() -> impl Iterator<Item = Route> {
    routes::those(|route| !route.is_native())
}

/// The tests whose name contains one of `filters`, in any case, or all but the hostile guests if there is none; but for those that
/// contain one of `skips`.
pub fn matching(filters: &[String], skips: &[String]) -> Vec<Test> {
    let chosen = |test: &Test| {
        let name = test.name();
        let contains = |text: &String| name.contains(&text.to_ascii_lowercase());
        let asked =
            if filters.is_empty() { !matches!(test.subject, Subject::Hostile) } else { filters.iter().any(contains) };
        asked && !skips.iter().any(contains)
    };
    all().into_iter().filter(chosen).collect()
}

/// A soak of `minutes`: a test for each.
pub fn soak(minutes: u32) -> Vec<Test> {
    (0..minutes).map(|minute| Test { subject: Subject::Soak(minute), route: Route::X2Apic }).collect()
}

/// What all tests of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Suite<'a> {
    /// KVM. `None`: only for tests that need none ([`Test::needs_kvm`]).
    pub hypervisor: Option<&'a Hypervisor>,
    /// The guest.
    pub image: &'a [u8],
    /// CPUs to pin vCPUs to.
    pub pin: &'a [usize],
    /// How many CPUs there are.
    pub cpus: usize,
    /// Of everything random.
    pub seed: u64,
    /// What the guest is to do wrong in the tests of the contract and of the processor.
    pub fault: Fault,
    /// The user wants to stop.
    pub interrupted: &'a AtomicBool,
    /// The line that a user reads about an error.
    pub explain: fn(&(dyn Error + 'static)) -> String,
    /// How many times as long as usual the short times of a test are: 1, and more where it is run again.
    pub stretch: u32,
}

/// What a test that passed has counted.
pub type Detail = String;

/// After which time a call is given up: only what hangs takes as long.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How often a test is run at most, where nobody can tell what keeps it from passing from a lack of CPU: the last time with eight times
/// its short times.
const MOST_RUNS: u32 = 4;

impl<'a> Suite<'a> {
    /// Runs `tests` one after the other; `begins` gets each, and how many were before it, as it begins, and `report` as it ends.
    ///
    /// # Errors
    /// Those of `report`.
    pub fn run<E>(
        &self,
        tests: &[Test],
        begins: impl Fn(usize, &Test),
        mut report: impl FnMut(&Finished) -> Result<(), E>,
    ) -> Result<Summary, E> {
        let start = Instant::now();
        // A system that has no thread left for it gives no evidence either.
        let starvation = Starvation::watch().ok();
        let mut cells = contract::Cells::new(starvation.as_ref());
        let mut summary =
            Summary { passed: 0, failed: 0, skipped: 0, duration: Duration::ZERO, interrupted: false, not_run: 0 };
        for (number, test) in tests.iter().enumerate() {
            begins(number, test);
            let began = Instant::now();
            let verdict = self.run_until_decided(test, &mut cells, starvation.as_ref());
            let (outcome, detail) = match verdict {
                Ok(detail) => (Outcome::Passed, detail),
                Err(Verdict::Failed(reason) | Verdict::Overdue { reason, .. }) => {
                    (Outcome::Failed(reason), String::new())
                }
                Err(Verdict::Skipped(reason)) => (Outcome::Skipped(reason), String::new()),
                Err(Verdict::HostLimit(error)) => (Outcome::Skipped((self.explain)(error.as_ref())), String::new()),
                Err(Verdict::Interrupted) => {
                    summary.interrupted = true;
                    summary.not_run = tests.len() - number;
                    break;
                }
            };
            match outcome {
                Outcome::Passed => summary.passed += 1,
                Outcome::Failed(_) => summary.failed += 1,
                Outcome::Skipped(_) => summary.skipped += 1,
            }
            report(&Finished { name: test.name(), outcome, duration: began.elapsed(), detail })?;
        }
        summary.duration = start.elapsed();
        Ok(summary)
    }

    /// Runs a test, and again where threads without a CPU may be why it did not pass: with longer times, so that it takes more of
    /// that to bring it about.
    fn run_until_decided(
        &self,
        test: &Test,
        cells: &mut contract::Cells<'_>,
        starvation: Option<&Starvation>,
    ) -> Result<Detail, Verdict> {
        let mut undecided = String::new();
        for run in 0..MOST_RUNS {
            if let Some(starvation) = starvation {
                starvation.begin();
            }
            let suite = Self { stretch: 1 << run, ..*self };
            let verdict = suite.run_one(test, cells).map_err(|verdict| verdict.decided(starvation));
            match verdict {
                Err(Verdict::Overdue { reason, starved, .. }) => {
                    cells.forget(test.route);
                    let starved = starved.unwrap_or_default().as_millis();
                    undecided =
                        format!("a thread had next to nothing of a CPU for {starved} ms, which may be why: {reason}");
                }
                Ok(detail) if run > 0 => {
                    let times = if run == 1 { "once".to_owned() } else { format!("{run} times") };
                    return Ok(format!("{detail}; undecided {times} before: {undecided}"));
                }
                Ok(_)
                | Err(Verdict::Failed(_) | Verdict::Skipped(_) | Verdict::HostLimit(_) | Verdict::Interrupted) => {
                    return verdict;
                }
            }
        }
        Err(Verdict::Skipped(format!("undecided in {MOST_RUNS} runs; in the last, {undecided}")))
    }

    fn run_one(&self, test: &Test, cells: &mut contract::Cells<'_>) -> Result<Detail, Verdict> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Verdict::Interrupted);
        }
        if let Some(need) = routes::of(test.route).lacks(self.offers_to(test.route)) {
            return Err(Verdict::Skipped(need.reason().to_owned()));
        }
        match test.subject {
            Subject::Contract(clause) => contract::check(self, clause, test.route, cells),
            Subject::Restriction(broken) => restrictions::check(self, broken, test.route),
            Subject::Trap(trap) => traps::check(self, trap, test.route),
            Subject::Ping(destination) => pings::check(self, destination, test.route),
            Subject::State(state) => states::check(self, state, test.route),
            Subject::Native(clause) => native::check(self, clause, test.route),
            Subject::Processor(case) => processor::check(self, case, test.route),
            Subject::Hostile => hostile::check(self, test.route),
            Subject::Soak(minute) => soak::check(self, minute),
        }
    }

    /// What this host offers to a route.
    fn offers_to(&self, route: Route) -> HostOffers {
        self.hypervisor.map_or_else(offers::without_kvm, |hypervisor| hypervisor.offers_to(&[route]))
    }

    /// KVM, in tests that need it.
    fn kvm(&self) -> &'a Hypervisor {
        self.hypervisor.expect("who chose tests that need KVM has opened it")
    }

    /// Boots a machine whose calls have [`DEADLINE`].
    ///
    /// # Errors
    /// Whatever keeps it from that.
    pub fn boot(&self, route: Route, vcpus: usize, ids: ApicIds) -> Result<Session<'a>, session::Error> {
        self.boot_with_deadline(route, vcpus, ids, DEADLINE)
    }

    /// Boots a machine.
    ///
    /// # Errors
    /// Whatever keeps it from that.
    pub fn boot_with_deadline(
        &self,
        route: Route,
        vcpus: usize,
        ids: ApicIds,
        deadline: Duration,
    ) -> Result<Session<'a>, session::Error> {
        let config = VmConfig {
            vcpus,
            ids,
            // Tests of native routes boot no machine.
            local_apics: routes::of(route).local_apics().unwrap_or_default(),
            interface: routes::of(route).interface(),
            pin: self.pin,
            cpus: self.cpus.min(vcpus),
            image: self.image,
            halt_poll_ns: None,
            tsc_shifts: &[],
        };
        let limits = Limits { deadline, settle: Duration::ZERO };
        Session::boot(self.kvm(), &config, limits, self.interrupted)
    }

    /// Makes calls on a machine of `vcpus`, undisturbed.
    ///
    /// # Errors
    /// As [`calls::run`].
    pub fn calls(&self, vcpus: usize, spec: &CallsSpec) -> Result<Calls, session::Error> {
        self.disturbed_calls(vcpus, spec, &mut |_| ())
    }

    /// Makes calls on a machine of `vcpus`.
    ///
    /// # Errors
    /// As [`calls::run`].
    pub fn disturbed_calls(
        &self,
        vcpus: usize,
        spec: &CallsSpec,
        disturb: Disturb<'_>,
    ) -> Result<Calls, session::Error> {
        calls::run(&mut self.boot(spec.route, vcpus, ApicIds::Consecutive)?, spec, disturb)
    }

    /// A time that a test is to be over soon after, which waits for what does not come: longer where it is run again.
    pub fn short(&self, time: Duration) -> Duration {
        time * self.stretch
    }

    /// A seed for the guest, another for each `purpose`.
    pub fn guest_seed(&self, purpose: u64) -> u32 {
        (SplitMix64(self.seed ^ purpose).next() >> 32) as u32 | 1
    }
}

/// A block whose calls have [`DEADLINE`] went wrong: for want of a CPU, some are sent twice or given up, and what was sent twice comes twice.
fn of_integrity(integrity: &Integrity, reason: String) -> Verdict {
    if integrity.lost + integrity.timed_out > 0 {
        Verdict::overdue(DEADLINE / 2, reason)
    } else {
        Verdict::Failed(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn native_tests_need_no_kvm() {
        let native = matching(&["native/".to_owned()], &[]);
        assert!(!native.is_empty() && !native.iter().any(Test::needs_kvm));
        assert!(!matching(&[], &["native/".to_owned()]).iter().any(|test| !test.needs_kvm()));
        assert!(soak(1).iter().all(Test::needs_kvm));
    }

    #[test]
    fn names_are_unique_and_can_be_picked() {
        let names: BTreeSet<String> = all().iter().map(Test::name).collect();
        assert_eq!(names.len(), all().len());
        let matching = |filters: &[&str], skips: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            matching(&owned(filters), &owned(skips))
        };
        let hostile = matching(&["hostile"], &[]).len();
        assert_eq!(matching(&[], &[]).len(), all().len() - hostile, "hostile guests have to be asked for");
        assert_eq!(hostile, in_guest().count());
        let restrictions = matching(&["restriction/"], &[]);
        assert!(restrictions.iter().all(|test| matches!(test.subject, Subject::Restriction(_))));
        let traps = matching(&["trap/"], &[]).len();
        assert_eq!(matching(&["restriction/", "trap/"], &[]).len(), restrictions.len() + traps, "more than one filter");
        let left = matching(&[], &["trap/", "contract/", "pings/", "state/", "native/", "processor/"]);
        assert_eq!(left.len(), restrictions.len(), "more than one to leave out");
        assert_eq!(matching(&["restriction/", "trap/"], &["trap/"]).len(), restrictions.len(), "skip beats filter");
        assert!(matching(&["nobody is called that"], &[]).is_empty());
        assert_eq!(
            soak(3).iter().map(Test::name).collect::<Vec<_>>(),
            ["soak/1/x2apic", "soak/2/x2apic", "soak/3/x2apic"]
        );
    }
}
