//! Bug checks: rules that the guest found broken, and the watchdog that asks it to look.

use super::place::place;
use crate::events::exit::{Exit, ExitKind};
use crate::vcpu::interrupt::Injection;
use crate::vcpu::stop::{StopReason, Stopped};
use crate::vm::Vm;
use crate::vm::wire;
use guest_stub::abi::{self, BugCheck, CommandPage, Rule};
use std::fmt;
use std::mem::offset_of;
use std::time::{Duration, Instant};
use vm_memory::{GuestAddress, GuestMemoryError};

/// How long the main thread waits between two looks at the clock.
const LOOK: Duration = Duration::from_millis(100);
/// How long a vCPU may take to answer an NMI, or to leave the guest when it is kicked.
const PATIENCE: Duration = Duration::from_secs(2);

/// A broken rule, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BugReport {
    /// The rule; `None` if the guest names one that does not exist.
    pub rule: Option<Rule>,
    /// The vCPU that it happened on.
    pub vcpu: u32,
    /// The vCPU that reported it.
    pub reporter: usize,
    /// Exception or interrupt vector.
    pub vector: u32,
    /// The exception's error code.
    pub error_code: u64,
    /// IRQL at that moment.
    pub irql: u32,
    /// CR2.
    pub cr2: u64,
    /// The call's generation, or zero.
    pub generation: u32,
    /// Where.
    pub place: String,
    /// A panic's message.
    pub message: String,
}

impl BugReport {
    /// From what the guest left, found by `reporter`, at `place`.
    pub fn new(bug: &BugCheck, reporter: usize, place: String) -> Self {
        let length = (bug.message_len as usize).min(bug.message.len());
        let message = String::from_utf8_lossy(&bug.message[..length]);
        Self {
            rule: Rule::from_wire(bug.rule),
            vcpu: bug.vcpu,
            reporter,
            vector: bug.vector,
            error_code: bug.error_code,
            irql: bug.irql,
            cr2: bug.cr2,
            generation: bug.generation,
            place,
            // The text is the guest's: it may not reach the terminal as control characters.
            message: message.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        }
    }
}

const PAGE_FAULT: u32 = 14;

/// An exception's mnemonic (SDM Vol. 3A table 7-1).
fn exception(vector: u32) -> &'static str {
    const NAMES: [&str; 22] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#CSO", "#TS", "#NP", "#SS", "#GP", "#PF",
        "reserved", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
    ];
    NAMES.get(vector as usize).copied().unwrap_or("reserved")
}

impl fmt::Display for BugReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vcpu, vector, error_code, irql, generation, place, .. } = self;
        write!(f, "bug check on vCPU {vcpu}: ")?;
        match self.rule {
            Some(Rule::Exception) => {
                write!(f, "{} (vector {vector}, error code {error_code:#x}) at {place}", exception(*vector))?;
                if *vector == PAGE_FAULT {
                    write!(f, ", address {:#x}", self.cr2)?;
                }
            }
            Some(Rule::UnexpectedInterrupt) => write!(f, "unexpected interrupt, vector {vector:#x}, at {place}")?,
            Some(Rule::Panic) => write!(f, "guest panic: {}", self.message)?,
            Some(Rule::HypercallRefused) => write!(f, "KVM refused a hypercall: {}", self.message)?,
            Some(Rule::WorkerOverstayed) => {
                let found_by = self.reporter;
                write!(
                    f,
                    "the worker did not return within the call's deadline (found by vCPU {found_by}), is at {place}"
                )?;
            }
            Some(Rule::PageableMemory) => {
                write!(
                    f,
                    "memory that may be paged out was touched at raised IRQL, at {place}, address {:#x}",
                    self.cr2
                )?;
            }
            Some(rule @ (Rule::InterruptsEnabled | Rule::IrqlLowered | Rule::LockAboveItsLevel | Rule::NestedCall)) => {
                write!(f, "{}, in {place}", rule.name())?;
            }
            None => write!(f, "unknown rule, at {place}")?,
        }
        write!(f, ", IRQL {irql}, generation {generation}")
    }
}

/// What the guest has left in the command page, where `reporter` says that it has found a broken rule.
pub(super) fn read(vm: &Vm, image: &[u8], reporter: usize) -> Result<BugReport, GuestMemoryError> {
    let address = abi::COMMAND_PAGE + offset_of!(CommandPage, bug_check) as u64;
    let bug: BugCheck = wire::read(vm.memory(), GuestAddress(address))?;
    Ok(BugReport::new(&bug, reporter, place_of(vm, image, &bug)))
}

/// Where the rule was broken: the guest says, but for a worker that does not return. That one is looked up.
fn place_of(vm: &Vm, image: &[u8], bug: &BugCheck) -> String {
    let vcpu = bug.vcpu as usize;
    if Rule::from_wire(bug.rule) != Some(Rule::WorkerOverstayed) || bug.rip != 0 || vcpu >= vm.vcpus() {
        return place(image, bug.rip);
    }
    vm.pause(vcpu);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(Stopped { vcpu: from, reason: StopReason::Paused, state: Some(at) }) = vm.wait(LOOK)
            && from == vcpu
        {
            return place(image, at.rip);
        }
    }
    "an unknown place".to_owned()
}

/// Sends every vCPU an NMI: one whose worker overstays its deadline answers with a bug check, and is returned.
pub(super) fn ask_watchdogs(vm: &Vm) -> Option<usize> {
    for vcpu in 0..vm.vcpus() {
        // A vCPU that cannot be sent an NMI gives no answer either.
        let _ = vm.inject(vcpu, Injection::Nmi);
    }
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let stopped = vm.wait(LOOK);
        if let Some(Stopped { vcpu, reason: StopReason::Unhandled(Exit { kind: ExitKind::BugCheck, .. }), .. }) =
            stopped
        {
            return Some(vcpu);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::abi::MESSAGE_BYTES;

    fn bug(rule: u32) -> BugCheck {
        BugCheck {
            rule,
            vcpu: 1,
            vector: 14,
            irql: 14,
            error_code: 2,
            rip: 0x10_2000,
            rsp: 0,
            cr2: 0xdead_0000,
            generation: 8,
            message_len: u32::MAX,
            message: [b'\x1b'; MESSAGE_BYTES],
        }
    }

    #[test]
    fn a_page_fault_names_vcpu_vector_error_rip_and_address() {
        let text = BugReport::new(&bug(Rule::Exception as u32), 1, "RIP 0x102000".to_owned()).to_string();
        assert_eq!(
            text,
            "bug check on vCPU 1: #PF (vector 14, error code 0x2) at RIP 0x102000, address 0xdead0000, IRQL 14, \
             generation 8"
        );
    }

    #[test]
    fn a_hostile_report_is_still_one_clean_line() {
        let text = BugReport::new(&bug(Rule::Panic as u32), 1, String::new()).to_string();
        assert!(text.contains(&"?".repeat(MESSAGE_BYTES)) && !text.contains('\x1b'));
        let text = BugReport::new(&bug(99), 1, "RIP 0x0".to_owned()).to_string();
        assert!(text.starts_with("bug check on vCPU 1: unknown rule, at RIP 0x0"), "{text}");
    }
}
