//! Reports of `kipi trace`: on the terminal, and for the Perfetto UI.

pub mod perfetto;
pub mod text;
