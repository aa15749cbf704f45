//! The bell: what the guest calls where it would ring the VMM's doorbell. What is said is composed at CPL3, and written here.

use crate::cpu;
use crate::power;
use crate::run::{Pause, Run};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use guest_stub::abi::{self, AtCpl3, CommandPage, PORT_BUG_CHECK};

const PAGE: *mut CommandPage = abi::COMMAND_PAGE as *mut CommandPage;

struct Place(UnsafeCell<Option<Run>>);

// SAFETY: `set` writes it before the guest's first instruction, and `bell` uses it on vCPU 0; or, of a bug check, on the first processor that
// has one: vCPU 0, whose call or activity waits for that one, is not in there.
unsafe impl Sync for Place {}

static RUN: Place = Place(UnsafeCell::new(None));

/// What [`bell`] goes on with.
pub(crate) fn set(run: Run) {
    // SAFETY: the guest, whose bell is the only other user, does not run yet.
    unsafe { *RUN.0.get() = Some(run) };
}

/// The guest's doorbell, and its bug check.
pub(crate) unsafe extern "sysv64" fn bell(port: u32, _value: u32, at_cpl3: AtCpl3) {
    let code = if port == u32::from(PORT_BUG_CHECK) { say_bug_check } else { go_on };
    let stack = STACK.0.get() as u64 + STACK_BYTES as u64;
    loop {
        // SAFETY: all of this image, the command page and the rings are mapped for CPL3; the stack is used here alone.
        let answer = unsafe { at_cpl3(code, stack) };
        // SAFETY: see `Place`: what runs at CPL3 has come back.
        let Some(run) = (unsafe { &mut *RUN.0.get() }) else { cpu::halt() };
        run.out.flush(&mut run.console);
        match answer {
            GO_ON => return,
            MORE => {}
            _ => {
                power::end(run.power, answer == DONE);
                cpu::halt()
            }
        }
    }
}

/// The guest has its next command.
const GO_ON: u64 = 1;
/// There is more to be said, and no room for it.
const MORE: u64 = 2;
/// All has been measured.
const DONE: u64 = 3;
/// Nothing more can be measured.
const FAILED: u64 = 4;

unsafe extern "C" {
    fn go_on();
    fn say_bug_check();
}

// At CPL3, on a stack that is aligned as before a call.
global_asm!(
    ".pushsection .text.bell, \"ax\", @progbits",
    "go_on:",
    "cld",
    "call {go_on}",
    "mov r8, rax",
    "ud2",
    "say_bug_check:",
    "cld",
    "call {say_bug_check}",
    "mov r8, rax",
    "ud2",
    ".popsection",
    go_on = sym go_on_with_run,
    say_bug_check = sym say_bug_check_of_run,
);

const STACK_BYTES: usize = 0x4000;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: a stack, which Rust code knows nothing of.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

extern "sysv64" fn go_on_with_run() -> u64 {
    // SAFETY: see `Place`: `bell` waits for this.
    let Some(run) = (unsafe { &mut *RUN.0.get() }) else { return FAILED };
    // SAFETY: the guest writes it before it rings.
    let report = unsafe { (&raw const (*PAGE).report).read_volatile() };
    match run.next(&report) {
        Ok(command) => {
            // SAFETY: vCPU 0 is in here, and the others read it after vCPU 0 has announced it.
            unsafe { (&raw mut (*PAGE).command).write_volatile(command) };
            GO_ON
        }
        Err(Pause::Full) => MORE,
        Err(Pause::Over { good: true }) => DONE,
        Err(Pause::Over { good: false }) => FAILED,
    }
}

extern "sysv64" fn say_bug_check_of_run() -> u64 {
    // SAFETY: see `Place`: `bell` waits for this.
    let Some(run) = (unsafe { &mut *RUN.0.get() }) else { return FAILED };
    // SAFETY: the guest has filled it in before it rang, and the page is mapped.
    run.bug_check(&unsafe { (&raw const (*PAGE).bug_check).read_volatile() });
    FAILED
}
