//! The standalone [`image`], and what its runs under other VMMs and on bare metal leave behind: a [`log`] of records, of which
//! [`runs`] are made.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod boot;
pub mod copies;
mod draft;
pub mod efi;
mod fat;
pub mod faults;
pub mod image;
pub mod iso;
pub mod log;
mod order;
pub mod runs;

#[cfg(test)]
pub(crate) mod fixture;
