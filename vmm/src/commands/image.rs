//! `kipi image`.

use super::outputs::{open_all, write};
use super::status::{Failure, Status};
use super::values;
use crate::standalone::image::{self, STANDALONE};
use crate::standalone::{efi, iso};
use clap::Args;
use kipi_standalone::plan;
use std::io::Write as _;
use std::path::PathBuf;

/// Options of `kipi image`.
#[derive(Debug, Clone, Args)]
pub struct Image {
    /// What kind of file
    #[arg(long, value_name = "FORMAT", value_parser = values::image_formats(), default_value = "elf")]
    format: Format,
    /// The file to write; - is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the image measures where its boot loader gives it no command line: route=…, destination=…, state=…, rounds=… and
    /// others, each with values as of kipi measure's options
    #[arg(value_name = "WORD=VALUE[,VALUE..]")]
    plan: Vec<String>,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For PVH and Multiboot2.
    Elf,
    /// For UEFI.
    Efi,
    /// For discs and sticks.
    Iso,
}

impl Format {
    /// Every one, in the order of help texts.
    pub(super) const ALL: &[Self] = &[Self::Elf, Self::Efi, Self::Iso];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Efi => "efi",
            Self::Iso => "iso",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Elf => {
                "an ELF file, for VMMs that boot by PVH (QEMU -kernel, Firecracker, cloud-hypervisor) and for GRUB's multiboot2"
            }
            Self::Efi => {
                "an application for UEFI: EFI/BOOT/BOOTX64.EFI on a FAT file system, or QEMU's -kernel with OVMF"
            }
            Self::Iso => "a disc or USB stick with Debian's GRUB, for machines with a BIOS or UEFI",
        }
    }
}

/// Runs it.
///
/// # Errors
/// A plan that the image would not understand, or a file that cannot be written.
pub fn run(options: &Image) -> Result<Status, Failure> {
    if options.file.as_os_str() == "help" {
        let no_file = anyhow::anyhow!("help is no file to write: 'kipi help image' prints the help (./help is a file)");
        return Err(Failure::bad_input(no_file));
    }
    if let Some(word) = options.file.to_str().filter(|file| plan::is_word(&values::words_of_image(file))) {
        let missing =
            anyhow::anyhow!("FILE is missing before {word}, which is a word of the plan (./{word} is a file)");
        return Err(Failure::bad_input(missing));
    }
    let words = values::words_of_image(&options.plan.join(" "));
    if let Some(word) = plan::passed_over(&words) {
        let other =
            anyhow::anyhow!("{word} is no word of a plan: the image would pass over it, as over a boot loader's");
        return Err(Failure::bad_input(other));
    }
    let plan = plan::parse(&words).map_err(|error| Failure::bad_input(anyhow::anyhow!("{error}")))?;
    let image = if words.is_empty() {
        STANDALONE.to_vec()
    } else {
        image::with_words(STANDALONE, &words).map_err(Failure::bad_input)?
    };
    let file = match options.format {
        Format::Elf => image,
        Format::Efi => efi::application(&image).map_err(Failure::failed)?,
        Format::Iso => {
            let application = efi::application(&image).map_err(Failure::failed)?;
            iso::disc(&image, &application, plan.console).map_err(|error| Failure::new(Status::HostCannot, error))?
        }
    };
    let [output] = open_all([("FILE", &Some(options.file.clone()))])?;
    write(output, |output| output.write_all(&file)).map_err(Failure::failed)?;
    Ok(Status::Good)
}
