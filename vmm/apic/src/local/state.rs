//! What a local APIC is: its registers, as a reset leaves them, and its mode, which IA32_APIC_BASE decides.

use crate::addressing::{Addressing, Mode};
use crate::capabilities::Capabilities;
use crate::registers::{LVT_MASKED, SVR_ENABLE};
use crate::timer::Timer;

/// An access that raises #GP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneralProtection;

/// IA32_APIC_BASE (SDM Vol. 3A figures 12-5 and 12-26).
const BASE_BOOTSTRAP: u64 = 1 << 8;
pub(super) const BASE_X2APIC: u64 = 1 << 10;
pub(super) const BASE_ENABLE: u64 = 1 << 11;
const BASE_PAGE: u64 = !0xFFF;
/// Where the registers lie after a reset.
const DEFAULT_PAGE: u64 = 0xFEE0_0000;

/// A local APIC.
#[derive(Debug, Clone)]
pub struct LocalApic {
    pub(crate) id: u32,
    pub(crate) capabilities: Capabilities,
    pub(crate) base: u64,
    pub(crate) tpr: u8,
    pub(crate) logical_id: u8,
    pub(crate) dfr: u32,
    pub(crate) svr: u32,
    pub(crate) isr: [u32; 8],
    /// What the ESR shows, and the errors since it was written.
    pub(crate) esr: u32,
    pub(crate) errors: u32,
    pub(crate) icr: u64,
    pub(crate) lvt: [u32; 6],
    pub(crate) timer: Timer,
    /// Software has enabled it since the last reset. Before that, no interrupt can wait: what is in the IRR all the same was under
    /// way when the reset came.
    pub(crate) was_enabled: bool,
}

impl LocalApic {
    /// As after a reset (SDM Vol. 3A 12.4.7.1), in xAPIC mode.
    pub(crate) fn new(id: u32, bootstrap: bool, capabilities: Capabilities) -> Self {
        let base = DEFAULT_PAGE | BASE_ENABLE | if bootstrap { BASE_BOOTSTRAP } else { 0 };
        Self {
            id,
            capabilities,
            base,
            tpr: 0,
            logical_id: 0,
            dfr: u32::MAX,
            svr: 0xFF,
            isr: [0; 8],
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [LVT_MASKED; 6],
            timer: Timer::default(),
            was_enabled: false,
        }
    }

    /// INIT: as a reset, but id, mode and place stay (SDM Vol. 3A 12.4.7.3, 12.12.5.1).
    pub(crate) fn init(&mut self) {
        *self = Self { base: self.base, ..Self::new(self.id, false, self.capabilities) };
    }

    /// Whether this is the bootstrap processor's.
    pub fn is_bootstrap(&self) -> bool {
        self.base & BASE_BOOTSTRAP != 0
    }

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The guest-physical address of the registers, in xAPIC mode.
    pub fn page(&self) -> u64 {
        self.base & BASE_PAGE
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        match (self.base & BASE_ENABLE != 0, self.base & BASE_X2APIC != 0) {
            (false, _) => Mode::Disabled,
            (true, false) => Mode::XApic,
            (true, true) => Mode::X2Apic,
        }
    }

    /// Writes IA32_APIC_BASE. Nothing else changes: a local APIC that is switched off keeps its registers and its IRR, as KVM's does
    /// (`kvm_apic_set_base`), and shows them again when it is on (SDM Vol. 3A 12.4.3 leaves it open).
    ///
    /// # Errors
    /// [`GeneralProtection`] for reserved bits, and for transitions that are not in SDM Vol. 3A figure 12-27: straight
    /// from off to x2APIC mode, from x2APIC back to xAPIC mode, and x2APIC mode without the enable bit.
    pub(crate) fn set_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let Capabilities { address_bits, x2apic: has_x2apic, .. } = self.capabilities;
        let address = BASE_PAGE & (1_u64.checked_shl(address_bits).unwrap_or(0)).wrapping_sub(1);
        let mode_bits = if has_x2apic { BASE_X2APIC | BASE_ENABLE } else { BASE_ENABLE };
        if value & !(address | BASE_BOOTSTRAP | mode_bits) != 0 {
            return Err(GeneralProtection);
        }
        let (enable, x2apic) = (value & BASE_ENABLE != 0, value & BASE_X2APIC != 0);
        let allowed = match self.mode() {
            _ if x2apic && !enable => false,
            Mode::Disabled => !x2apic,
            Mode::XApic => true,
            Mode::X2Apic => x2apic || !enable,
        };
        if !allowed {
            return Err(GeneralProtection);
        }
        self.base = value;
        Ok(())
    }

    /// How others address it.
    pub fn addressing(&self) -> Addressing {
        let mode = self.mode();
        Addressing {
            id: self.id,
            logical_id: self.logical_id,
            flat: self.dfr >> 28 == 0xF,
            enabled: mode != Mode::Disabled && self.is_software_enabled(),
            mode,
            priority: self.tpr >> 4,
        }
    }

    pub(super) fn is_software_enabled(&self) -> bool {
        self.svr & SVR_ENABLE != 0
    }
}
