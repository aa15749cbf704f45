//! Text for a terminal: lines that are never wider than they may be, and nothing in them that moves the cursor.

use textwrap::{Options, WordSeparator, WordSplitter, core::display_width};

/// The width where nobody says how wide the terminal is: a file, or a pipe.
pub const UNKNOWN_WIDTH: usize = 80;

/// The least width of an indented column of words.
const LEAST_WORDS: usize = 24;

/// Stands for a space at which no line may end, while a text is wrapped.
const NO_BREAK: char = '\u{a0}';

/// The columns that a text takes on a terminal.
pub(super) fn width_of(text: &str) -> usize {
    display_width(text)
}

/// Breaks a text between words into lines of at most `width` columns; lines but the first begin with `indent` spaces.
/// A word that is wider than a line is cut.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> String {
    hang("", text, width, indent)
}

/// As [`wrap`], after a `head` that stays as it is where it leaves room for words.
pub(super) fn hang(head: &str, text: &str, width: usize, indent: usize) -> String {
    let text = printable(text);
    // Where the indent would leave a narrow column of words, words are worth more than alignment.
    let indent = if width.saturating_sub(indent) < LEAST_WORDS { indent.min(width / 4) } else { indent };
    let indent = " ".repeat(indent);
    let options = Options::new(width)
        .subsequent_indent(&indent)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let text = format!("{head}{text}");
    let lines = textwrap::wrap(&text, options);
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// A list of items behind its lead, with a mark after each item but the last. An item stays in one line if it fits
/// into one.
pub(super) fn list(lead: &str, items: &[String], mark: &str, width: usize, indent: usize) -> String {
    let last = items.len().saturating_sub(1);
    let whole = |(index, item): (usize, &String)| {
        let item = if index == last { printable(item) } else { printable(item) + mark };
        let fits = indent + width_of(&item) <= width;
        if fits { item.replace(' ', &NO_BREAK.to_string()) } else { item }
    };
    let items: Vec<String> = items.iter().enumerate().map(whole).collect();
    let head = if lead.is_empty() { String::new() } else { format!("{lead} ") };
    hang(&head, &items.join(" "), width, indent).replace(NO_BREAK, " ")
}

/// One line without a character that cannot be printed: it is written as in a Rust literal, `\n` or `\u{1b}`.
/// White space at both ends is dropped.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    text.trim().chars().for_each(|character| push_printable(&mut line, character));
    line
}

/// As [`printable`], of a page: its lines and tabs stay.
pub(super) fn printable_page(text: &str) -> String {
    let mut page = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => page.push(character),
            other => push_printable(&mut page, other),
        }
    }
    page
}

fn push_printable(text: &mut String, character: char) {
    match character {
        '\\' | '\'' | '"' | NO_BREAK => text.push(character),
        other => text.extend(other.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn wrap_keeps_the_width_and_the_indent() {
        assert_eq!(wrap("- one two three", 9, 2), "- one two\n  three");
        assert_eq!(hang("  - ", &"word ".repeat(8), 32, 4), "  - word word word word word\n    word word word");
        assert_eq!(hang("  - ", "one two", 9, 4), "  - one\n  two", "words are worth more than the indent");
        assert_eq!(wrap("one two-three", 9, 0), "one\ntwo-three");
        assert_eq!(wrap("one two", 80, 0), "one two");
    }

    #[test]
    fn a_word_that_is_wider_than_a_line_is_cut() {
        assert_eq!(wrap("one /a/long/path two", 6, 0), "one\n/a/lon\ng/path\ntwo");
    }

    #[test]
    fn list_breaks_between_items() {
        let three = items(&["a b", "c d", "e"]);
        assert_eq!(list("x:", &three, ",", 80, 2), "x: a b, c d, e");
        assert_eq!(list("x:", &three, ",", 8, 2), "x: a b,\n  c d, e");
        assert_eq!(list("long lead:", &three, ",", 13, 2), "long lead:\n  a b, c d, e");
        assert_eq!(list("", &items(&["one two three"]), ",", 8, 0), "one two\nthree", "it fits into no line");
    }

    #[test]
    fn what_cannot_be_printed_is_made_visible() {
        assert_eq!(printable(" as 'it' is: \"µ\" · \\ \t\n"), "as 'it' is: \"µ\" · \\");
        assert_eq!(printable_page(" <p>\n\t\u{1b}[31mµ\r\n"), " <p>\n\t\\u{1b}[31mµ\\r\n");
        assert_eq!(wrap("a\u{1b}[31m\tb\nc", 80, 0), "a\\u{1b}[31m\\tb\\nc");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_word_is_lost(
            texts in prop::collection::vec("\\PC{0,30}", 0..8), width in 4..100_usize, indent in 0..40_usize,
        ) {
            for text in [list("lead:", &texts, ",", width, indent), wrap(&texts.join(" "), width, indent)] {
                prop_assert!(text.lines().all(|line| width_of(line) <= width), "{width}: {text}");
            }
            let letters = |text: &str| text.chars().filter(|it| !it.is_whitespace()).collect::<String>();
            let joined = texts.join(" ");
            prop_assert_eq!(letters(&wrap(&joined, width, indent)), letters(&printable(&joined)));
        }
    }
}
