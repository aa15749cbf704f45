//! HLT, which ends with the handler's first instructions: at once, or after a sleep.

use super::Times;
use super::interrupt;
use crate::cpu::{apic, tsc};
use crate::processor::Private;
use guest_stub::abi::VECTOR_ACT;
use guest_stub::abi::command::Acts;

/// The interrupt is pending, so that nothing sleeps.
pub(super) fn before_pending(private: &Private) -> u64 {
    interrupt::raise(private);
    0
}

pub(super) fn pending(private: &Private, _: &Acts, _: u64) -> Times {
    let from = tsc::stamp_after_loads();
    let to = interrupt::take(private);
    Times { from: from.value(), to }
}

pub(super) fn before_timer(private: &Private) -> u64 {
    // A deadline of zero disarms it (SDM Vol. 3A 12.5.4.1).
    private.apic.start_deadline_timer(VECTOR_ACT, 0);
    0
}

/// The timer wakes the processor, which is to be in HLT before the deadline; else the sample does not count. What the way into
/// HLT costs is over by then.
pub(super) fn timer(private: &Private, command: &Acts, _: u64) -> Times {
    let deadline = tsc::now().wrapping_add(command.sleep);
    apic::arm_timer(deadline);
    let is_in_time = tsc::now() < deadline;
    let to = interrupt::take(private);
    if is_in_time { Times { from: deadline, to } } else { Times::default() }
}

pub(super) fn after_timer(private: &Private) {
    interrupt::end(private);
    private.apic.stop_timer();
}
