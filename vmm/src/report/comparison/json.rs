//! The comparison as JSON.

use crate::report::json::{self, JsonError};
use crate::results::comparison::Comparison;

/// The document.
pub(super) fn render(comparison: &Comparison) -> Result<String, JsonError> {
    let mut bytes = Vec::new();
    json::write_comparison(comparison, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
