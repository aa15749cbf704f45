//! Observing the kernel. kipi measures without it.

use crate::results::doctor::{Check, Group, Verdict};
use crate::results::host::{Facts, PerfAccess, Tracefs};

pub(super) fn checks(host: &Facts) -> Vec<Check> {
    [Some(tracefs(host)), Some(perf(host)), lockdown(host)].into_iter().flatten().collect()
}

/// What is closed to root as well: of what kipi uses, tracefs and perf events (`lockdown_reasons` in security/security.c), by
/// `confidentiality` alone.
fn lockdown(host: &Facts) -> Option<Check> {
    let lockdown = host.lockdown.as_deref()?;
    if lockdown != "confidentiality" {
        return Some(check("lockdown", Verdict::Ready, lockdown));
    }
    let detail = "confidentiality: the kernel keeps tracefs and perf events from everybody, root included";
    Some(check("lockdown", Verdict::Limited, detail).advise("boot with lockdown=integrity, or without Secure Boot"))
}

/// Whether /proc can be read, by which kipi reaches what it mounts for itself.
fn has_proc(host: &Facts) -> bool {
    host.perf.privileged.is_some()
}

fn tracefs(host: &Facts) -> Check {
    let Some(Tracefs { path, readable, writable, kvm_events }) = &host.tracefs else {
        return check(
            "tracefs",
            Verdict::Missing,
            "not mounted, and this process cannot mount it; or not in this kernel",
        )
        .advise("run as root, or: sudo mount -t tracefs tracefs /sys/kernel/tracing");
    };
    if path.is_none() && !readable && !has_proc(host) {
        return check(
            "tracefs",
            Verdict::Missing,
            "mounted nowhere, and kipi's own mount is not reached without /proc",
        )
        .advise("mount /proc, or: sudo mount -t tracefs tracefs /sys/kernel/tracing");
    }
    let path = path.as_deref().unwrap_or("mounted nowhere, kipi mounts it for itself");
    match (readable, writable, kvm_events) {
        (true, true, Some(true)) => check("tracefs", Verdict::Ready, format!("{path}: writable, with KVM's events")),
        (true, false, Some(true)) => {
            check("tracefs", Verdict::Limited, format!("{path}: readable, but not writable: no trace of one's own"))
                .advise("run as root")
        }
        (true, _, _) => check("tracefs", Verdict::Missing, format!("{path}: no events of KVM's"))
            .advise("load KVM's module; the kernel needs CONFIG_EVENT_TRACING"),
        (false, _, _) => {
            check("tracefs", Verdict::Missing, format!("{path}: not readable to this process")).advise("run as root")
        }
    }
}

fn perf(host: &Facts) -> Check {
    let Some(access) = host.perf.access else {
        let why = if has_proc(host) { "no perf events here" } else { "/proc cannot be read" };
        return check("perf", Verdict::Missing, format!("kernel.perf_event_paranoid cannot be read: {why}"));
    };
    let (verdict, words) = match access {
        PerfAccess::All => (Verdict::Ready, "everything, KVM's tracepoints included"),
        PerfAccess::WholeCpu => (Verdict::Limited, "whole CPUs, but no raw tracepoints"),
        PerfAccess::OwnKernel => (Verdict::Limited, "own threads, the kernel included, but no raw tracepoints"),
        PerfAccess::OwnUserSpace => (Verdict::Limited, "own threads in user space only"),
        PerfAccess::None => (Verdict::Missing, "nothing"),
    };
    let paranoid = host.perf.paranoid.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    let privilege = if host.perf.privileged == Some(true) { ", lifted by this process's capabilities" } else { "" };
    let check = check("perf", verdict, format!("kernel.perf_event_paranoid is {paranoid}{privilege}: permits {words}"));
    if verdict == Verdict::Ready {
        return check;
    }
    check.advise("run with CAP_PERFMON (or as root), or: sudo sysctl kernel.perf_event_paranoid=-1")
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check::new(Group::Tracing, name, verdict, detail)
}
