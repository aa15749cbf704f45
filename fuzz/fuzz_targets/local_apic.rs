//! Any sequence of accesses to the local APICs of four processors, against the manual's (`kipi_models::local_apic`): from a
//! reset, or from where a kernel has brought them up.

#![no_main]

use kipi_models::local_apic::compare;
use kipi_models::local_apic::operation::{self, Operation};

libfuzzer_sys::fuzz_target!(|input: (Option<[bool; 4]>, Vec<Operation>)| {
    let (x2apic, operations) = input;
    let begin = x2apic.map(operation::bring_up).unwrap_or_default();
    compare::run(begin.into_iter().chain(operations));
});
