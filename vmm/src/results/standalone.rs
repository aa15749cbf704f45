//! How a run of the standalone image came to be a document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kipi's own VMM is called where there are others.
pub const OWN_VMM: &str = "kipi";

/// What a document has in a kernel's place where there was none.
pub const NO_KERNEL: &str = "none";

/// A document's kernel in words: `Linux 6.18.0`, or `no kernel`.
pub fn kernel_name(kernel: &str) -> String {
    if kernel == NO_KERNEL { "no kernel".to_owned() } else { format!("Linux {kernel}") }
}

/// A run of the standalone image, and the log that it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standalone {
    /// How the image was started: `pvh`, `multiboot2` or `efi`.
    pub door: String,
    /// Its command line, which is what was asked for.
    pub command_line: String,
    /// The log, as it was named; `-` is standard input.
    pub log: String,
    /// Version of the kipi that has read it.
    pub imported_by: String,
    /// Processors that the firmware lists.
    pub listed: u32,
    /// Where the frequency of the TSC is from.
    pub tsc_source: String,
    /// How far that may be off, in parts per million; zero: it was not measured.
    pub tsc_error_ppm: u32,
}

/// Another VMM that a measurement's cells ran under, in turns with kipi's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtherVmm {
    /// Its name: that of its cells, `under`.
    pub name: String,
    /// The command line that started it, with places for what kipi filled in.
    pub command: String,
    /// The signature that it showed its guest, such as `KVMKVMKVM`; left out where it showed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// The processor that it showed its guest.
    pub cpu: String,
    /// How the image ran there.
    pub standalone: Standalone,
}
