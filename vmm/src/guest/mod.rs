//! The protocol with our guest.
//!
//! A [`session`] is a booted guest with its mailbox and its doorbell. What is asked of it is in a file each: [`blocks`] of
//! measured rounds, [`acts`] and what they cost, [`calls`] that are counted, [`calibration`] of the instruments, the [`clock_exchange`], [`hostile`]
//! guests, the behaviour of a [`processor`], and vCPUs that [`serve`] the host's own calls ([`host_caller`]). Blocks
//! that the guest ran without us are [`recorded`]. What goes wrong is a
//! [`session::Error`], with the guest's own words ([`bug_check`]) or with a look at where each vCPU was ([`silence`]).

#![deny(clippy::wildcard_enum_match_arm)]

pub mod acts;
mod block_spec;
pub mod blocks;
pub mod bug_check;
pub mod calibration;
pub mod calls;
mod calls_spec;
pub mod clock_exchange;
mod competitors;
pub mod delay;
mod error;
mod host_blocks;
mod host_broadcast;
pub mod host_call;
pub mod host_caller;
mod host_calls;
mod host_settle;
pub mod hostile;
mod place;
pub mod processor;
pub mod recorded;
mod recording;
mod rounds;
pub mod serve;
pub mod session;
pub mod silence;
mod vcpu_area;
