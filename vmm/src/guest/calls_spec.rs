//! What calls are to be made, and what everybody counted meanwhile.

use crate::config::routes::{self, Route};
use crate::events::clock::cycles;
use guest_stub::abi::{
    Destination, Fault, MASK_WORDS, MAX_VCPUS, Mask, Set, Tally, TargetState, Wait, Worker, command,
};
use guest_stub::mask;
use std::time::Duration;

/// What the initiators are to do.
#[derive(Debug, Clone)]
pub struct CallsSpec {
    /// How the interrupt travels.
    pub route: Route,
    /// How the targets are addressed, where everybody is called.
    pub destination: Destination,
    /// What those who make no calls do.
    pub target_state: TargetState,
    /// How participants wait for each other.
    pub wait: Wait,
    /// What runs.
    pub worker: Worker,
    /// How long [`Worker::Verify`] is busy.
    pub work: Duration,
    /// Whether each worker begins with an exit.
    pub observe: bool,
    /// Calls of each initiator.
    pub calls: u32,
    /// Who makes calls.
    pub initiators: Vec<usize>,
    /// Whom each calls.
    pub set: Set,
    /// Whom, with [`Set::Mask`].
    pub members: Vec<usize>,
    /// With a setup and a teardown phase.
    pub phases: bool,
    /// Every step is an exit.
    pub stepped: bool,
    /// What is to go wrong.
    pub fault: Fault,
    /// Where generations go on from.
    pub last_generation: Option<u32>,
    /// Of random sets and pauses.
    pub seed: u32,
    /// The longest pause between two calls of an initiator.
    pub pause: Duration,
    /// What every vCPU's local APIC timer does meanwhile.
    pub timer: Timer,
    /// After which time a call is given up.
    pub deadline: Duration,
}

/// A local APIC's timer, whose interrupts are a device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Does not run.
    Off,
    /// Periodic. KVM's and this VMM's tick each ns.
    Periodic(Duration),
    /// Armed anew by each interrupt's handler, for so much later.
    Deadline(Duration),
}

impl Default for CallsSpec {
    /// vCPU 0 calls everybody, once.
    fn default() -> Self {
        Self {
            route: Route::X2Apic,
            destination: Destination::AllButSelf,
            target_state: TargetState::Spin,
            wait: Wait::Spin,
            worker: Worker::Verify,
            work: Duration::ZERO,
            observe: false,
            calls: 1,
            initiators: vec![0],
            set: Set::Everybody,
            members: Vec::new(),
            phases: false,
            stepped: false,
            fault: Fault::Nothing,
            last_generation: None,
            seed: 1,
            pause: Duration::ZERO,
            timer: Timer::Off,
            deadline: Duration::from_secs(10),
        }
    }
}

impl CallsSpec {
    /// For the guest's own initiators, whose TSC runs at `tsc_khz`.
    pub(super) fn calls_command(&self, tsc_khz: u64) -> command::Calls {
        command::Calls {
            route: routes::of(self.route).number_in_guest(),
            destination: self.destination as u32,
            target_state: self.target_state as u32,
            worker: self.worker as u32,
            observe: self.observe.into(),
            calls: self.calls,
            set: self.set as u32,
            fault: self.fault as u32,
            phases: self.phases.into(),
            stepped: self.stepped.into(),
            last_generation: self.last_generation.unwrap_or(0),
            seed: self.seed,
            timer_period: self.timer.period(),
            wait: self.wait as u32,
            timer_deadline: self.timer.deadline(tsc_khz),
            work: cycles(self.work, tsc_khz),
            pause: cycles(self.pause, tsc_khz),
            deadline: cycles(self.deadline, tsc_khz),
            initiators: mask_of(&self.initiators),
            members: mask_of(&self.members),
        }
    }

    /// For a guest that the host calls.
    pub(super) fn serve_command(&self, tsc_khz: u64) -> command::Serve {
        command::Serve {
            target_state: self.target_state as u32,
            observe: self.observe.into(),
            fault: self.fault as u32,
            last_generation: self.last_generation.unwrap_or(0),
            timer_period: self.timer.period(),
            wait: self.wait as u32,
            timer_deadline: self.timer.deadline(tsc_khz),
            work: cycles(self.work, tsc_khz),
            deadline: cycles(self.deadline, tsc_khz),
        }
    }
}

impl Timer {
    /// In ticks; zero: it is not periodic.
    fn period(self) -> u32 {
        match self {
            Self::Periodic(period) => u32::try_from(period.as_nanos()).unwrap_or(u32::MAX),
            Self::Off | Self::Deadline(_) => 0,
        }
    }

    /// In TSC cycles; zero: it is not armed by deadline.
    fn deadline(self, tsc_khz: u64) -> u64 {
        match self {
            Self::Deadline(later) => cycles(later, tsc_khz),
            Self::Off | Self::Periodic(_) => 0,
        }
    }
}

/// The processor mask of these vCPUs; those that the ABI has no room for are left out.
pub(super) fn mask_of(vcpus: &[usize]) -> Mask {
    let mut members = [0; MASK_WORDS];
    vcpus.iter().filter(|&&vcpu| vcpu < MAX_VCPUS).for_each(|&vcpu| mask::insert(&mut members, vcpu));
    members
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Calls {
    /// Calls that were made, completed or not.
    pub made: u32,
    /// Interrupts that no open call had asked for.
    pub duplicate: u32,
    /// Interrupts that came when their call had been given up.
    pub late: u32,
    /// Each vCPU's tally, and the completed calls that it took part in. After them, each calling thread's of the host.
    pub vcpus: Vec<(Tally, u32)>,
    /// The host has made them.
    pub by_host: bool,
}

impl Calls {
    /// The sum of a field over all vCPUs.
    pub fn sum(&self, field: impl Fn(&Tally) -> u32) -> u64 {
        self.vcpus.iter().map(|(tally, _)| u64::from(field(tally))).sum()
    }

    /// The first vCPU that ran the worker more or less often than it was asked to: which, how often, and how often asked.
    pub fn wrong_count(&self) -> Option<(usize, u32, u32)> {
        let counts = self.vcpus.iter().map(|(tally, asked)| (tally.runs, *asked)).enumerate();
        counts.map(|(vcpu, (runs, asked))| (vcpu, runs, asked)).find(|(_, runs, asked)| runs != asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_vcpu_that_there_can_be() {
        let mask = mask_of(&[0, 63, 64, 1023, 5000]);
        assert_eq!((mask[0], mask[1], mask[15]), (1 | 1 << 63, 1, 1 << 63));
        assert_eq!(mask.iter().map(|word| word.count_ones()).sum::<u32>(), 4);
    }

    #[test]
    fn a_worker_that_ran_too_often_is_found() {
        let vcpu = |runs, asked| (Tally { runs, ..Tally::default() }, asked);
        let calls = |vcpus| Calls { made: 3, duplicate: 0, late: 0, vcpus, by_host: false };
        assert_eq!(calls(vec![vcpu(3, 3), vcpu(3, 3)]).wrong_count(), None);
        assert_eq!(calls(vec![vcpu(3, 3), vcpu(4, 3)]).wrong_count(), Some((1, 4, 3)));
        assert_eq!(calls(vec![vcpu(3, 3), vcpu(4, 3)]).sum(|tally| tally.runs), 7);
    }
}
