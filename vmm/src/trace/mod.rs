//! What is recorded while a guest runs: KVM_RUN's returns ([`ring`]) and KVM's own counters ([`stats_fd`]).

pub mod ring;
pub mod stats_fd;
