//! What is recorded while a guest runs: stays in KVM_RUN ([`ring`]), KVM's tracepoints ([`kernel`]) and KVM's own
//! counters ([`stats_fd`]); and what that says about a call: its events on one clock ([`timeline`]), and where its time
//! went ([`stages`]).

pub mod format;
pub mod kernel;
pub mod page;
pub mod ring;
pub mod stages;
pub mod stats_fd;
pub mod timeline;
pub mod tracefs;
