//! A comparison, in each format that it is told in.

mod json;
mod text;

use super::json::JsonError;
use crate::results::comparison::Comparison;
use strum::{IntoStaticStr, VariantArray};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// The document.
    Json,
}

impl Format {
    /// All formats, in the order of output.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What it is, for those who choose.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Text => "for people",
            Self::Json => "the whole document, kipi.comparison/1",
        }
    }
}

/// The comparison in this format, in lines of at most `width` columns where people read it; it ends in a newline.
///
/// # Errors
/// [`JsonError`], where the document is what is written.
pub fn render(comparison: &Comparison, format: Format, width: usize) -> Result<String, JsonError> {
    match format {
        Format::Text => Ok(text::render(comparison, width)),
        Format::Json => json::render(comparison),
    }
}
