//! What went wrong in the guest, in words: bug checks, and vCPUs that do not answer.

use crate::vcpu::state::VcpuState;
use crate::vm::image;
use guest_stub::abi::{BugCheck, Rule, Status};
use std::fmt;
use std::time::Duration;

/// An address of the guest as people want it: the number, and the function if the image tells.
pub fn place(image: &[u8], rip: u64) -> String {
    match image::symbolise(image, rip) {
        Some(name) => format!("RIP {rip:#x} <{name}>"),
        None => format!("RIP {rip:#x}"),
    }
}

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

/// Which vCPUs were waited for in vain, and where every vCPU was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was going on.
    pub operation: &'static str,
    /// The round that did not come back, if it is known.
    pub round: Option<u32>,
    /// Generation of its call.
    pub generation: Option<u32>,
    /// What the guest says; `None` if it says nothing.
    pub status: Option<Status>,
    /// How long was waited.
    pub waited: Duration,
    /// Who was waited for.
    pub missing: Vec<usize>,
    /// Where each vCPU was, and that place in words; `None` for one that was not in the guest or did not answer.
    pub places: Vec<Option<(VcpuState, String)>>,
}

/// vCPUs whose place is spelled out; a machine may have a thousand.
const SPELLED_OUT: usize = 8;

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waited = self.waited.as_millis();
        write!(f, "{}: ", self.operation)?;
        match (self.status, self.generation, self.round) {
            (Some(Status::Aborted), Some(generation), Some(round)) => {
                write!(
                    f,
                    "round {round} (generation {generation}) did not come back within {waited} ms; never arrived"
                )?;
            }
            (Some(Status::NotReady), _, Some(round)) => {
                write!(f, "not in their state within {waited} ms before round {round}")?;
            }
            (Some(_), ..) => write!(f, "no answer within {waited} ms")?,
            (None, ..) => write!(f, "vCPU 0 has made no progress for {waited} ms")?,
        }
        if !self.missing.is_empty() {
            let names: Vec<String> = self.missing.iter().take(SPELLED_OUT).map(ToString::to_string).collect();
            write!(f, ": vCPU {}", names.join(", "))?;
            if self.missing.len() > SPELLED_OUT {
                write!(f, " and {} more", self.missing.len() - SPELLED_OUT)?;
            }
        }
        let missing = self.missing.iter().copied();
        let others = (0..self.places.len()).filter(|vcpu| !self.missing.contains(vcpu));
        for vcpu in missing.chain(others).take(SPELLED_OUT) {
            match &self.places[vcpu] {
                Some((at, place)) => {
                    write!(f, "; vCPU {vcpu} {} at {place}, IRQL {}", at.activity.name(), at.irql)?;
                }
                None if vcpu == 0 => {}
                None => write!(f, "; vCPU {vcpu} does not leave the guest")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::state::Activity;
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

    #[test]
    fn who_never_arrived_comes_first_with_its_place() {
        let at = |rip, irql, activity| Some((VcpuState { rip, irql, activity }, format!("RIP {rip:#x}")));
        let diagnosis = Diagnosis {
            operation: "broadcasting",
            round: Some(3),
            generation: Some(16),
            status: Some(Status::Aborted),
            waited: Duration::from_millis(300),
            missing: vec![2],
            places: vec![None, at(0x1000, 14, Activity::Running), at(0x2000, 0, Activity::Halted)],
        };
        assert_eq!(
            diagnosis.to_string(),
            "broadcasting: round 3 (generation 16) did not come back within 300 ms; never arrived: vCPU 2; \
             vCPU 2 halted at RIP 0x2000, IRQL 0; vCPU 1 running at RIP 0x1000, IRQL 14"
        );
    }

    #[test]
    fn a_thousand_silent_vcpus_fit_in_a_line() {
        let diagnosis = Diagnosis {
            operation: "booting",
            round: Some(0),
            generation: None,
            status: Some(Status::NotResponding),
            waited: Duration::from_secs(1),
            missing: (1..1024).collect(),
            places: vec![None; 1024],
        };
        assert!(diagnosis.to_string().len() < 500, "{diagnosis}");
        assert!(diagnosis.to_string().contains("and 1015 more"));
    }
}
