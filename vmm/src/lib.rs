//! kipi: a small virtual machine monitor that measures how simultaneously code runs on every processor of a KVM guest.
//!
//! [`commands`] has the command lines. Each leads to one of three lines through the rooms below: [`experiment`] is that of a
//! measurement and of a trace, [`check`] that of the conformance suite, [`doctor`] says what this host offers. [`config`] is
//! what was asked for, checked; [`vm`] makes machines, [`vcpu`] runs their vCPUs, [`guest`] talks to what runs there,
//! [`events`] is what was recorded, [`statistics`] turns it into numbers, [`results`] are the documents, [`report`] renders
//! them, [`standalone`] reads what the guest has done without our VMM, [`mod@host`] reads what this machine is, and [`sandbox`] keeps a guest
//! that has taken kipi over from it. Which room may import which is held by `tests/tests/house.rs`.

pub mod check;
pub mod commands;
pub mod comparison;
pub mod config;
pub mod doctor;
pub mod events;
pub mod experiment;
pub mod guest;
pub mod host;
pub mod native;
pub mod report;
pub mod results;
pub mod sandbox;
pub mod standalone;
pub mod statistics;
pub mod vcpu;
pub mod vm;
