//! One broadcast call that the host makes: what it is for, whom it calls, and what it brings.

use guest_stub::abi::{self, Destination, HOST_CALLERS, Mask, Worker};
use guest_stub::mask;
use std::time::Duration;
use thiserror::Error;

/// Why a call of the host has no results.
#[derive(Debug, Error)]
pub enum Error {
    /// A target that the machine does not have.
    #[error("vCPU {vcpu} is to be called, and the machine has {vcpus} (call 0 to {})", .vcpus - 1)]
    NoSuchVcpu {
        /// The target.
        vcpu: usize,
        /// How many there are.
        vcpus: usize,
    },
    /// No thread can be had that calls.
    #[error("starting a thread that calls: {0}")]
    NotStarted(std::io::Error),
    /// All callers are taken.
    #[error("{HOST_CALLERS} threads are calling at once, which is the most (make fewer calls at a time)")]
    TooManyCallers,
    /// Other calls kept a target busy for all of the deadline.
    #[error("other calls kept the targets busy for {} ms (raise the deadline)", .0.as_millis())]
    Busy(Duration),
    /// Somebody did not arrive, and nobody has run the worker.
    #[error("{} did not arrive within {} ms (is every vCPU in the guest, with interrupts on?)", list(.missing), .deadline.as_millis())]
    Silent {
        /// Who.
        missing: Vec<usize>,
        /// The call's deadline.
        deadline: Duration,
    },
    /// Somebody has not returned from the worker.
    #[error("{} did not return from the worker within {} ms", list(.missing), .deadline.as_millis())]
    Overstayed {
        /// Who.
        missing: Vec<usize>,
        /// The call's deadline.
        deadline: Duration,
    },
    /// The guest has not said what the host needs, or not what can be.
    #[error("the guest's word for its {0} makes no sense (the guest image is damaged or hostile)")]
    BadGuest(&'static str),
    /// KVM does not take the interrupt.
    #[error("KVM_SIGNAL_MSI: {0}")]
    Signal(std::io::Error),
    /// Guest memory cannot be accessed.
    #[error("accessing guest memory: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

fn list(vcpus: &[usize]) -> String {
    let names: Vec<_> = vcpus.iter().map(ToString::to_string).collect();
    format!("vCPU{} {}", if vcpus.len() == 1 { "" } else { "s" }, names.join(", "))
}

/// Whom the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callees<'a> {
    /// All vCPUs, by one message to the broadcast destination.
    All,
    /// All vCPUs, by a message each.
    Each,
    /// These, by a message each.
    These(&'a [usize]),
}

impl Callees<'_> {
    /// All vCPUs, as a destination addresses them.
    pub(super) const fn everybody(destination: Destination) -> Self {
        if destination.is_shorthand() { Self::All } else { Self::Each }
    }
}

/// What the host calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCall<'a> {
    /// What runs.
    pub worker: Worker,
    /// With which argument.
    pub argument: u64,
    /// On whom.
    pub targets: Callees<'a>,
    /// Whether each worker begins with an exit.
    pub observe: bool,
    /// After which time the call is given up.
    pub deadline: Duration,
}

/// What a completed call has brought. Stamps are in TSC cycles of the
/// [common clock](crate::events::clock::CommonClock).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostResults {
    /// The call's number.
    pub generation: u32,
    /// Before the send.
    pub t0: u64,
    /// After the send.
    pub t1: u64,
    /// Every completion has been seen.
    pub t2: u64,
    /// What each target's worker has returned, by rising number.
    pub values: Vec<(usize, u64)>,
    /// The interrupt was sent a second time: somebody had not arrived after half the deadline.
    pub resent: bool,
}

/// Whom a call is for.
pub(super) fn members(targets: Callees<'_>, vcpus: usize) -> Result<Mask, Error> {
    let mut members = [0; abi::MASK_WORDS];
    match targets {
        Callees::All | Callees::Each => (0..vcpus).for_each(|vcpu| mask::insert(&mut members, vcpu)),
        Callees::These(these) => {
            for &vcpu in these {
                if vcpu >= vcpus {
                    return Err(Error::NoSuchVcpu { vcpu, vcpus });
                }
                mask::insert(&mut members, vcpu);
            }
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_checked_and_become_a_mask() {
        let count = |targets, vcpus| {
            members(targets, vcpus).map(|members| members.iter().map(|word| word.count_ones()).sum::<u32>())
        };
        assert_eq!(count(Callees::All, 65).unwrap(), 65);
        assert_eq!(count(Callees::Each, 3).unwrap(), 3);
        assert_eq!(count(Callees::These(&[2, 0, 2]), 3).unwrap(), 2, "a set");
        assert_eq!(count(Callees::These(&[]), 3).unwrap(), 0);
        let error = count(Callees::These(&[1, 3]), 3).unwrap_err();
        assert_eq!(error.to_string(), "vCPU 3 is to be called, and the machine has 3 (call 0 to 2)");
    }

    #[test]
    fn the_silent_are_named() {
        let error = Error::Silent { missing: vec![1, 4], deadline: Duration::from_millis(20) };
        assert!(error.to_string().starts_with("vCPUs 1, 4 did not arrive within 20 ms"), "{error}");
    }
}
