//! What lies on the stack while an interrupt or an exception is handled.

/// What the processor pushes on an interrupt without error code (SDM Vol. 3A 7.14.2).
#[repr(C)]
pub(crate) struct Frame {
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// An exception's stack: what the stubs push, then what the processor did.
#[repr(C)]
pub(crate) struct ExceptionFrame {
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) frame: Frame,
}

/// Bytes of the nine registers that a call may change: RAX, RDX, RCX, RSI, RDI, R8 to R11.
pub(crate) const SAVED: usize = 9 * 8;

/// Saves the registers that a call may change ([`SAVED`] bytes).
macro_rules! push_caller_saved {
    () => {
        "push rax\npush rdx\npush rcx\npush rsi\npush rdi\npush r8\npush r9\npush r10\npush r11"
    };
}
/// Restores what [`push_caller_saved`] has saved. Flags stay as they are.
macro_rules! pop_caller_saved {
    () => {
        "pop r11\npop r10\npop r9\npop r8\npop rdi\npop rsi\npop rcx\npop rdx\npop rax"
    };
}
pub(crate) use {pop_caller_saved, push_caller_saved};
