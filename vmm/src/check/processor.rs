//! What a vCPU does with INIT, SIPI and NMI, with its local APIC's base and with its clock. vCPU 0 does it to vCPU 1, in the guest
//! (`guest-stub/src/conformance/processor`): what no model of the local APIC alone can see, since it is between that and KVM.

use super::{Detail, Suite, Verdict};
use crate::config::LocalApics;
use crate::config::routes::{self, ApicMode, Route, Spec};
use crate::guest::processor::{self, ProcessorSpec};
use crate::results::count::count;
use crate::vm::ApicIds;
use guest_stub::abi::{Fault, Findings, Job, Observation, Question};
use std::time::Duration;

/// A test of a processor.
#[derive(Debug)]
pub struct Case {
    /// Its name in output.
    pub name: &'static str,
    /// Whether it makes sense on a route.
    pub happens_on: fn(&Spec) -> bool,
    question: Question,
    job: Job,
    rounds: u32,
}

const fn case(name: &'static str, happens_on: fn(&Spec) -> bool, question: Question, job: Job, rounds: u32) -> Case {
    Case { name, happens_on, question, job, rounds }
}

/// Starts out of each job.
const STARTS: u32 = 1000;
/// On KVM's own local APIC, one round in so many: it shows that the test asks for what processors do.
const OF_KVMS: u32 = 10;

/// Every test, in the order in which they run.
#[rustfmt::skip]
pub const ALL: &[Case] = &[
    case("starts-out-of-spin", Spec::decides_mode, Question::Start, Job::Spin, STARTS),
    case("starts-out-of-rdmsr", Spec::is_x2apic, Question::Start, Job::ReadMsr, STARTS),
    case("starts-out-of-wrmsr", Spec::is_x2apic, Question::Start, Job::WriteMsr, STARTS),
    case("starts-out-of-rdmsr-gp", Spec::decides_mode, Question::Start, Job::FaultingMsr, STARTS),
    case("starts-out-of-mmio-read", is_xapic, Question::Start, Job::ReadPage, STARTS),
    case("starts-out-of-mmio-write", is_xapic, Question::Start, Job::WritePage, STARTS),
    case("starts-out-of-mmio-modify", is_xapic, Question::Start, Job::ModifyPage, STARTS),
    case("starts-out-of-mmio-string", is_xapic, Question::Start, Job::ReadPageString, STARTS),
    case("starts-out-of-out", Spec::decides_mode, Question::Start, Job::Out, STARTS),
    case("starts-out-of-rep-outs", Spec::decides_mode, Question::Start, Job::OutString, STARTS),
    case("starts-out-of-hlt", Spec::decides_mode, Question::Start, Job::Halt, STARTS),
    case("starts-out-of-hlt-masked", Spec::decides_mode, Question::Start, Job::HaltMasked, STARTS),
    case("starts-out-of-cr8", Spec::decides_mode, Question::Start, Job::TaskPriority, STARTS),
    case("starts-out-of-apic-base", Spec::decides_mode, Question::Start, Job::ApicBase, STARTS),
    case("starts-out-of-tsc-adjust", Spec::decides_mode, Question::Start, Job::TscAdjust, STARTS),
    case("starts-out-of-interrupt-window", Spec::decides_mode, Question::Start, Job::Window, STARTS),
    // Of KVMs, one that emulates CPL0 takes INIT at the end of a batch of instructions, and does so here.
    case("starts-out-of-own-init", is_user, Question::Start, Job::InitItself, STARTS),
    case("state-after-init", Spec::decides_mode, Question::State, Job::Garbage, 30),
    case("nmi-before-init", Spec::decides_mode, Question::NmiBeforeInit, Job::Spin, 60),
    case("nmi-before-init-halted", Spec::decides_mode, Question::NmiBeforeInit, Job::Halt, 60),
    case("nmi-behind-nmi-before-init", Spec::decides_mode, Question::NmiBehindNmi, Job::Spin, 60),
    case("nmi-pair", Spec::decides_mode, Question::NmiPair, Job::Spin, 60),
    case("nmi-pair-halted", Spec::decides_mode, Question::NmiPair, Job::Halt, 60),
    case("nmis-in-service", Spec::decides_mode, Question::NmisInService, Job::Spin, 60),
    // KVM's own HLT ends with each NMI request (`kvm_vcpu_has_events`), blocked or not.
    case("hlt-in-nmi", is_user, Question::HaltInNmi, Job::Spin, 60),
    case("nmi-then-interrupt", Spec::decides_mode, Question::NmiFirst, Job::Spin, 60),
    case("nmi-then-interrupt-halted", Spec::decides_mode, Question::NmiFirst, Job::Halt, 60),
    // KVM's own INIT discards an NMI that came after it and before the vCPU's thread looked.
    case("nmi-before-sipi", is_user, Question::NmiBeforeSipi, Job::Spin, 60),
    // KVM's local APIC lets the last one start it.
    case("two-sipis", is_user, Question::TwoSipis, Job::Spin, 60),
    case("sipi-while-running", Spec::decides_mode, Question::SipiWhileRunning, Job::Spin, 60),
    case("sipi-while-halted", Spec::decides_mode, Question::SipiWhileRunning, Job::Halt, 60),
    case("apic-base-off-and-on", Spec::decides_mode, Question::BaseOffAndOn, Job::Puppet, 30),
    case("apic-base-briefly-off", Spec::decides_mode, Question::BaseBrieflyOff, Job::Puppet, 30),
    case("apic-base-to-x2apic", Spec::is_x2apic, Question::BaseToX2Apic, Job::Puppet, 30),
    case("apic-base-refuses", Spec::decides_mode, Question::BaseRefused, Job::Puppet, 10),
    case("tsc-forward", is_user, Question::TscForward, Job::Puppet, 30),
    case("tsc-back", is_user, Question::TscBack, Job::Puppet, 30),
    case("tsc-adjust-forward", is_user, Question::TscAdjustForward, Job::Puppet, 30),
    case("tsc-adjust-back", is_user, Question::TscAdjustBack, Job::Puppet, 30),
    case("narrow-stores-send-nothing", is_xapic, Question::NarrowStores, Job::Spin, 30),
    // KVM's own local APIC does not look at the TPR.
    case("lowest-priority", is_user, Question::LowestPriority, Job::Puppet, 30),
    case("other-cluster", is_xapic, Question::OtherCluster, Job::Puppet, 30),
];

fn is_user(route: &Spec) -> bool {
    route.decides_mode() && route.local_apics() == Some(LocalApics::User)
}

fn is_xapic(route: &Spec) -> bool {
    route.apic_mode == ApicMode::XApic
}

/// vCPU 0, which asks, and vCPU 1.
const VCPUS: usize = 2;

/// Asks over `route`.
pub(super) fn check(suite: &Suite<'_>, case: &Case, route: Route) -> Result<Detail, Verdict> {
    // A vCPU may lose its CPU for 100 ms at any time. What goes wrong on purpose is waited for in vain.
    let in_vain = suite.short(Duration::from_secs(1));
    let patience = if suite.fault == Fault::Nothing { Duration::from_secs(5) } else { in_vain };
    // Another seed for each.
    let place = ALL.iter().position(|other| other.name == case.name).unwrap_or_default();
    let spec = ProcessorSpec {
        question: case.question,
        job: case.job,
        route,
        rounds: if is_user(routes::of(route)) { case.rounds } else { case.rounds / OF_KVMS },
        seed: suite.guest_seed(place as u64),
        fault: suite.fault,
        patience,
        quiet: Duration::from_millis(1),
    };
    let mut machine = suite.boot(route, VCPUS, ApicIds::Consecutive)?;
    // The shortest that it waits for anything (`happens_in_a_while`).
    verdict(&processor::ask(&mut machine, &spec)?, patience / 16)
}

/// Why a test made no round. Only the tests of the clock may make none.
const ABSENT: &str =
    "the guest's CPUID offers no TSC deadline or no IA32_TSC_ADJUST, or this KVM does not move its TSC";

/// On what a vCPU had this time for.
fn verdict(findings: &Findings, within: Duration) -> Result<Detail, Verdict> {
    let Findings { rounds, wrong, expected, seen, .. } = *findings;
    if wrong > 0 {
        let what = Observation::from_wire(findings.observation).map_or("what nobody knows", Observation::name);
        let reason = format!("{wrong} of {}; first {what}: {seen:#x}, expected {expected:#x}", count(rounds, "round"));
        return Err(Verdict::overdue(within, reason));
    }
    if rounds == 0 {
        return Err(Verdict::Skipped(ABSENT.to_owned()));
    }
    Ok(count(rounds, "round"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_seen_and_what_was_expected() {
        let wrong = Findings {
            rounds: 60,
            wrong: 3,
            observation: Observation::NmisTaken as u32,
            expected: 2,
            seen: 1,
            ..Findings::default()
        };
        let verdict = |findings: &Findings| verdict(findings, Duration::from_secs(1));
        let Err(Verdict::Overdue { reason, .. }) = verdict(&wrong) else { panic!("three rounds went wrong") };
        assert_eq!(reason, "3 of 60 rounds; first NMIs taken: 0x1, expected 0x2");
        let Err(Verdict::Overdue { reason, .. }) = verdict(&Findings { observation: 9999, ..wrong }) else {
            panic!("as above")
        };
        assert!(reason.contains("what nobody knows"), "a hostile guest's: {reason}");
    }

    #[test]
    fn no_round_is_no_success() {
        let verdict = |findings: &Findings| verdict(findings, Duration::from_secs(1));
        assert!(matches!(verdict(&Findings::default()), Err(Verdict::Skipped(_))));
        assert_eq!(verdict(&Findings { rounds: 30, ..Findings::default() }).ok().as_deref(), Some("30 rounds"));
    }

    /// 1,000 starts out of each kind of exit are what the guide promises.
    #[test]
    fn every_job_that_leaves_the_guest_is_started_out_of() {
        let is_tried = |job: Job| {
            ALL.iter().any(|case| case.question == Question::Start && case.job == job && case.rounds == STARTS)
        };
        for &job in Job::ALL {
            assert!(is_tried(job) != matches!(job, Job::Garbage | Job::Puppet), "{}", job.name());
        }
        for &question in Question::ALL {
            assert!(ALL.iter().any(|case| case.question == question), "{}", question.name());
        }
    }
}
