//! A comparison, in each format that it is told in.

mod bmf;
mod cases;
mod json;
mod junit;
mod markdown;
mod prometheus;
mod tap;
mod text;

pub(super) use markdown::literal;
pub(super) use text::{Unit, describe};

use super::json::JsonError;
use crate::results::comparison::Comparison;
use quick_junit::SerializeError;
use std::fmt;
use strum::{IntoStaticStr, VariantArray};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// The document.
    Json,
    /// JUnit's XML, for CI servers.
    Junit,
    /// TAP version 13, for harnesses.
    Tap,
    /// For a comment on a pull request.
    Markdown,
    /// Bencher Metric Format.
    Bmf,
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
            Self::Junit => "JUnit XML, for CI servers",
            Self::Tap => "TAP version 13, for prove, kselftest and LAVA",
            Self::Markdown => "for a comment on a pull request",
            Self::Bmf => "Bencher Metric Format, for bencher run --adapter json",
        }
    }
}

/// Why a comparison could not be written in a format.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A value that JSON has no number for.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The XML writer's own.
    #[error(transparent)]
    Junit(#[from] SerializeError),
    /// The formatter's own.
    #[error(transparent)]
    Prometheus(#[from] fmt::Error),
}

/// The comparison in this format, in lines of at most `width` columns where people read it; it ends in a newline.
///
/// # Errors
/// [`RenderError`].
pub fn render(comparison: &Comparison, format: Format, width: usize) -> Result<String, RenderError> {
    Ok(match format {
        Format::Text => text::render(comparison, width),
        Format::Json => json::render(comparison)?,
        Format::Junit => junit::render(comparison)?,
        Format::Tap => tap::render(comparison),
        Format::Markdown => markdown::render(comparison),
        Format::Bmf => bmf::render(comparison)?,
    })
}

/// The comparison as gauges in Prometheus' text format.
///
/// # Errors
/// [`RenderError`].
pub fn render_prometheus(comparison: &Comparison) -> Result<String, RenderError> {
    Ok(prometheus::render(comparison)?)
}

/// A comparison whose texts, all of which documents may bring along, could break a report.
#[cfg(test)]
fn hostile(text: &str) -> Comparison {
    use crate::results::comparison::side::{Hosts, SideSandbox};
    use crate::results::sandbox::State;

    let mut comparison = crate::results::comparison::fixture::comparison();
    let mut texts: Vec<&mut String> = vec![&mut comparison.kipi];
    for side in [&mut comparison.base, &mut comparison.new] {
        side.sandboxes.push(SideSandbox { state: State::Partly, missing: vec![String::new()], runs: 1 });
        texts.extend(&mut side.files);
        texts.extend(side.sandboxes.iter_mut().flat_map(|sandbox| &mut sandbox.missing));
        texts.extend(side.outliers.iter_mut().flat_map(|it| [&mut it.file, &mut it.cpu, &mut it.kernel]));
        for host in &mut side.hosts {
            texts.extend([&mut host.cpu, &mut host.kernel, &mut host.kipi]);
            texts.extend(host.kvm.iter_mut().chain(&mut host.standalone));
        }
    }
    for difference in &mut comparison.differences {
        texts.extend(difference.item.iter_mut().chain(&mut difference.base).chain(&mut difference.new));
    }
    for finding in &mut comparison.findings {
        texts.extend([&mut finding.subject, &mut finding.base, &mut finding.new]);
    }
    texts.extend(&mut comparison.warnings);
    let mut rows: Vec<&mut Option<Hosts>> = comparison.cells.iter_mut().map(|row| &mut row.hosts).collect();
    rows.extend(comparison.gates.iter_mut().map(|gate| &mut gate.hosts));
    for hosts in rows {
        *hosts = Some(Hosts { cpu: text.to_owned(), kernel: Some(text.to_owned()) });
    }
    for each in texts {
        text.clone_into(each);
    }
    comparison
}
