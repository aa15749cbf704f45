//! Any sequence of accesses to the local APICs of four processors, against the manual's (`kipi_models::local_apic`): from a
//! reset, or from where a kernel has brought them up.

#![no_main]

use kipi_models::local_apic::compare;
use kipi_models::local_apic::operation::{self, Program};

libfuzzer_sys::fuzz_target!(|program: Program| compare::run(operation::of_program(program)));
