//! Who may call: the owner of all the slots of a call.

use super::slot::Slot;

/// Makes `initiator` the owner of `slots`, which come in rising order of their processors and have its own among them.
/// `relax` is called while somebody else owns one: calls on this processor must be served meanwhile.
pub fn acquire<'a>(slots: impl Iterator<Item = &'a Slot>, initiator: u32, relax: impl Fn()) {
    for slot in slots {
        while !slot.try_own(initiator) {
            relax();
        }
    }
}

/// As [`acquire`], for as long as `keep_trying` says. `false`: it does not own any of them.
pub fn try_acquire<'a>(
    slots: impl Iterator<Item = &'a Slot> + Clone,
    initiator: u32,
    mut keep_trying: impl FnMut() -> bool,
) -> bool {
    for (owned, slot) in slots.clone().enumerate() {
        while !slot.try_own(initiator) {
            if !keep_trying() {
                release(slots.take(owned));
                return false;
            }
        }
    }
    true
}

/// Gives the slots back: when every participant is done, or after an abort.
pub fn release<'a>(slots: impl Iterator<Item = &'a Slot>) {
    slots.for_each(Slot::disown);
}
