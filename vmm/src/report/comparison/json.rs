//! The comparison as JSON.

use crate::report::json::{self, JsonError};
use crate::results::comparison::Comparison;

/// The document.
pub(super) fn render(comparison: &Comparison) -> Result<String, JsonError> {
    json::to_text(comparison)
}
