//! What kept a guest that had taken kipi over from the host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The sandbox that kipi's process was in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Whether it was on.
    pub state: State,
    /// The parts that were not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Capabilities that were kept, because results go to a directory of somebody else's: capabilities(7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The version of Landlock's interface, which says what it could deny: landlock(7); left out where it was not on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock_abi: Option<u32>,
    /// How long it took to put it up, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ns: Option<u64>,
}

/// Whether a sandbox was on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All of it.
    On,
    /// Not all: the kernel, or what kipi ran in, did not give it.
    Partly,
    /// None: `--no-sandbox`.
    Off,
}

impl State {
    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Partly => "partly",
            Self::Off => "off",
        }
    }
}

impl Sandbox {
    /// None.
    pub fn off() -> Self {
        Self { state: State::Off, missing: Vec::new(), capabilities: Vec::new(), landlock_abi: None, took_ns: None }
    }

    /// What a reader must know of it; `None`: nothing.
    pub fn warning(&self) -> Option<String> {
        match self.state {
            State::On => None,
            State::Partly | State::Off => Some(self.to_string()),
        }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            State::On => formatter.write_str("sandbox: on"),
            State::Partly => write!(formatter, "sandbox: in part, without {}", self.missing.join("; ")),
            State::Off => formatter.write_str("NO SANDBOX (--no-sandbox)"),
        }
    }
}
