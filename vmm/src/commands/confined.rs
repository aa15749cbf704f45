//! The sandbox, as commands that run a guest enter it.

use super::interrupts::INTERRUPTED;
use super::options;
use crate::host::{latency, tracing};
use crate::report::output::Output;
use crate::sandbox::{self, Files};
use std::path::Path;

/// Restricts this process, which must have one thread, to what a run does that has everything open: results get their names, a
/// trace instance is made. With `--no-sandbox`, nothing is restricted, which the result says.
pub(super) fn enter<const N: usize>(options: &options::Sandbox, outputs: [Option<&Output>; N]) {
    if options.no_sandbox {
        sandbox::leave_out();
        return;
    }
    let anothers = outputs.into_iter().flatten().any(Output::replaces_anothers);
    let outputs = outputs.into_iter().flatten().filter_map(|output| output.directory().map(Path::to_owned)).collect();
    // Two settings in turns limit the CPUs' idle states again and again.
    let written = vec![latency::DEVICE.into()];
    sandbox::enter(&Files { outputs, anothers, written, tracefs: tracing::place() }, &INTERRUPTED);
    if let Some(number) = options.inject_forbidden_call {
        sandbox::let_vcpu_try(number);
    }
}
