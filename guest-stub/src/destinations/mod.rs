//! How the targets of a call of all processors are addressed: a file each, and one list of them.
//!
//! A destination is a sequence of sends, which every route of the guest makes in its own way, and the set of processors
//! that they reach, which guest, rounds and report share.

#![deny(clippy::wildcard_enum_match_arm)]

mod all;
mod all_but_self;
mod logical;
mod ping;
mod unicast;

pub use all::All;
pub use all_but_self::AllButSelf;
pub use logical::Logical;
pub use unicast::Unicast;

use crate::abi::Destination;

/// What one send addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Everybody but the sender, by shorthand.
    AllButSelf,
    /// Everybody, the sender included, by shorthand.
    All,
    /// The processor with this index.
    One(usize),
    /// The processors that this message destination address selects, in logical destination mode.
    Logical(u32),
}

/// What all sends of a destination have in common: [`To`] without the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`To::AllButSelf`].
    AllButSelf,
    /// [`To::All`].
    All,
    /// [`To::One`].
    One,
    /// [`To::Logical`].
    Logical,
}

impl To {
    /// Its kind.
    pub const fn kind(self) -> Kind {
        match self {
            Self::AllButSelf => Kind::AllButSelf,
            Self::All => Kind::All,
            Self::One(_) => Kind::One,
            Self::Logical(_) => Kind::Logical,
        }
    }
}

impl Kind {
    /// The send by shorthand, which needs no address; `None` for the kinds that do.
    pub const fn shorthand(self) -> Option<To> {
        match self {
            Self::AllButSelf => Some(To::AllButSelf),
            Self::All => Some(To::All),
            Self::One | Self::Logical => None,
        }
    }
}

/// A processor that makes a call of all processors.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Its index.
    pub index: usize,
    /// How many processors there are.
    pub processors: usize,
    /// Whether the local APICs are in x2APIC mode, which decides their logical ids.
    pub in_x2apic_mode: bool,
    /// The APIC id of each processor, by its index.
    pub apic_id: fn(usize) -> u32,
}

impl Sender {
    /// Whom a send by shorthand reaches, by rising number; `None`: it is none.
    pub fn reached_by(self, to: To) -> Option<impl Iterator<Item = usize> + Clone> {
        let destination = match to {
            To::AllButSelf => Destination::AllButSelf,
            To::All => Destination::All,
            To::One(_) | To::Logical(_) => return None,
        };
        Some(destination.targets(Some(self.index), self.processors))
    }
}

/// A destination, as routes consume it.
pub trait Addressing {
    /// Whether the sender gets the interrupt, too.
    const INCLUDES_SENDER: bool;
    /// The kind of its sends. A shorthand is one send.
    const KIND: Kind;

    /// Names every send of one call. Not for the measured window: the sends are encoded before it.
    fn for_each_send(sender: Sender, send: impl FnMut(To));
}

/// The list of a broadcast call's destinations: `with_destination!(destination, D => expression, else other)` is the expression
/// with the destination's own type as `D`, and `other` for those that only pings have. Code that is generic over destinations
/// is chosen by it, once for many calls.
#[macro_export]
macro_rules! with_destination {
    ($destination:expr, $D:ident => $generic:expr, else $other:expr) => {
        $crate::with_destination!(@ $destination, $D, $generic, $other, AllButSelf All Unicast Logical, Itself SelfIpi Mesh)
    };
    (@ $destination:expr, $D:ident, $generic:expr, $other:expr, $($name:ident)+, $($of_pings:ident)+) => {
        match $destination {
            $($crate::abi::Destination::$name => {
                type $D = $crate::destinations::$name;
                $generic
            })+
            $($crate::abi::Destination::$of_pings)|+ => $other,
        }
    };
}

impl Destination {
    /// Whether a broadcast call has it.
    pub const fn is_of_broadcasts(self) -> bool {
        match self {
            Self::AllButSelf | Self::All | Self::Unicast | Self::Logical => true,
            Self::Itself | Self::SelfIpi | Self::Mesh => false,
        }
    }

    /// Whether the sender of a broadcast call gets the interrupt, too.
    pub const fn includes_sender(self) -> bool {
        with_destination!(self, D => <D as Addressing>::INCLUDES_SENDER, else false)
    }

    /// Whether a broadcast call is one send, by shorthand.
    pub const fn is_shorthand(self) -> bool {
        with_destination!(self, D => <D as Addressing>::KIND.shorthand().is_some(), else false)
    }

    /// Who gets an interrupt in a call of all of `vcpus` vCPUs, by rising number. Nobody among them is the sender where the
    /// host is.
    pub fn targets(self, sender: Option<usize>, vcpus: usize) -> impl Iterator<Item = usize> + Clone {
        (0..vcpus).filter(move |&vcpu| self.includes_sender() || Some(vcpu) != sender)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    const PROCESSORS: usize = 5;

    fn sends(destination: Destination, index: usize) -> Vec<To> {
        let sender = Sender {
            index,
            processors: PROCESSORS,
            in_x2apic_mode: true,
            apic_id: |index| u32::try_from(index).unwrap(),
        };
        let mut sends = Vec::new();
        with_destination!(destination, D => D::for_each_send(sender, |to| sends.push(to)), else ());
        sends
    }

    /// The processors of the first cluster that a message destination address selects.
    fn selected(address: u32) -> Vec<usize> {
        (0..16).filter(|&vcpu| address >> vcpu & 1 == 1).collect()
    }

    #[test]
    fn sends_reach_the_targets_and_nobody_else() {
        for &destination in Destination::ALL.iter().filter(|it| it.is_of_broadcasts()) {
            for sender in 0..PROCESSORS {
                let reached: Vec<usize> = sends(destination, sender)
                    .into_iter()
                    .flat_map(|to| match to {
                        To::AllButSelf => (0..PROCESSORS).filter(|&vcpu| vcpu != sender).collect(),
                        To::All => (0..PROCESSORS).collect(),
                        To::One(vcpu) => std::vec![vcpu],
                        To::Logical(address) => selected(address),
                    })
                    .collect();
                let targets: BTreeSet<usize> = destination.targets(Some(sender), PROCESSORS).collect();
                assert_eq!(reached.iter().copied().collect::<BTreeSet<_>>(), targets, "{}", destination.name());
                assert_eq!(reached.len(), targets.len(), "{}: nobody is interrupted twice", destination.name());
            }
        }
    }

    #[test]
    fn a_shorthand_is_one_send_and_unicast_is_one_a_target() {
        assert_eq!(sends(Destination::AllButSelf, 2), [To::AllButSelf]);
        assert_eq!(sends(Destination::All, 2), [To::All]);
        assert_eq!(sends(Destination::Unicast, 2), [0, 1, 3, 4].map(To::One));
        assert_eq!(sends(Destination::Logical, 2), [To::Logical(0b1_1011)]);
        for &destination in Destination::ALL.iter().filter(|it| it.is_of_broadcasts()) {
            let sends = sends(destination, 0);
            let kind = with_destination!(destination, D => <D as Addressing>::KIND, else continue);
            assert!(sends.iter().all(|to| to.kind() == kind), "{}", destination.name());
            let by_shorthand = sends.iter().all(|to| matches!(to, To::AllButSelf | To::All));
            assert_eq!(destination.is_shorthand(), by_shorthand, "{}", destination.name());
            assert!(kind.shorthand().is_none_or(|to| sends == [to]), "{}", destination.name());
        }
    }

    #[test]
    fn the_host_calls_everybody() {
        assert_eq!(Destination::AllButSelf.targets(None, 3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Destination::Unicast.targets(None, 3).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
