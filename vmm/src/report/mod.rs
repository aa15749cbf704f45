//! Reports: a finished [`document::Measurement`] rendered for people and machines.

pub mod document;
