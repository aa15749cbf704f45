//! Which calls an initiator of [`Operation::Calls`](crate::abi::Operation::Calls) makes: whom each is for, with which
//! argument, and after what pause. The guest's initiators and the host's follow the same plan.

use crate::abi::{MASK_WORDS, Mask, Set};
use crate::mask;
use crate::random::SplitMix64;
use crate::verify;

/// What all initiators have in common.
#[derive(Debug, Clone, Copy)]
pub struct Initiators<'a> {
    /// Whom each calls.
    pub set: Set,
    /// Whom, with [`Set::Mask`].
    pub members: &'a Mask,
    /// The processors that make calls: none of them where the host does.
    pub processors: &'a Mask,
    /// How many initiators there are.
    pub count: usize,
    /// How many processors there are.
    pub vcpus: usize,
    /// Seed of random sets and pauses.
    pub seed: u32,
    /// The longest pause before a call, in the initiator's own unit of time.
    pub pause: u64,
}

/// The calls of one initiator.
#[derive(Debug)]
pub struct Plan<'a> {
    initiators: Initiators<'a>,
    /// Its place among the initiators.
    rank: usize,
    /// The initiator as the argument of its calls names it: a processor, or a caller of the host after all of them.
    initiator: usize,
    made: u32,
    random: SplitMix64,
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedCall {
    /// How long to wait before it.
    pub pause: u64,
    /// Whom it is for.
    pub members: Mask,
    /// The worker's argument ([`verify::argument`]).
    pub argument: u64,
}

impl<'a> Plan<'a> {
    /// The plan of `initiator`, the one with `rank` of them other initiators before it.
    pub const fn new(initiators: Initiators<'a>, rank: usize, initiator: usize) -> Self {
        let random = SplitMix64((initiators.seed as u64) << 32 | initiator as u64);
        Self { initiators, rank, initiator, made: 0, random }
    }

    /// The next call.
    #[expect(clippy::cast_possible_truncation, reason = "initiators are few, and a pause fits a word")]
    pub fn next_call(&mut self) -> PlannedCall {
        let pause = self.random.below(self.initiators.pause as usize) as u64;
        let members = self.members();
        let argument = verify::argument(self.initiator as u32, self.made);
        self.made += 1;
        PlannedCall { pause, members, argument }
    }

    fn members(&mut self) -> Mask {
        let Initiators { set, members, processors, count, vcpus, .. } = self.initiators;
        let (rank, random) = (self.rank, &mut self.random);
        // An initiator on the host is no member of its own sets.
        let itself = (self.initiator < vcpus).then_some(self.initiator);
        let mut chosen = [0; MASK_WORDS];
        let mut add = |vcpu: usize| mask::insert(&mut chosen, vcpu);
        match set {
            Set::Everybody => (0..vcpus).for_each(add),
            Set::Mask => mask::indices(members).filter(|&vcpu| vcpu < vcpus).for_each(add),
            Set::Random => (0..vcpus).filter(|_| random.below(2) == 1).for_each(add),
            Set::Disjoint => {
                itself.into_iter().for_each(&mut add);
                let shared = (0..vcpus).filter(|&vcpu| !mask::contains(processors, vcpu));
                shared.filter(|vcpu| vcpu % count == rank).for_each(add);
            }
            Set::Overlapping => (0..3).for_each(|next| add((itself.unwrap_or(rank) + next) % vcpus)),
            Set::Nobody => {}
            Set::Itself => itself.into_iter().for_each(add),
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::abi::HOST_INITIATOR;
    use std::vec::Vec;

    const VCPUS: usize = 8;

    fn mask_of(members: &[usize]) -> Mask {
        let mut mask = [0; MASK_WORDS];
        for &member in members {
            mask::insert(&mut mask, member);
        }
        mask
    }

    /// The members of the first call of `initiator`, which has `rank` of the two initiators before it.
    fn first(set: Set, processors: &[usize], rank: usize, initiator: usize) -> Vec<usize> {
        let (members, processors) = (mask_of(&[1, 5, 100]), mask_of(processors));
        let initiators =
            Initiators { set, members: &members, processors: &processors, count: 2, vcpus: VCPUS, seed: 3, pause: 0 };
        mask::indices(&Plan::new(initiators, rank, initiator).next_call().members).collect()
    }

    #[test]
    fn sets_are_what_their_names_say() {
        assert_eq!(first(Set::Everybody, &[2, 4], 1, 4), (0..VCPUS).collect::<Vec<_>>());
        assert_eq!(first(Set::Mask, &[2, 4], 1, 4), [1, 5], "there is no vCPU 100");
        assert_eq!(first(Set::Overlapping, &[2, 7], 1, 7), [0, 1, 7]);
        assert_eq!(first(Set::Itself, &[2, 4], 1, 4), [4]);
        assert!(first(Set::Nobody, &[2, 4], 1, 4).is_empty());
    }

    #[test]
    fn nobody_is_in_two_disjoint_sets() {
        let (one, other) = (first(Set::Disjoint, &[2, 4], 0, 2), first(Set::Disjoint, &[2, 4], 1, 4));
        assert_eq!((one, other), (std::vec![0, 2, 6], std::vec![1, 3, 4, 5, 7]));
    }

    #[test]
    fn the_host_is_in_none_of_its_sets() {
        let first = |set, rank| first(set, &[], rank, HOST_INITIATOR + rank);
        assert_eq!(first(Set::Disjoint, 0), [0, 2, 4, 6]);
        assert_eq!(first(Set::Disjoint, 1), [1, 3, 5, 7]);
        assert_eq!(first(Set::Overlapping, 1), [1, 2, 3]);
        assert!(first(Set::Itself, 1).is_empty());
    }

    #[test]
    fn each_initiators_calls_are_its_own_and_the_same_every_time() {
        let calls = |initiator| {
            let none = [0; MASK_WORDS];
            let initiators = Initiators {
                set: Set::Random,
                members: &none,
                processors: &none,
                count: 2,
                vcpus: 64,
                seed: 7,
                pause: 1000,
            };
            let mut plan = Plan::new(initiators, 0, initiator);
            [plan.next_call(), plan.next_call()]
        };
        assert_eq!(calls(0), calls(0));
        assert_ne!(calls(0)[0].members, calls(1)[0].members);
        assert_ne!(calls(0)[0].members, calls(0)[1].members);
        assert!(calls(0).iter().all(|call| call.pause < 1000));
        assert_eq!(calls(3).map(|call| call.argument), [verify::argument(3, 0), verify::argument(3, 1)]);
    }
}
