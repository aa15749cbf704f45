//! kipi: a small virtual machine monitor that measures how simultaneously code runs on every processor of a KVM guest.

pub mod arch;
pub mod clock;
pub mod diagnosis;
pub mod doctor;
pub mod guest;
pub mod host;
pub mod machine;
pub mod metrics;
pub mod report;
mod rounds;
pub mod samples;
pub mod stats;
pub mod trace;
pub mod vcpu;
pub mod vm;
pub mod wire;
