//! Who sends pings, and whom each of them is for: what guest and VMM have to agree on.

use crate::abi::Destination;
use core::ops::Range;

impl Destination {
    /// The target of a ping of `sender`, among so many vCPUs: always one. `None`: there is none, or a ping has no such
    /// destination.
    pub const fn pinged_by(self, sender: usize, vcpus: usize) -> Option<usize> {
        match self {
            Self::Unicast | Self::Mesh if vcpus > 1 => Some((sender + 1) % vcpus),
            Self::Itself | Self::SelfIpi => Some(sender),
            Self::Unicast | Self::Mesh | Self::AllButSelf | Self::All | Self::Logical => None,
        }
    }

    /// The vCPUs that send a ping in each round, among so many, where `initiator` is asked to.
    pub const fn senders(self, initiator: usize, vcpus: usize) -> Range<usize> {
        match self {
            Self::Mesh => 0..vcpus,
            Self::AllButSelf | Self::All | Self::Unicast | Self::Logical | Self::Itself | Self::SelfIpi => {
                initiator..initiator + 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_has_one_target() {
        assert_eq!(Destination::Unicast.pinged_by(0, 4), Some(1));
        assert_eq!(Destination::Unicast.pinged_by(3, 4), Some(0));
        assert_eq!(Destination::Unicast.pinged_by(0, 1), None, "nobody else is there");
        assert_eq!(Destination::Itself.pinged_by(2, 3), Some(2));
        assert_eq!(Destination::SelfIpi.pinged_by(0, 1), Some(0));
        assert_eq!(Destination::AllButSelf.pinged_by(0, 2), None, "a broadcast's");
    }

    #[test]
    fn in_a_mesh_everybody_sends_and_is_pinged_once() {
        let mesh = Destination::Mesh;
        let mut pinged = [0; 5];
        for sender in mesh.senders(0, 5) {
            pinged[mesh.pinged_by(sender, 5).unwrap()] += 1;
        }
        assert_eq!(pinged, [1; 5]);
        assert_eq!(Destination::Unicast.senders(3, 5), 3..4);
    }
}
