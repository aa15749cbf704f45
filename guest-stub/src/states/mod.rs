//! The target states: what a processor does until it is interrupted, and how an interrupt sees that it was doing it. A file
//! each, and one list of them.

#![deny(clippy::wildcard_enum_match_arm)]

mod halt;
mod masked;
mod out;
mod preempted;
mod spin;
mod user;

use crate::cpu::frame::Frame;
use crate::processor::Private;
use guest_stub::abi::TargetState;

/// Each state has a module with `stay`, which keeps this processor in it until it is told to stop, with interrupts on before
/// and after; and `is_evident`, whether an interrupt with this frame found the processor in it.
macro_rules! states {
    ($($module:ident $state:ident),+ $(,)?) => {
        /// Stays in the state until this processor is told to stop.
        pub(crate) fn stay(private: &'static Private, state: TargetState) {
            match state {
                $(TargetState::$state => $module::stay(private)),+
            }
        }

        /// The states that the interrupt found this processor in, as flags of a sample.
        #[inline]
        pub(crate) fn evidence(frame: &Frame) -> u32 {
            let mut flags = 0;
            $(if $module::is_evident(frame) { flags |= TargetState::$state.evidence() })+
            flags
        }
    };
}

states! {
    spin Spin,
    user User,
    halt Halt,
    masked Masked,
    preempted Preempted,
    out Out,
}
