//! The local APIC, twice: kipi's, and a reading of the manual that is as plain as it can be ([`mod@reference`]). [`operation`]s are
//! what guests can do, and what can be done to them; [`compare`] does them to both and looks for a difference. Between kipi's local
//! APIC and its guest is a [`hypervisor`] that behaves as KVM does.

pub mod compare;
pub mod hypervisor;
pub mod operation;
pub mod reference;
