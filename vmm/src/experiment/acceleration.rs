//! A look at what KVM does to accelerate the local APICs of a virtual machine like kipi's.

use super::probe;
use crate::events::kernel::Inhibits;
use crate::host::acceleration::{self, Observed};
use crate::results::acceleration::Acceleration;
use crate::results::host::Facts;
use crate::vm::Hypervisor;
use rustix::thread::gettid;
use std::sync::atomic::AtomicBool;

/// What kipi's virtual machines of `vcpus` vCPUs have of it on this host, with local APICs in KVM. Where KVM offers something, one of
/// them makes a call while its tracepoint is recorded, for which it takes tracefs. The number counts: of a machine with more vCPUs than
/// the processor can address, KVM accelerates none.
pub fn find(hypervisor: &Hypervisor, host: &Facts, vcpus: usize, interrupted: &AtomicBool) -> Vec<Acceleration> {
    let observed = if acceleration::is_worth_a_look(host) {
        // A call has somebody to call.
        observe(hypervisor, &host.kernel, vcpus.max(2), interrupted)
    } else {
        Observed::Nothing("nobody has looked".to_owned())
    };
    acceleration::judge(host, &observed)
}

fn observe(hypervisor: &Hypervisor, release: &str, vcpus: usize, interrupted: &AtomicBool) -> Observed {
    let inhibits = match Inhibits::record(release) {
        Ok(inhibits) => inhibits,
        Err(error) => return Observed::Nothing(error.to_string()),
    };
    let mut threads = match probe::make_a_call(hypervisor, vcpus, interrupted) {
        Ok(threads) => threads,
        Err(error) => return Observed::Nothing(error.to_string()),
    };
    threads.push(gettid().as_raw_nonzero().get().unsigned_abs());
    match inhibits.stop(&threads) {
        Ok(Some(reasons)) => Observed::Inhibits { reasons, vcpus },
        Ok(None) => Observed::Nothing("the kernel recorded nothing of the virtual machine".to_owned()),
        Err(error) => Observed::Nothing(error.to_string()),
    }
}
