//! The entries of exceptions. None is expected but where a handler of its own comes first and jumps here for the rest.

use crate::bugcheck;
use crate::cpu::frame::ExceptionFrame;
use crate::cpu::tables::Entry;
use core::arch::global_asm;

macro_rules! exceptions {
    ($($vector:literal $name:ident $push:literal),+ $(,)?) => {
        unsafe extern "C" { $(pub(crate) fn $name();)+ }

        /// The entries of vectors 0 to 31.
        pub(crate) const EXCEPTIONS: [Entry; 32] = [$($name),+];
        $(
            global_asm!(
                concat!(".global ", stringify!($name)),
                concat!(stringify!($name), ":"),
                $push,
                concat!("push ", stringify!($vector)),
                "mov rdi, rsp",
                "and rsp, -16",
                "cld",
                "call {exception}",
                exception = sym exception,
            );
        )+
    };
}

// Vectors 8, 10 to 14, 17, 21, 29 and 30 bring an error code (SDM Vol. 3A table 7-1, APM Vol. 2 table 8-1).
exceptions! {
    0 exception_0 "push 0", 1 exception_1 "push 0", 2 exception_2 "push 0", 3 exception_3 "push 0",
    4 exception_4 "push 0", 5 exception_5 "push 0", 6 exception_6 "push 0", 7 exception_7 "push 0",
    8 exception_8 "", 9 exception_9 "push 0", 10 exception_10 "", 11 exception_11 "",
    12 exception_12 "", 13 exception_13 "", 14 exception_14 "", 15 exception_15 "push 0",
    16 exception_16 "push 0", 17 exception_17 "", 18 exception_18 "push 0", 19 exception_19 "push 0",
    20 exception_20 "push 0", 21 exception_21 "", 22 exception_22 "push 0", 23 exception_23 "push 0",
    24 exception_24 "push 0", 25 exception_25 "push 0", 26 exception_26 "push 0", 27 exception_27 "push 0",
    28 exception_28 "push 0", 29 exception_29 "", 30 exception_30 "", 31 exception_31 "push 0",
}

extern "sysv64" fn exception(frame: &ExceptionFrame) -> ! {
    bugcheck::exception(frame)
}
