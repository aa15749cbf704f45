//! A busy loop at CPL3.

use crate::cpl3;
use crate::cpu::frame::Frame;
use crate::processor::Private;
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::null_mut;
use guest_stub::abi::UserPage;

unsafe extern "C" {
    fn user_spin();
}

global_asm!(
    ".pushsection .user_text, \"ax\", @progbits",
    "user_spin:",
    "mov eax, [rdi + {handled}]",
    "mov [rdi + {ready}], eax",
    "cmp dword ptr [rdi + {stop}], 0",
    "je user_spin",
    "ud2",
    ".popsection",
    handled = const offset_of!(UserPage, handled),
    ready = const offset_of!(UserPage, ready),
    stop = const offset_of!(UserPage, stop),
);

pub(super) fn stay(private: &'static Private) {
    // SAFETY: the function above, which touches this processor's user page alone.
    unsafe { cpl3::run(private, user_spin, private.user_page(), null_mut(), 0) };
}

/// The interrupt came from CPL3: CS has an RPL of 0 or 3, of which one bit tells.
pub(super) fn is_evident(frame: &Frame) -> bool {
    frame.cs & 2 != 0
}
