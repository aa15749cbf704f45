//! The standalone image on a disc or a USB stick, with Debian's GRUB, which starts it by Multiboot2 on machines with a BIOS.
//!
//! GRUB's part is its core image with the few modules that it needs, and commands instead of a menu. xorriso puts it before the disc's
//! file system twice: as an El Torito boot image, and behind a master boot record, for whoever copies the disc to a stick.

use super::fat;
use kipi_standalone::plan::Console;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};
use thiserror::Error;

/// GRUB's program that makes core images; its platform's files are beside it, in ../lib/grub.
const MKIMAGE: &str = "grub-mkimage";
const XORRISO: &str = "xorriso";
/// GRUB's platform of a BIOS, and the kind of core image that El Torito starts.
const PLATFORM: &str = "i386-pc";
const CORE_FORMAT: &str = "i386-pc-eltorito";
const MODULES: [&str; 6] = ["biosdisk", "iso9660", "search", "search_fs_file", "echo", "multiboot2"];
/// Where the image is on the disc: by this file GRUB finds the disc, whichever drive it is.
const IMAGE: &str = "boot/kipi.elf";
const CORE: &str = "boot/grub.img";
/// The file system that UEFI starts the application from, by El Torito and as the stick's EFI system partition.
const EFI: &str = "boot/efi.img";

/// Why there is no disc.
#[derive(Debug, Error)]
pub enum Error {
    /// A program or file of Debian's is missing.
    #[error("{what} is missing: install GRUB and xorriso (Debian: grub-common, grub-pc-bin, xorriso)")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// A program did not do it.
    #[error("{program} failed ({status}): {complaint}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last words.
        complaint: String,
    },
    /// FAT12 ends at 16 MB.
    #[error("the UEFI application does not fit into the disc's FAT12 file system")]
    TooLarge,
    /// What is between them cannot be written or read.
    #[error("the disc's parts cannot be kept in {}: {error}", env::temp_dir().display())]
    Parts {
        /// Why.
        #[from]
        error: io::Error,
    },
}

/// The disc with this image on it, and the image as a UEFI `application`. `console` is where the image writes.
///
/// # Errors
/// Every variant.
pub fn disc(image: &[u8], application: &[u8], console: Console) -> Result<Vec<u8>, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    disc_by(&Tools::find(&path)?, image, application, console)
}

/// What GRUB does. The image says nothing on the screen.
fn commands(console: Console) -> String {
    format!(
        "search --no-floppy --file --set=root /boot/kipi.elf
echo \"kipi: starting. The results go to {console}.\"
multiboot2 /boot/kipi.elf
boot
"
    )
}

/// What makes discs.
#[derive(Debug)]
struct Tools {
    mkimage: PathBuf,
    xorriso: PathBuf,
    /// GRUB's files of the platform.
    platform: PathBuf,
}

impl Tools {
    fn find(path: &OsStr) -> Result<Self, Error> {
        let program = |name: &str| {
            let places = env::split_paths(path).map(|folder| folder.join(name));
            places.into_iter().find(|place| place.is_file()).ok_or_else(|| Error::Missing { what: name.to_owned() })
        };
        let (mkimage, xorriso) = (program(MKIMAGE)?, program(XORRISO)?);
        let prefix = mkimage.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        let platform = prefix.join("lib/grub").join(PLATFORM);
        let tools = Self { mkimage, xorriso, platform };
        for file in [tools.boot_record(), tools.platform.join("multiboot2.mod")] {
            if !file.is_file() {
                return Err(Error::Missing { what: file.display().to_string() });
            }
        }
        Ok(tools)
    }

    /// The master boot record that looks for a core image in an ISO 9660 file.
    fn boot_record(&self) -> PathBuf {
        self.platform.join("boot_hybrid.img")
    }
}

fn disc_by(tools: &Tools, image: &[u8], application: &[u8], console: Console) -> Result<Vec<u8>, Error> {
    let parts = tempfile::tempdir()?;
    let at = |name: &str| parts.path().join(name);
    let (tree, script, disc) = (at("tree"), at("commands"), at("disc"));
    fs::create_dir_all(tree.join("boot"))?;
    fs::write(tree.join(IMAGE), image)?;
    fs::write(tree.join(EFI), fat::with_application(application).ok_or(Error::TooLarge)?)?;
    fs::write(&script, commands(console))?;
    run(
        MKIMAGE,
        Command::new(&tools.mkimage)
            .arg("--directory")
            .arg(&tools.platform)
            .args(["--format", CORE_FORMAT])
            .args(["--prefix", "/boot/grub"])
            .arg("--config")
            .arg(&script)
            .arg("--output")
            .arg(tree.join(CORE))
            .args(MODULES),
    )?;
    // --boot-info-table and --grub2-boot-info: the core image is told where the rest of it is. --protective-msdos-label: firmware
    // that starts sticks with a partition only finds one.
    run(
        XORRISO,
        Command::new(&tools.xorriso)
            .args(["-as", "mkisofs", "-quiet", "-volid", "KIPI"])
            .args([
                "-eltorito-boot",
                CORE,
                "-no-emul-boot",
                "-boot-load-size",
                "4",
                "-boot-info-table",
                "--grub2-boot-info",
            ])
            .arg("--grub2-mbr")
            .arg(tools.boot_record())
            .arg("--protective-msdos-label")
            .args(["--efi-boot", EFI, "-efi-boot-part", "--efi-boot-image"])
            .arg("-output")
            .arg(&disc)
            .arg(&tree),
    )?;
    Ok(fs::read(&disc)?)
}

/// Runs a program to its end, which is to be a good one.
fn run(program: &'static str, command: &mut Command) -> Result<(), Error> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
    Err(Error::Failed { program, status: output.status, complaint })
}

#[cfg(test)]
mod tests;
