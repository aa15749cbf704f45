//! The host's own processors: threads that interrupt each other by the kernel's IPI, with no virtual machine. What a call costs
//! there is what the same call in a virtual machine is to be divided by.
//!
//! One thread calls, others are called. [`membarrier`] sends the interrupt; `rseq` lets a target see that it came; `futex` lets
//! targets sleep, and wakes them; `caller` and `target` are the two sides of a call, which is the guest's
//! [rendezvous](guest_stub::rendezvous).
//!
//! A [`crowd`] makes the same call with threads that sleep, of which there may be more than CPUs.

mod block;
mod caller;
mod clock;
pub mod crowd;
mod error;
mod exchange;
mod frequency;
mod futex;
pub mod membarrier;
pub mod pinning;
mod rseq;
mod shared;
pub mod sleeping;
pub mod switches;
mod target;
mod threads;

pub use block::{Block, Call, Rounds, Sent, Silent, Taken};
pub use error::Error;
pub use frequency::{Frequency, frequency};
pub use threads::Threads;

#[cfg(test)]
mod tests;
