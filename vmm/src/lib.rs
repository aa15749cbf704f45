//! kipi: a small virtual machine monitor that measures how simultaneously code runs on every processor of a KVM guest.
//!
//! Data passes through these rooms in this order: [`commands`] → [`config`] → [`vm`] → [`vcpu`] → [`guest`] → [`events`] →
//! [`statistics`] → [`results`] → [`report`]. [`experiment`] draws the line through them for a measurement and a trace;
//! [`check`] is the conformance suite, [`doctor`] says what this host offers, [`mod@host`] reads what this machine is.

pub mod check;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod events;
pub mod experiment;
pub mod guest;
pub mod host;
pub mod report;
pub mod results;
pub mod statistics;
pub mod vcpu;
pub mod vm;
