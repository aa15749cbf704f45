//! The standalone image as a file, and the plan that is stored in it.

use thiserror::Error;

/// The image that kipi was built with, an ELF file.
pub static STANDALONE: &[u8] = include_bytes!(env!("KIPI_STANDALONE_IMAGE"));

/// What the place for the plan's words begins with; zeroes follow.
const MARK: &[u8] = b"KIPI-PLAN-WORDS:";
/// Bytes of the place, the mark included.
const PLACE: usize = 2048;
/// The most bytes of words: a zero follows them.
pub const MOST_WORDS: usize = PLACE - MARK.len() - 1;

/// Why words cannot be stored.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// They are too long.
    #[error("the plan has {0} bytes, and the image has room for {MOST_WORDS}")]
    TooLong(usize),
    /// The image is another one, or was given a plan already.
    #[error("the image has no place for a plan")]
    NoPlace,
}

/// The image with a plan, which it follows where the boot loader gives it no command line.
///
/// # Errors
/// Every variant.
pub fn with_words(image: &[u8], words: &str) -> Result<Vec<u8>, Error> {
    if words.len() > MOST_WORDS {
        return Err(Error::TooLong(words.len()));
    }
    let is_free = |place: &[u8]| place.starts_with(MARK) && place[MARK.len()..].iter().all(|&byte| byte == 0);
    let mut places = image.windows(PLACE).enumerate().filter(|(_, place)| is_free(place)).map(|(at, _)| at);
    let (Some(at), None) = (places.next(), places.next()) else { return Err(Error::NoPlace) };
    let mut image = image.to_vec();
    image[at + MARK.len()..][..words.len()].copy_from_slice(words.as_bytes());
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        // The mark alone, as in code that looks for it, is no place.
        let mut image = [b"ELF", MARK, b"code"].concat();
        image.extend(MARK);
        image.extend([0; PLACE - MARK.len()]);
        image.extend(b"end");
        image
    }

    #[test]
    fn words_are_stored_behind_the_mark() {
        let with = with_words(&image(), "route=xapic").unwrap();
        assert_eq!(with.len(), image().len());
        let text = String::from_utf8_lossy(&with);
        assert!(text.contains("codeKIPI-PLAN-WORDS:route=xapic\0\0") && text.ends_with("\0end"), "{text}");
    }

    #[test]
    fn a_place_is_used_once_and_holds_so_much() {
        let with = with_words(&image(), "x").unwrap();
        assert_eq!(with_words(&with, "y"), Err(Error::NoPlace));
        assert!(with_words(&image(), &"w".repeat(MOST_WORDS)).is_ok());
        assert_eq!(with_words(&image(), &"w".repeat(MOST_WORDS + 1)), Err(Error::TooLong(MOST_WORDS + 1)));
    }
}
