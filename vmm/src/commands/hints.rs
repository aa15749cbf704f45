//! The line that a user reads about an error: what is wrong, and behind it the way out, in terms of options and commands.
//!
//! Errors say what is wrong with a value; only here it is known where the value came from.

use crate::config::{CellId, Change, Refused};
use crate::experiment::machine;
use crate::guest::{host_call, session};
use crate::results::measurement::Skipped;
use crate::vm::{Limit, device, image};
use crate::{config, experiment, native, vm};
use std::borrow::Cow;
use std::error::Error;
use std::io;

const DOCTOR: &str = "run 'kipi doctor' for what this host offers";
const OTHER_CPUS: &str = "name CPUs that are online and allowed by --pin, or none by --pin none";
const MORE_PROCESSES: &str = "KVM needs a thread of its own, which the limit of processes may forbid: raise ulimit -u";
pub(super) const TOO_FEW_THREADS: &str =
    "a limit of processes, threads or memory is reached: raise ulimit -u or -v, or the cgroup's pids.max";
const MORE_FILES: &str = "raise the limit of open files, ulimit -n: 'kipi doctor' says how many a machine needs";
const FEWER_VCPUS: &str = "pass a smaller --vcpus";

/// The whole line.
pub(super) fn line(error: &(dyn Error + 'static)) -> String {
    if let Some(config::Error::NoSuchCpu { cpu, allowed }) = error.downcast_ref() {
        let allowed = config::cpu_list(allowed);
        return format!("--pin names CPU {cpu}, which this process may not use (it may use {allowed})");
    }
    match hint(error).or_else(|| lacks_files(error).then_some(Cow::Borrowed(MORE_FILES))) {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

/// Why nothing can be measured, and the options that change it. A reason that another choice takes away first is told only where
/// that choice was not made as well: the refusal of the cell that it leads to is the one to tell.
pub(super) fn refusals(refused: &[Refused]) -> String {
    let is_refused = |cell: &CellId| refused.iter().any(|it| CellId { observe: cell.observe, ..it.cell } == *cell);
    let leads_on = |it: &Refused, change: Change| {
        let changed = change.apply(&it.cell);
        changed.observe != it.cell.observe || !is_refused(&changed)
    };
    let is_told = |it: &&Refused| it.refusal.ways_out().first().is_none_or(|&first| leads_on(it, first));
    let mut ways: Vec<String> = Vec::new();
    let mut reasons = Vec::new();
    for it in refused.iter().filter(is_told) {
        let options =
            it.refusal.ways_out().iter().filter(|&&change| leads_on(it, change)).map(|&change| option(change));
        let options = options.collect::<Vec<_>>().join(" or ");
        let way_out = if options.is_empty() { DOCTOR.to_owned() } else { format!("pass {options}") };
        // One way out is enough.
        if !ways.contains(&way_out) {
            reasons.push(format!("{}: {} ({way_out})", it.cell, it.refusal.reason()));
            ways.push(way_out);
        }
    }
    reasons.join("; ")
}

/// The same of what a machine has said itself, whose options are its own: each reason once, with the first combination that has it.
pub(super) fn skipped(skipped: &[Skipped]) -> String {
    let reasons = Skipped::by_reason(skipped).into_iter().filter_map(|(reason, combinations)| {
        let (first, others) = combinations.split_first()?;
        let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        Some(format!("{}{others}: {reason}", first.id))
    });
    reasons.collect::<Vec<_>>().join("; ")
}

/// A choice as it is typed.
fn option(change: Change) -> String {
    match change {
        Change::Call(call) => format!("--call {}", call.name()),
        Change::Route(route) => format!("--route {}", route.name()),
        Change::Destination(destination) => format!("--destination {}", destination.name()),
        Change::TargetState(state) => format!("--target-state {}", state.name()),
        Change::Vcpus(vcpus) => format!("--vcpus {vcpus}"),
        Change::Wait(wait) => format!("--wait {}", wait.name()),
        Change::Observe(observe) => format!("--observe {}", observe.name()),
    }
}

fn hint(error: &(dyn Error + 'static)) -> Option<Cow<'static, str>> {
    if let Some(error) = error.downcast_ref() {
        return of_vm(error);
    }
    if let Some(error) = error.downcast_ref() {
        return of_image(error).map(Cow::Borrowed);
    }
    if let Some(error) = error.downcast_ref() {
        return of_session(error);
    }
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(experiment::Error::Machine(error)), _) | (_, Some(error)) => of_machine(error),
        (Some(experiment::Error::Samples(_)) | None, None) => None,
    }
}

/// Whether a limit of open files is the reason, wherever it was met.
fn lacks_files(error: &(dyn Error + 'static)) -> bool {
    let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    errno == Some(libc::EMFILE) || error.source().is_some_and(lacks_files)
}

fn of_machine(error: &machine::Error) -> Option<Cow<'static, str>> {
    match error {
        machine::Error::Virtual(error) => of_session(error),
        machine::Error::Native(error) => of_native(error).map(Cow::Borrowed),
        machine::Error::GivenUp(_) | machine::Error::NotRecorded => None,
    }
}

fn of_session(error: &session::Error) -> Option<Cow<'static, str>> {
    match error {
        session::Error::Vm(error) => of_vm(error),
        session::Error::Stopped { exit, .. } => {
            (exit.errno() == Some(libc::EAGAIN)).then_some(Cow::Borrowed(MORE_PROCESSES))
        }
        session::Error::HostCall(host_call::Error::NotStarted(source)) => {
            (source.kind() == io::ErrorKind::WouldBlock).then_some(Cow::Borrowed(TOO_FEW_THREADS))
        }
        session::Error::Interrupted
        | session::Error::BugCheck(_)
        | session::Error::GivenUp(_)
        | session::Error::Silent(_)
        | session::Error::HostCall(_)
        | session::Error::BadReport(_)
        | session::Error::Trace(_)
        | session::Error::Memory(_) => None,
    }
}

fn of_native(error: &native::Error) -> Option<&'static str> {
    match error {
        native::Error::NotPinned { .. } => Some(OTHER_CPUS),
        native::Error::Membarrier { .. } | native::Error::Rseq(_) | native::Error::Futex(_) => Some(DOCTOR),
        native::Error::NotStarted { source, .. } if source.kind() == io::ErrorKind::WouldBlock => Some(TOO_FEW_THREADS),
        native::Error::NotStarted { .. } => Some(FEWER_VCPUS),
        native::Error::Alone => Some("pass --vcpus 2 or more"),
        native::Error::Gone(_) | native::Error::Interrupted => None,
    }
}

fn of_vm(error: &vm::Error) -> Option<Cow<'static, str>> {
    if let Some(limit) = error.limit() {
        return Some(Cow::Borrowed(of_limit(limit)));
    }
    let hint = match error {
        vm::Error::Device(error) => return Some(of_device(error)),
        vm::Error::Kvm { .. } | vm::Error::Vcpu(_) => Some(DOCTOR),
        vm::Error::NoIrqchip => Some("use --route vmm, or another host"),
        vm::Error::TooManyVcpus { .. } | vm::Error::Memory { .. } => Some(FEWER_VCPUS),
        vm::Error::NotPinned { .. } => Some(OTHER_CPUS),
        vm::Error::NoWideApicIds(_) => Some("pass --vcpus 254 or less"),
        vm::Error::Guest(error) => of_image(error),
        vm::Error::System { .. } | vm::Error::Paging(_) => None,
    };
    hint.map(Cow::Borrowed)
}

fn of_limit(limit: Limit) -> &'static str {
    match limit {
        Limit::Files => MORE_FILES,
        Limit::KvmThreads => MORE_PROCESSES,
        Limit::Threads => TOO_FEW_THREADS,
    }
}

/// Where the way out depends on the host, one command knows it.
fn of_device(error: &device::Error) -> Cow<'static, str> {
    error.way_out().unwrap_or("run 'kipi doctor' for the way out, or pass --device".into())
}

fn of_image(error: &image::Error) -> Option<&'static str> {
    match error {
        image::Error::Read { .. } => Some("leave --guest away to use the one that kipi was built with"),
        image::Error::Elf(_)
        | image::Error::Layout(_)
        | image::Error::NotKipi { .. }
        | image::Error::AbiVersion { .. }
        | image::Error::Damaged { .. } => None,
    }
}

#[cfg(test)]
mod tests;
