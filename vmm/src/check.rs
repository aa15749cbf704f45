//! The conformance suite: what guests must see, tried on real vCPUs.

pub mod outcome;
