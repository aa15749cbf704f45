//! `kipi doctor`.

use super::hints;
use super::interrupts::INTERRUPTED;
use super::outputs::{command_line, print, terminal_width};
use super::status::{Failure, Status};
use super::{machines, options, values};
use crate::config::routes::{self, Route};
use crate::results::host::Facts;
use crate::{doctor, experiment, host, report};
use clap::Args;
use std::path::PathBuf;

/// Options of `kipi doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print of the text only what is limited or missing: nothing where all is well
    #[arg(short, long)]
    quiet: bool,
    /// The number of vCPUs to judge by [default: as measure's]
    #[arg(long, value_name = "N", value_parser = values::vcpus())]
    vcpus: Option<values::Vcpus>,
    /// The KVM device
    #[arg(long, value_name = "FILE", default_value = "/dev/kvm")]
    device: PathBuf,
}

/// Runs it.
///
/// # Errors
/// Whatever keeps the findings from being printed.
pub fn run(options: &Doctor) -> Result<Status, Failure> {
    let vcpus = options::vcpus(options.vcpus.as_ref(), &machines::allowed_cpus());
    let sources = host::Sources::system();
    let kvm = machines::Kvm::at(&options.device);
    let accelerations = |host: &Facts| {
        kvm.open().map_or_else(
            |_| Vec::new(),
            |hypervisor| experiment::acceleration::find(hypervisor, host, vcpus, &INTERRUPTED),
        )
    };
    let mut found = doctor::examine(&options.device, vcpus, &sources, accelerations, |route| probe(&kvm, route));
    found.command = command_line();
    let text = if options.json {
        report::doctor::render_json(&found).map_err(Failure::failed)?
    } else if options.quiet {
        report::doctor::render_wants(&found, terminal_width())
    } else {
        report::doctor::render_text(&found, terminal_width())
    };
    print(&text).map_err(Failure::failed)?;
    Ok(if found.is_fit() { Status::Good } else { Status::HostCannot })
}

/// Makes one call over a route, or says why that failed.
fn probe(kvm: &machines::Kvm<'_>, route: Route) -> Result<(), String> {
    let spec = routes::of(route);
    if spec.makes_hypercalls() {
        let offers = kvm.open().map_err(|error| hints::line(&error))?.offers_to(&[route]);
        if let Some(need) = spec.lacks(offers) {
            return Err(need.reason().to_owned());
        }
    }
    experiment::probe::probe(|| kvm.open(), route, &machines::allowed_cpus(), &INTERRUPTED)
        .map_err(|error| hints::line(&error))
}
