//! One command's man page, of what `--help` prints.

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// The page of `command`, as roff(7) for section 1.
///
/// # Errors
/// Writing into memory does not fail.
pub(crate) fn render(command: &Command) -> Result<Vec<u8>> {
    // What follows the options becomes sections of its own, where clap_mangen would make one of it, named "EXTRA".
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    // roff leaves an empty argument out, and the next would then be the date. A page has none: the same sources make the same page.
    let version = env!("CARGO_PKG_VERSION");
    let man =
        Man::new(command.clone().version(version)).date(" ").source(format!("kipi {version}")).manual("kipi's manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    sections(after.as_deref().unwrap_or_default()).to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// The sections of the text after the options: a line such as `Exit status:` begins one, and what is indented below it keeps its
/// lines. What stands before the first is notes.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let (mut in_section, mut is_kept) = (false, false);
    for line in text.lines() {
        let is_heading = line.ends_with(':') && line.starts_with(char::is_uppercase);
        let keeps = line.starts_with(' ');
        if is_kept && !line.is_empty() && !keeps {
            roff.control("EE", []);
            is_kept = false;
        }
        if is_heading {
            roff.control("SH", [line.trim_end_matches(':').to_uppercase().as_str()]);
            in_section = true;
        } else if line.is_empty() {
            if in_section {
                roff.control("PP", []);
            }
        } else {
            if !in_section {
                roff.control("SH", ["NOTES"]);
                in_section = true;
            }
            if keeps && !is_kept {
                roff.control("EX", []);
                is_kept = true;
            }
            roff.text([roman(line)]);
        }
    }
    if is_kept {
        roff.control("EE", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_begins_a_section() {
        let command = Command::new("tool").after_long_help(
            "First of all.\n\nExamples:\n  tool --fast   # in a hurry\n  tool -x\n\nExit status:\n  0  good\n  1  bad\nNothing else.",
        );
        let page = String::from_utf8(render(&command).expect("a page")).expect("UTF-8");
        let start = page.find(".SH NOTES").expect("notes");
        let expected = "\
.SH NOTES
First of all.
.PP
.SH EXAMPLES
.EX
  tool \\-\\-fast   # in a hurry
  tool \\-x
.PP
.EE
.SH \"EXIT STATUS\"
.EX
  0  good
  1  bad
.EE
Nothing else.
";
        assert!(page[start..].starts_with(expected), "{}", &page[start..]);
        assert!(!page.contains("EXTRA"), "{page}");
    }
}
