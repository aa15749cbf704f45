//! What kipi's algorithms are held against.
//!
//! [`local_apic`] is the user-space local APIC once more, as an executable reading of the manual, and a comparison of the two.
//! `tests/interleavings` and `tests/inbox` look at every interleaving of small broadcast calls and sends,
//! `tests/threads` makes many random calls, `tests/local_apic` random accesses.

pub mod local_apic;
