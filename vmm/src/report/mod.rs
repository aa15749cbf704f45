//! Reports: a finished document rendered for people and machines, and where the result goes.
//!
//! A format is one file. Every format reads its document and nothing else, but [`csv`] gets the raw samples block by
//! block, and [`html`] draws the cells' details too. The tables that people read are built once, in `tables`, and
//! printed as text and as HTML. [`output`] knows files and no format.

pub mod bmf;
pub mod check;
pub mod comparison;
pub mod csv;
pub mod doctor;
mod finite;
pub mod history;
pub mod html;
pub mod json;
pub mod output;
pub mod overhead;
pub mod prometheus;
mod quiet;
mod summary;
mod table;
mod tables;
pub mod text;
pub mod trace;
pub mod units;
pub mod wrap;
