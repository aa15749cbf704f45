//! Reports: a finished [`document::Measurement`] rendered for people and machines, and where the result goes.
//!
//! Every format reads the document and nothing else, except [`csv`], which gets the raw samples block by block, and [`html`],
//! which draws the cells' [`detail`] too.
//! [`output`] knows files and no format. [`check`] has the formats of the conformance suite, which are written as its tests
//! end.

pub mod check;
pub mod csv;
pub mod doctor;
pub mod html;
pub mod json;
pub mod output;
mod table;
pub mod text;
pub mod trace;
pub mod units;
