//! What kipi writes: documents as types that serialise, read by those who produce them and by the reports.

pub mod acceleration;
pub mod block;
pub mod check;
pub mod clock;
pub mod comparison;
pub mod count;
pub mod cpu_list;
pub mod detail;
pub mod distance;
pub mod disturbance;
pub mod doctor;
pub mod exit_cost;
pub mod exits;
#[cfg(test)]
pub(crate) mod fixture;
pub mod halts;
pub mod histogram;
pub mod history;
pub mod host;
pub mod host_cpu;
pub mod initiators;
pub mod instruments;
pub mod integrity;
pub mod machine;
pub mod measurement;
pub mod metric;
pub mod observer_effect;
pub mod overhead;
pub mod power;
pub mod quiet;
pub mod ran_on;
pub mod reference;
pub mod sandbox;
pub mod source;
pub mod stage;
pub mod standalone;
pub mod times;
pub mod topology;
pub mod trace;

#[cfg(test)]
mod tests;
