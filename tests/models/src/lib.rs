//! What kipi's algorithms are held against.
//!
//! [`local_apic`] is the user-space local APIC once more, as an executable reading of the manual, and a comparison of the two.
//! `tests/interleavings` and `tests/inbox` look at every interleaving of small broadcast calls and sends,
//! `tests/threads` makes many random calls, `tests/local_apic` random accesses. [`caught`] says that a model finds a mistake.

pub mod local_apic;

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Checks that a model fails, and why. Its panics print nothing.
///
/// # Panics
/// If it does not fail, or for another reason.
pub fn caught(model: impl FnOnce(), why: &str) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !SILENT.get() {
                report(panic);
            }
        }));
    });
    SILENT.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(model));
    SILENT.set(false);
    let panic = outcome.expect_err("no model has found it");
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    assert!(text.is_some_and(|text| text.contains(why)), "found for another reason: {text:?}");
}
