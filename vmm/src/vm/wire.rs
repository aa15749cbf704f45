//! The ABI's structures as guest memory holds them.

use guest_stub::abi::{Boot, BugCheck, Command, HostCalls, ImageHeader, Report, Sample, Tally};
use vm_memory::ByteValued;

/// A structure of the ABI, for `read_obj` and `write_obj` of guest memory.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct Wire<T>(pub T);

macro_rules! plain {
    ($($type:ty),+) => {
        $(
            // SAFETY: `repr(C)` of integers and arrays of them, with no padding (the ABI asserts the sizes): every bit
            // pattern is a value.
            unsafe impl ByteValued for Wire<$type> {}
        )+
    };
}

plain!(Boot, BugCheck, Command, HostCalls, ImageHeader, Report, Sample, Tally);
