//! A look at what KVM does to accelerate the local APICs of a virtual machine like kipi's.

use super::probe;
use crate::events::kernel::Inhibits;
use crate::host::acceleration::{self, Observed};
use crate::results::acceleration::Acceleration;
use crate::results::host::Facts;
use crate::vm::Hypervisor;
use rustix::thread::gettid;
use std::sync::atomic::AtomicBool;

/// What kipi's virtual machines have of it on this host, with local APICs in KVM. Where KVM offers something, a machine of two vCPUs
/// makes a call while its tracepoint is recorded, for which it takes tracefs.
pub fn find(hypervisor: &Hypervisor, host: &Facts, interrupted: &AtomicBool) -> Vec<Acceleration> {
    let observed = if acceleration::is_worth_a_look(host) {
        observe(hypervisor, &host.kernel, interrupted)
    } else {
        Observed::Nothing("nobody has looked".to_owned())
    };
    acceleration::judge(host, &observed)
}

fn observe(hypervisor: &Hypervisor, release: &str, interrupted: &AtomicBool) -> Observed {
    let inhibits = match Inhibits::record(release) {
        Ok(inhibits) => inhibits,
        Err(error) => return Observed::Nothing(error.to_string()),
    };
    let mut threads = match probe::make_a_call(hypervisor, interrupted) {
        Ok(threads) => threads,
        Err(error) => return Observed::Nothing(error.to_string()),
    };
    threads.push(gettid().as_raw_nonzero().get().unsigned_abs());
    match inhibits.stop(&threads) {
        Ok(Some(reasons)) => Observed::Inhibits(reasons),
        Ok(None) => Observed::Nothing("the kernel recorded nothing of the virtual machine".to_owned()),
        Err(error) => Observed::Nothing(error.to_string()),
    }
}
