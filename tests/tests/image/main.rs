//! The guest image as it was built: what the loader, a KVM that emulates, and the interrupt path rely on.

use kipi_tests::run_tests;

mod instructions;
mod loading;
mod round;
mod sends;

fn main() -> std::process::ExitCode {
    run_tests()
}
