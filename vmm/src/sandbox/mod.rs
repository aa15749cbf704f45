//! What this process may do once all that a run needs is open: the guest is hostile, and kipi is often root.
//!
//! A guest that has taken over one of kipi's threads finds no capability, no way to gain privileges (no_new_privs), no files but
//! those that results go to and those that tell of the host (Landlock), and no system calls but those of its thread's kind
//! (seccomp). Each part is best effort: where a kernel, or the container around kipi, does not give it, the result says so.
//!
//! [`enter`] restricts the process, once, while it has one thread: capabilities and Landlock are a thread's own, and those that it
//! starts inherit them. [`confine`] is each thread's first act, and restricts it further: filters add up, and a call passes if all
//! let it. A program that uses this library and does not call [`enter`] has no sandbox, and `confine` then does nothing.

pub mod allowed;
mod capabilities;
mod files;
mod filter;
mod ioctls;
mod kinds;
mod violation;

pub use files::Files;
pub use kinds::ThreadKind;
pub use violation::violation;

use crate::results::sandbox::{Sandbox, State};
use filter::Filters;
use rustix::thread::set_no_new_privs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

/// The filters of the threads that are still to come.
static FILTERS: OnceLock<Filters> = OnceLock::new();
/// What is on.
static ENTERED: OnceLock<Sandbox> = OnceLock::new();
/// Threads that have not got their own filter.
static UNCONFINED: AtomicU32 = AtomicU32::new(0);
/// Threads of vCPUs until one tries what is forbidden, for a test; zero: none does.
static UNTIL_FORBIDDEN: AtomicU32 = AtomicU32::new(0);

/// Restricts this process, which must have one thread, for good. A forbidden system call sets `stop`, which ends the run.
pub fn enter(files: &Files, stop: &'static AtomicBool) {
    let start = Instant::now();
    let mut missing = Vec::new();
    let mut try_part = |what: &str, tried: Result<(), String>| {
        missing.extend(tried.err().map(|why| format!("{what}: {why}")));
    };
    filter::know_arenas();
    let mut kept = Vec::new();
    try_part("capabilities", capabilities::keep(files.needed()).map(|names| kept = names).map_err(|it| it.to_string()));
    // Without it, neither of the two that follow is for those without privileges.
    try_part("no_new_privs", set_no_new_privs(true).map_err(|errno| errno.to_string()));
    let mut landlock_abi = None;
    try_part("Landlock", files::restrict(files).map(|abi| landlock_abi = Some(abi)));
    let filtered = violation::handle(stop).and_then(|()| Filters::compile()).and_then(|filters| {
        filters.restrict_process()?;
        // Nobody has been here before: filters cannot be taken back.
        let _ = FILTERS.set(filters);
        Ok(())
    });
    try_part("seccomp", filtered);
    let state = if missing.is_empty() { State::On } else { State::Partly };
    let took_ns = u64::try_from(start.elapsed().as_nanos()).ok();
    let _ = ENTERED.set(Sandbox { state, missing, capabilities: kept, landlock_abi, took_ns });
}

/// The run has no sandbox, because somebody has said so.
pub fn leave_out() {
    let _ = ENTERED.set(Sandbox::off());
}

/// What is on; `None`: nobody has said whether there is to be a sandbox.
pub fn state() -> Option<Sandbox> {
    let mut sandbox = ENTERED.get()?.clone();
    // Relaxed: a count, and nothing is published with it.
    let unconfined = UNCONFINED.load(Ordering::Relaxed);
    if unconfined > 0 {
        sandbox.state = State::Partly;
        sandbox.missing.push(format!("seccomp: {unconfined} threads have no filter of their own"));
    }
    Some(sandbox)
}

/// Lets this thread make no more system calls than one of its kind does: its first act.
pub fn confine(kind: ThreadKind) {
    kinds::is(kind);
    if let Some(filters) = FILTERS.get()
        && filters.restrict_thread(kind).is_err()
    {
        UNCONFINED.fetch_add(1, Ordering::Relaxed);
    }
    if kind == ThreadKind::Vcpu && is_to_try() {
        violation::try_one();
    }
}

/// For a test: the thread of that vCPU, in the order in which they start, tries a forbidden call.
pub fn let_vcpu_try(number: u32) {
    UNTIL_FORBIDDEN.store(number, Ordering::Relaxed);
}

/// Counts down. Relaxed: a count, and the threads start one after the other.
fn is_to_try() -> bool {
    UNTIL_FORBIDDEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1)
}
