//! Whatever a guest writes to ports and to memory, and what the VMM makes of it (`kipi_tests::guest_words`).

#![no_main]

use kipi_tests::guest_words::{self, Script};

libfuzzer_sys::fuzz_target!(|script: Script| {
    guest_words::play(&script);
});
