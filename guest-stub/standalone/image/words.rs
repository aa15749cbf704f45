//! The plan that `kipi image` has stored in the file, for boot loaders that give no command line.

use kipi_standalone::boot::CommandLine;

/// What the place begins with, and how large it is: what `kipi image` looks for.
const MARK: [u8; 16] = *b"KIPI-PLAN-WORDS:";
const PLACE: usize = 2048;

#[repr(C, align(16))]
struct Place {
    mark: [u8; MARK.len()],
    words: [u8; PLACE - MARK.len()],
}

#[used]
#[unsafe(link_section = ".data.words")]
static PLACE_FOR_WORDS: Place = Place { mark: MARK, words: [0; PLACE - MARK.len()] };

/// What a boot loader gives, or, where that is nothing, what is stored.
pub(crate) fn of(given: &CommandLine) -> &str {
    let given = given.text();
    if given.trim().is_empty() { stored() } else { given }
}

/// The words, to the first zero.
fn stored() -> &'static str {
    // What the compiler knows of the place is not what a file has there.
    let place = core::hint::black_box(&PLACE_FOR_WORDS);
    let end = place.words.iter().position(|&byte| byte == 0).unwrap_or(place.words.len());
    core::str::from_utf8(&place.words[..end]).unwrap_or_default()
}
