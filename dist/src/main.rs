//! `kipi-dist FOLDER`: writes kipi's man pages and shell completions into `FOLDER/man` and `FOLDER/completions`.
//!
//! A program of its own: whoever runs kipi needs neither what renders them nor a hidden command that does.

mod page;

use anyhow::{Context, Result};
use clap_complete::Shell;
use kipi::commands::help;
use std::fs;
use std::path::Path;

/// The shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: kipi-dist FOLDER")?;
    let folder = Path::new(&folder);
    write_pages(&folder.join("man"))?;
    write_completions(&folder.join("completions"))
}

/// Writes `kipi.1`, and a page for each command: `kipi-measure.1`.
fn write_pages(folder: &Path) -> Result<()> {
    create(folder)?;
    let mut command = help::command();
    command.build();
    for command in [&command].into_iter().chain(command.get_subcommands()) {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let file = folder.join(format!("{name}.1"));
        fs::write(&file, page::render(command)?).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

fn write_completions(folder: &Path) -> Result<()> {
    create(folder)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut help::command(), "kipi", folder)
            .with_context(|| format!("completions for {shell} cannot be written into {}", folder.display()))?;
    }
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        write_pages(folder.path()).expect("pages");
        let page = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
        let root = page("kipi.1");
        let mut command = help::command();
        command.build();
        let commands: Vec<&clap::Command> = command.get_subcommands().collect();
        assert!(commands.len() > 5, "{commands:?}");
        for command in commands {
            let name = format!("kipi-{}", command.get_name());
            assert!(root.contains(&name.replace('-', r"\-")), "kipi.1 does not name {name}");
            let page = page(&format!("{name}.1"));
            // clap's own command has neither.
            let of_ours = [".SH EXAMPLES", r#".SH "EXIT STATUS""#].iter().filter(|_| command.get_name() != "help");
            for section in of_ours {
                assert!(page.contains(*section), "{name}.1 has no {section}");
            }
            for option in command.get_arguments().filter(|it| !it.is_hide_set()).filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}").replace('-', r"\-")), "{name}.1 has no --{option}");
            }
        }
    }

    /// Bash itself completes what has been typed.
    #[test]
    fn bash_completes_commands_and_values() {
        let folder = tempfile::tempdir().expect("a folder");
        write_completions(folder.path()).expect("completions");
        let script = r#"source "$0/kipi.bash"; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _kipi kipi "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
        for (typed, wanted) in [(&["meas"] as &[&str], "measure"), (&["measure", "--route", "x2"], "x2apic")] {
            let ran = Command::new("bash").args(["-c", script]).arg(folder.path()).arg("kipi").args(typed).output();
            let ran = ran.expect("bash");
            let replies = String::from_utf8_lossy(&ran.stdout).into_owned();
            assert!(replies.lines().any(|reply| reply == wanted), "{typed:?}: {replies}{ran:?}");
        }
    }
}
