//! What a user sees while a command works: a line on a terminal, which is gone when it ends.

use clap::Args;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal};

/// Whether anything is shown.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Shown {
    /// Say nothing on standard error but errors: no progress on a terminal
    #[arg(short, long)]
    quiet: bool,
}

/// The line.
pub(super) struct Progress {
    bar: ProgressBar,
    /// What is counted.
    unit: &'static str,
    /// The columns that its style is for.
    columns: Cell<u16>,
}

impl Shown {
    /// A line that counts such things. Drawn on a terminal only, and not more often than something ends: a ticking thread would
    /// disturb what it reports.
    pub(super) fn progress(self, unit: &'static str) -> Progress {
        let is_drawn = io::stderr().is_terminal() && !self.quiet;
        let target = if is_drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Progress { bar: ProgressBar::with_draw_target(None, target), unit, columns: Cell::new(0) }
    }
}

impl Progress {
    /// Shows that so many are done of a total.
    pub(super) fn count(&self, done: u64, total: u64) {
        self.fit();
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Shows what is done now.
    pub(super) fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.fit();
        self.bar.set_message(what);
    }

    /// Leaves a line above it.
    pub(super) fn leave(&self, line: &str) {
        self.bar.println(line);
    }

    /// Does something that writes to the terminal, too.
    pub(super) fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Removes it.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// A terminal's width may change at any time.
    fn fit(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
        let columns = size.map(|size| size.ws_col).filter(|&columns| columns > 0).unwrap_or(80);
        if self.columns.replace(columns) != columns {
            self.bar.set_style(style(columns, self.unit));
        }
    }
}

fn style(columns: u16, unit: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(&template(columns, unit));
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("left", left)
}

/// How long the rest takes, once something is done to tell by.
fn left(state: &ProgressState, line: &mut dyn fmt::Write) {
    // What cannot be written is a line of a terminal.
    let _ = match state.pos() {
        0 => line.write_str("?"),
        _ => write!(line, "{:#}", HumanDuration(state.eta())),
    };
}

/// What fits into so many columns, so that something is left of what is done now.
fn template(columns: u16, unit: &str) -> String {
    match columns {
        ..=24 => "{pos}/{len}".to_owned(),
        25..=47 => "{pos}/{len} {wide_msg}".to_owned(),
        48..=71 => format!("{{pos}}/{{len}} {unit}, {{left}} left: {{wide_msg}}"),
        72.. => format!("{{elapsed}} [{{bar:20}}] {{pos}}/{{len}} {unit}, {{left}} left: {{wide_msg}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::sync::{Arc, Mutex};

    /// A terminal of so many columns, and what was last written to it.
    #[derive(Debug, Clone)]
    struct Terminal(u16, Arc<Mutex<String>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            self.0
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.1.lock().expect("nobody panics").push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.1.lock().expect("nobody panics").clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_line_fits_any_terminal() {
        for columns in [8, 20, 24, 25, 40, 47, 48, 60, 71, 72, 80, 200] {
            let terminal = Terminal(columns, Arc::default());
            let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
            let bar = ProgressBar::with_draw_target(Some(708), target);
            bar.set_style(style(columns, "blocks"));
            bar.set_message("native-rseq all-but-self preempted");
            bar.tick();
            let before = terminal.1.lock().expect("nobody panics").clone();
            assert_eq!(columns > 47, before.contains("? left"), "nothing is known yet: {before:?}");
            bar.set_position(600);
            bar.tick();
            let shown = terminal.1.lock().expect("nobody panics").trim_end().to_owned();
            assert!(shown.chars().count() <= usize::from(columns), "{columns}: {shown:?}");
            assert!(shown.contains("600/708"), "{columns}: {shown:?}");
            assert_eq!(columns > 24, shown.contains("native"), "{columns}: {shown:?}");
        }
    }
}
