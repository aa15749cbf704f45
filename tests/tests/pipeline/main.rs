//! The way from samples to the document, on machines that are made up: known stamps have known metrics.

use kipi_tests::run_tests;

mod distances;
mod disturbances;
mod failures;
mod invented;
mod metrics;
mod outputs;
mod repetitions;
mod times_native;
mod turns;

fn main() -> std::process::ExitCode {
    run_tests()
}
