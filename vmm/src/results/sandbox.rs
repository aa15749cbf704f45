//! What kept a guest that had taken kipi over from the host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use strum::VariantArray;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray, Serialize, Deserialize, JsonSchema)]
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
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

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
        warning(self.state, &self.missing)
    }

    /// What it was, where a name says already what it is about: `on`.
    pub fn extent(&self) -> String {
        match self.state {
            State::On | State::Off => self.state.name().to_owned(),
            State::Partly => in_part(&self.missing),
        }
    }
}

fn in_part(missing: &[String]) -> String {
    format!("in part, without {}", missing.join("; "))
}

/// What a reader must know of a sandbox in this state, without these parts; `None`: nothing.
pub(super) fn warning(state: State, missing: &[String]) -> Option<String> {
    match state {
        State::On => None,
        State::Partly => Some(format!("sandbox: {}", in_part(missing))),
        State::Off => Some("NO SANDBOX (--no-sandbox)".to_owned()),
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.warning().as_deref().unwrap_or("sandbox: on"))
    }
}
