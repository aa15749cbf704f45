//! Kinds of threads, by what they do.

use std::cell::Cell;
use strum::VariantArray;

/// A kind of threads, which make the same system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray)]
pub enum ThreadKind {
    /// The main thread, and those that do parts of its work: that of the signals, the timers of local APICs in user space, callers
    /// from the host.
    Main,
    /// Runs a vCPU.
    Vcpu,
    /// Makes calls without a virtual machine.
    Native,
    /// Takes its CPU from a vCPU.
    Competitor,
}

impl ThreadKind {
    /// As a message says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "kipi's main thread, or a helper of it,",
            Self::Vcpu => "a vCPU's thread",
            Self::Native => "a native cell's thread",
            Self::Competitor => "a thread that competes with a vCPU",
        }
    }

    /// As tables say it.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Vcpu => "vCPU",
            Self::Native => "native",
            Self::Competitor => "competitor",
        }
    }
}

thread_local! {
    // Without a destructor and a first time: a signal handler reads it.
    static KIND: Cell<ThreadKind> = const { Cell::new(ThreadKind::Main) };
}

/// The calling thread is of this kind.
pub(super) fn is(kind: ThreadKind) {
    KIND.set(kind);
}

/// The calling thread's kind.
pub(super) fn current() -> ThreadKind {
    KIND.get()
}
