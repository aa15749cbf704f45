//! Room for the vCPUs that were asked for.

use crate::results::count::count;
use crate::results::doctor::Offer;
use crate::results::doctor::{Check, Group, Verdict};
use crate::results::host::Facts;
use crate::vm::offers::Capability;
use guest_stub::abi::MAX_VCPUS;

/// Machines that are there at once, where a measurement has cells of several kinds of machine.
const MACHINES: u64 = 2;
/// Files that each vCPU keeps open: the vCPU itself, its statistics, and what the scheduler says about its thread, in four.
const FILES_PER_VCPU: u64 = 6 * MACHINES;
/// Files that kipi keeps open besides: standard streams, the device, VMs, idle states, reports, the threads of native cells. All routes
/// with all sources held 76, 81, 129, 225 and 514 files of 2, 4, 8, 16 and 40 vCPUs at most.
const FILES_BESIDES: u64 = 64;

/// The most vCPUs of one virtual machine: what KVM allows and what kipi's guest has room for.
pub(in crate::doctor) fn most_vcpus(offer: &Offer) -> usize {
    let allowed = offer.value(Capability::MAX_VCPUS.name).min(offer.value(Capability::MAX_VCPU_ID.name));
    usize::try_from(allowed).unwrap_or(0).min(MAX_VCPUS)
}

pub(super) fn checks(host: &Facts, offer: Option<&Offer>, vcpus: usize) -> Vec<Check> {
    let mut checks = vec![cpus(host, vcpus)];
    checks.extend(quota(host, vcpus));
    checks.push(open_files(host, vcpus));
    if let Some(offer) = offer {
        checks.push(guest_room(vcpus));
        checks.push(at_most(offer, Capability::MAX_VCPUS, "allowed at most", vcpus, Verdict::Missing));
        checks.push(at_most(offer, Capability::MAX_VCPU_ID, "ids", vcpus, Verdict::Missing));
        checks.push(at_most(offer, Capability::NR_VCPUS, "recommended at most", vcpus, Verdict::Limited));
    }
    checks
}

fn cpus(host: &Facts, vcpus: usize) -> Check {
    let cpus = host.allowed_cpus.len();
    match cpus.checked_sub(vcpus) {
        _ if cpus == 0 => check("cpus", Verdict::Limited, "which CPUs this process may use cannot be told"),
        Some(left) => check(
            "cpus",
            Verdict::Ready,
            format!("{cpus} for {}: {left} left for everything else", count(vcpus, "vCPU")),
        ),
        None => check(
            "cpus",
            Verdict::Limited,
            format!(
                "{cpus} for {}: vCPUs wait for each other's time slices, and the numbers show it",
                count(vcpus, "vCPU")
            ),
        )
        .advise(format!(
            "measure at most {}, or let this process use more CPUs (taskset, cpuset)",
            count(cpus, "vCPU")
        )),
    }
}

fn quota(host: &Facts, vcpus: usize) -> Option<Check> {
    let quota = host.cpu_quota?;
    if quota >= vcpus as f64 {
        return Some(check("cpu quota", Verdict::Ready, format!("{quota:.2} CPUs' worth of time")));
    }
    Some(
        check(
            "cpu quota",
            Verdict::Limited,
            format!("the cgroup allows {quota:.2} CPUs' worth of time: busy vCPUs are frozen for part of every period"),
        )
        .advise(format!(
            "raise the cgroup's cpu.max (version 1: cpu.cfs_quota_us) to {} or more, or run outside of it",
            count(vcpus, "CPU")
        )),
    )
}

fn open_files(host: &Facts, vcpus: usize) -> Check {
    let needed = (vcpus as u64).saturating_mul(FILES_PER_VCPU).saturating_add(FILES_BESIDES);
    let limit = host.open_files;
    match limit.soft {
        None => check("open files", Verdict::Ready, format!("unlimited, {needed} needed")),
        Some(soft) if soft >= needed => check("open files", Verdict::Ready, format!("{soft}, {needed} needed")),
        Some(soft) => match limit.hard {
            Some(hard) if hard < needed => {
                let detail = format!(
                    "{hard} at most, and {needed} wanted: with fewer, KVM's counters or a machine may be missing"
                );
                check("open files", Verdict::Limited, detail).advise(format!("as root: ulimit -Hn {needed}"))
            }
            _ => check("open files", Verdict::Ready, format!("{soft}, raised by kipi: {needed} needed")),
        },
    }
}

fn guest_room(vcpus: usize) -> Check {
    if vcpus <= MAX_VCPUS {
        return check("guest", Verdict::Ready, format!("kipi's guest has room for {MAX_VCPUS}"));
    }
    check("guest", Verdict::Missing, format!("kipi's guest has room for {MAX_VCPUS}, not {vcpus}"))
        .advise(format!("ask for at most {MAX_VCPUS} vCPUs"))
}

fn at_most(offer: &Offer, capability: Capability, what: &str, vcpus: usize, otherwise: Verdict) -> Check {
    let value = offer.value(capability.name);
    let enough = usize::try_from(value).is_ok_and(|value| value >= vcpus);
    if enough {
        return check(capability.name, Verdict::Ready, format!("{value} {what}"));
    }
    check(capability.name, otherwise, format!("{value} {what}, fewer than {vcpus}"))
        .advise(format!("ask for at most {}", count(value, "vCPU")))
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check::new(Group::Vcpus, name, verdict, detail)
}
