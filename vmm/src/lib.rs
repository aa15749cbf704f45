//! kipi: a small virtual machine monitor that measures how simultaneously code runs on every processor of a KVM guest.
//!
//! Data flows one way: [`config`] → [`vm`] → [`vcpu`] threads → [`trace`] and [`samples`] → [`stats`] and [`metrics`] →
//! [`report`]. [`machine`] speaks the guest's protocol, [`source`] makes it a source of blocks, [`experiment`] draws the
//! line through it all; [`call_trace`] looks at a few calls closely. [`check`] is the conformance suite, whose tests are [`calls`] that the guest's vCPUs make on their own.

pub mod arch;
pub mod breakdown;
pub mod call_trace;
pub mod calls;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod diagnosis;
pub mod doctor;
pub mod experiment;
pub mod guest;
pub mod host;
pub mod machine;
pub mod metrics;
pub mod report;
mod rounds;
pub mod route;
pub mod samples;
pub mod source;
pub mod stats;
pub mod trace;
pub mod vcpu;
pub mod vm;
pub mod wire;
