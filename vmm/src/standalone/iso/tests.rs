use super::*;
use std::os::unix::fs::PermissionsExt as _;

/// A folder like /usr, with GRUB's files and these scripts as programs.
fn prefix(mkimage: &str, xorriso: &str) -> tempfile::TempDir {
    let prefix = tempfile::tempdir().expect("a folder");
    let platform = prefix.path().join("lib/grub/i386-pc");
    fs::create_dir_all(&platform).unwrap();
    fs::create_dir(prefix.path().join("bin")).unwrap();
    for file in ["boot_hybrid.img", "multiboot2.mod"] {
        fs::write(platform.join(file), file).unwrap();
    }
    for (name, script) in [(MKIMAGE, mkimage), (XORRISO, xorriso)] {
        let program = prefix.path().join("bin").join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    prefix
}

fn tools(prefix: &tempfile::TempDir) -> Result<Tools, Error> {
    Tools::find(prefix.path().join("bin").as_os_str())
}

/// The last argument but one is the disc's place, the last one what is on it.
const PACK: &str =
    r#"for each; do place=$tree tree=$each; done; cat "$tree/boot/grub.img" "$tree/boot/kipi.elf" >"$place""#;
/// The configuration is the core image.
const COPY: &str = r#"while [ $# -gt 0 ]; do
case $1 in --config) config=$2 ;; --output) output=$2 ;; esac; shift; done
cp "$config" "$output""#;

#[test]
fn a_disc_has_grub_with_its_commands_and_the_image() {
    let disc = disc_by(&tools(&prefix(COPY, PACK)).unwrap(), b"the image", b"MZ", Console::COM1).unwrap();
    let commands = commands(Console::COM1);
    assert_eq!(String::from_utf8(disc).unwrap(), format!("{commands}the image"));
    assert_eq!(commands.matches(&format!("/{IMAGE}\n")).count(), 2);
    assert!(commands.contains("echo \"kipi: starting. The results go to COM1 (115200 baud, 8N1).\"\n"), "{commands}");
}

#[test]
fn what_is_missing_is_named_with_its_packages() {
    let prefix = prefix("", "");
    let refusal = |removed: &str| {
        fs::remove_file(prefix.path().join(removed)).unwrap();
        tools(&prefix).unwrap_err().to_string()
    };
    let message = refusal("lib/grub/i386-pc/multiboot2.mod");
    assert!(
        message.contains("lib/grub/i386-pc/multiboot2.mod is missing") && message.contains("grub-pc-bin"),
        "{message}"
    );
    assert!(refusal("bin/xorriso").starts_with("xorriso is missing"));
    assert!(refusal("bin/grub-mkimage").starts_with("grub-mkimage is missing"));
}

#[test]
fn a_program_that_fails_is_named_with_its_last_words() {
    let failing = prefix(COPY, "echo 'first' >&2; echo 'xorriso : FAILURE : no room' >&2; echo >&2; exit 5");
    let message = disc_by(&tools(&failing).unwrap(), b"x", b"MZ", Console::COM1).unwrap_err().to_string();
    assert_eq!(message, "xorriso failed (exit status: 5): xorriso : FAILURE : no room");
    let silent = prefix("exit 1", PACK);
    let message = disc_by(&tools(&silent).unwrap(), b"x", b"MZ", Console::COM1).unwrap_err().to_string();
    assert_eq!(message, "grub-mkimage failed (exit status: 1): it said nothing");
}
