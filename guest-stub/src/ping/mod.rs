//! Pings: a closed loop of one interrupt. The sender stamps and sends, the target's handler marks that it has arrived, the sender
//! sees that and stamps again. Nothing else is between the two stamps: no rendezvous, no worker, no IRQL.
//!
//! The sender's side is [`sender`], the target's [`entry`]; [`mod@line`] is what they share, [`way`] how a ping is sent.

#![deny(clippy::wildcard_enum_match_arm)]

mod block;
mod entry;
mod line;
mod outcomes;
mod sender;
mod way;

pub(crate) use block::{follow, lead};
pub(crate) use entry::ping_entry;
pub(crate) use line::{LINES, Line};
