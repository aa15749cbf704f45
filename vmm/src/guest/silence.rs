//! vCPUs that do not answer: which, and where every vCPU was.

use super::error::Error;
use super::place::place;
use crate::vcpu::state::VcpuState;
use crate::vcpu::stop::{StopReason, Stopped};
use crate::vm::Vm;
use guest_stub::abi::{Report, Status};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What did not happen in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Participants of a call did not arrive.
    NeverArrived {
        /// Rounds of the block before it.
        round: u32,
        /// The call's generation.
        generation: u32,
    },
    /// Targets did not get into their state.
    NotInState {
        /// Rounds of the block before it.
        round: u32,
    },
    /// A vCPU did not answer, or did not come back.
    NoAnswer,
    /// vCPU 0 neither rang the doorbell nor completed a call.
    NoProgress,
}

impl Silence {
    /// What vCPU 0 reports of a command; `None`: everything happened.
    ///
    /// # Errors
    /// [`Error::BadReport`].
    pub(super) fn told_by(report: &Report) -> Result<Option<Self>, Error> {
        match Status::from_wire(report.status) {
            Some(Status::Done) => Ok(None),
            Some(Status::Aborted) => {
                Ok(Some(Self::NeverArrived { round: report.rounds, generation: report.generation }))
            }
            Some(Status::NotReady) => Ok(Some(Self::NotInState { round: report.rounds })),
            Some(Status::NotResponding) => Ok(Some(Self::NoAnswer)),
            Some(Status::BadCommand) => Err(Error::BadReport("it does not know the command".to_owned())),
            None => Err(Error::BadReport(format!("status {}", report.status))),
        }
    }
}

/// Which vCPUs were silent, and where every vCPU was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was going on.
    pub operation: &'static str,
    /// What did not happen.
    pub silence: Silence,
    /// Within which time.
    pub waited: Duration,
    /// The silent vCPUs, if they are known.
    pub missing: Vec<usize>,
    /// Where each vCPU was, and that place in words; `None` for one that was not in the guest or did not leave it.
    pub places: Vec<Option<(VcpuState, String)>>,
}

/// vCPUs that were paused before, and where.
pub(super) type Paused = BTreeMap<usize, Option<VcpuState>>;

/// Gets every vCPU out of the guest and says where each was. `is_idle`: vCPU 0 has rung the doorbell, waits outside the guest,
/// and does not answer.
pub(super) fn places(vm: &Vm, image: &[u8], paused: &Paused, is_idle: bool) -> Vec<Option<(VcpuState, String)>> {
    const LOOK: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(2);
    let vcpus = vm.vcpus();
    (0..vcpus).for_each(|vcpu| vm.pause(vcpu));
    let mut states: Vec<Option<VcpuState>> = vec![None; vcpus];
    let mut answers = paused.len();
    for (&vcpu, &state) in paused {
        states[vcpu] = state;
    }
    let start = Instant::now();
    while answers < vcpus && start.elapsed() < PATIENCE {
        if is_idle && answers == vcpus - 1 && states[0].is_none() {
            break;
        }
        match vm.wait(LOOK) {
            Some(Stopped { vcpu, reason: StopReason::Paused | StopReason::Unhandled(_), state }) => {
                states[vcpu] = state;
                answers += 1;
            }
            Some(Stopped {
                reason: StopReason::Doorbell | StopReason::NotPinned { .. } | StopReason::NotSent { .. },
                ..
            }) => answers += 1,
            None => {}
        }
    }
    states.into_iter().map(|at| at.map(|at| (at, place(image, at.rip)))).collect()
}

/// vCPUs whose place is spelled out; a machine may have a thousand.
const SPELLED_OUT: usize = 8;

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.waited.as_millis();
        write!(f, "{}: ", self.operation)?;
        match self.silence {
            Silence::NeverArrived { round, generation } => {
                write!(f, "round {round} (generation {generation}) did not come back within {ms} ms")?;
                // Who it was may not be known.
                f.write_str(if self.missing.is_empty() { "" } else { "; never arrived" })?;
            }
            Silence::NotInState { round } => write!(f, "not in their state within {ms} ms before round {round}")?,
            Silence::NoAnswer => write!(f, "no answer within {ms} ms")?,
            Silence::NoProgress => write!(f, "vCPU 0 has made no progress for {ms} ms")?,
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
            match self.places.get(vcpu) {
                Some(Some((at, place))) => {
                    write!(f, "; vCPU {vcpu} is {} at {place}, IRQL {}", at.activity.name(), at.irql)?;
                }
                // Nobody has looked, or it waits for a command outside the guest.
                None => {}
                Some(None) if vcpu == 0 => {}
                Some(None) => write!(f, "; vCPU {vcpu} does not leave the guest")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::activity::Activity;

    #[test]
    fn who_never_arrived_comes_first_with_its_place() {
        let at = |rip, irql, activity| Some((VcpuState { rip, irql, activity }, format!("RIP {rip:#x}")));
        let diagnosis = Diagnosis {
            operation: "broadcasting",
            silence: Silence::NeverArrived { round: 3, generation: 16 },
            waited: Duration::from_millis(300),
            missing: vec![2],
            places: vec![None, at(0x1000, 14, Activity::Running), at(0x2000, 0, Activity::Halted)],
        };
        assert_eq!(
            diagnosis.to_string(),
            "broadcasting: round 3 (generation 16) did not come back within 300 ms; never arrived: vCPU 2; \
             vCPU 2 is halted at RIP 0x2000, IRQL 0; vCPU 1 is running at RIP 0x1000, IRQL 14"
        );
    }

    #[test]
    fn where_nobody_is_known_to_be_missing_nobody_is_said_to_be() {
        let at = VcpuState { rip: 0x1000, irql: 14, activity: Activity::Running };
        let diagnosis = Diagnosis {
            operation: "broadcasting",
            silence: Silence::NeverArrived { round: 3, generation: 16 },
            waited: Duration::from_millis(300),
            missing: Vec::new(),
            places: vec![None, Some((at, "RIP 0x1000".to_owned()))],
        };
        assert_eq!(
            diagnosis.to_string(),
            "broadcasting: round 3 (generation 16) did not come back within 300 ms; vCPU 1 is running at RIP 0x1000, IRQL 14"
        );
    }

    #[test]
    fn a_thousand_silent_vcpus_fit_in_a_line() {
        let diagnosis = Diagnosis {
            operation: "booting",
            silence: Silence::NoAnswer,
            waited: Duration::from_secs(1),
            missing: (1..1024).collect(),
            places: vec![None; 1024],
        };
        assert!(diagnosis.to_string().len() < 500, "{diagnosis}");
        assert!(diagnosis.to_string().contains("and 1015 more"));
    }
}
