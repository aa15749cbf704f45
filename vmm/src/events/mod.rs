//! What is recorded while a guest runs: its own stamps ([`samples`]), each stay in KVM_RUN ([`stays`]), KVM's counters
//! ([`counters`]) and tracepoints ([`kernel`]), what the CPUs gave its threads ([`cpu_time`]); when its threads were kept from
//! it ([`absences`]); and all of one call's events ([`mod@event`]) on one clock ([`timeline`], [`clock`]).

pub mod absences;
pub mod acts;
pub mod clock;
pub mod counters;
pub mod cpu_time;
pub mod event;
pub mod exit;
pub mod kernel;
pub mod recording;
pub mod samples;
pub mod stays;
pub mod timeline;
pub mod wakeups;
