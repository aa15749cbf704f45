//! The local APIC, twice: kipi's, and a reading of the manual that is as plain as it can be ([`mod@reference`]). [`operation`]s are
//! what a guest can do, [`compare`] does them to both and looks for a difference.

pub mod compare;
pub mod operation;
pub mod reference;
