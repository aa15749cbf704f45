//! How a local APIC is addressed: what decides whether a message is for it.

/// The mode that IA32_APIC_BASE has put a local APIC into (SDM Vol. 3A table 12-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Switched off.
    #[default]
    Disabled,
    /// Registers in memory, 8-bit ids.
    XApic,
    /// Registers in MSRs, 32-bit ids.
    X2Apic,
}

/// What other threads have to know of a local APIC. Small enough to be published in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addressing {
    /// The APIC id.
    pub id: u32,
    /// The logical id in xAPIC mode: bits 24 to 31 of the LDR.
    pub logical_id: u8,
    /// The DFR's model is flat, not cluster.
    pub flat: bool,
    /// Software has enabled the local APIC: it takes fixed interrupts.
    pub enabled: bool,
    /// The mode.
    pub mode: Mode,
    /// The class of the TPR, 0 to 15: the lower, the sooner this local APIC takes a lowest-priority interrupt.
    pub priority: u8,
}

impl Addressing {
    /// As one word.
    pub fn to_bits(self) -> u64 {
        let mode = match self.mode {
            Mode::Disabled => 0_u64,
            Mode::XApic => 1,
            Mode::X2Apic => 2,
        };
        let flags = u64::from(self.flat) << 40 | u64::from(self.enabled) << 41 | mode << 42;
        u64::from(self.id) | u64::from(self.logical_id) << 32 | flags | u64::from(self.priority) << 48
    }

    /// From [`Addressing::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        let [id @ .., logical_id, flags, priority, _] = bits.to_le_bytes();
        Self {
            id: u32::from_le_bytes(id),
            logical_id,
            flat: flags & 1 != 0,
            enabled: flags & 2 != 0,
            mode: match flags >> 2 & 0b11 {
                0 => Mode::Disabled,
                1 => Mode::XApic,
                _ => Mode::X2Apic,
            },
            priority,
        }
    }

    /// Whether a logical destination's message destination address means this local APIC (SDM Vol. 3A 12.6.2.2,
    /// 12.12.10.2). All ones are everybody, 8 or 32 of them; a cluster number of all ones alone is a cluster like any other.
    pub fn matches_logical(self, mda: u32) -> bool {
        match self.mode {
            Mode::Disabled => false,
            Mode::X2Apic => {
                let ldr = self.x2apic_ldr();
                mda == u32::MAX || mda >> 16 == ldr >> 16 && mda & ldr & 0xFFFF != 0
            }
            Mode::XApic => match u8::try_from(mda) {
                Err(_) => mda == u32::MAX,
                Ok(0xFF) => true,
                Ok(mda) if self.flat => mda & self.logical_id != 0,
                Ok(mda) => mda >> 4 == self.logical_id >> 4 && mda & self.logical_id & 0xF != 0,
            },
        }
    }

    /// The logical destination register in x2APIC mode, which follows from the id: bits 19:4 are the cluster, bits 3:0 choose a bit
    /// in it. What is above bit 19 is not part of it (SDM Vol. 3A 12.12.10.2).
    pub fn x2apic_ldr(self) -> u32 {
        (self.id >> 4 & 0xFFFF) << 16 | 1 << (self.id & 0xF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn xapic(logical_id: u8, flat: bool) -> Addressing {
        Addressing { id: 3, logical_id, flat, enabled: true, mode: Mode::XApic, priority: 0 }
    }

    #[test]
    fn flat_is_a_bit_each() {
        let apic = xapic(0b100, true);
        assert!(apic.matches_logical(0b110) && apic.matches_logical(0xFF));
        assert!(!apic.matches_logical(0b011) && !apic.matches_logical(0));
    }

    #[test]
    fn a_cluster_has_a_number_and_four_bits() {
        let apic = xapic(0x24, false);
        assert!(apic.matches_logical(0x26) && apic.matches_logical(0xFF), "its own cluster, or everybody");
        assert!(!apic.matches_logical(0x16) && !apic.matches_logical(0x2B) && !apic.matches_logical(0xF3));
        assert!(!apic.matches_logical(0xF4), "not everybody, but cluster 15");
        assert!(xapic(0xF4, false).matches_logical(0xF4));
    }

    #[test]
    fn x2apic_has_clusters_of_sixteen() {
        let apic = Addressing { id: 0x123, enabled: true, mode: Mode::X2Apic, ..Addressing::default() };
        assert_eq!(apic.x2apic_ldr(), 0x12_0008);
        assert!(apic.matches_logical(0x12_000F) && apic.matches_logical(u32::MAX));
        assert!(!apic.matches_logical(0x12_0007) && !apic.matches_logical(0x13_0008) && !apic.matches_logical(0xFF));
        assert!(apic.matches_logical(apic.x2apic_ldr()));
    }

    #[test]
    fn a_wide_id_matches_its_own_logical_id() {
        let apic = Addressing { id: 0xABC1_2345, mode: Mode::X2Apic, ..Addressing::default() };
        assert_eq!(apic.x2apic_ldr(), 0x1234_0020);
        assert!(apic.matches_logical(0x1234_0020) && !apic.matches_logical(0x1235_0020));
    }

    #[test]
    fn nobody_reaches_one_that_is_off() {
        assert!(!Addressing::default().matches_logical(u32::MAX));
    }

    proptest! {
        #[test]
        fn one_word_holds_it_all(id: u32, logical_id: u8, flat: bool, enabled: bool, mode in 0..3_u8, priority in 0..16_u8) {
            let mode = [Mode::Disabled, Mode::XApic, Mode::X2Apic][usize::from(mode)];
            let addressing = Addressing { id, logical_id, flat, enabled, mode, priority };
            prop_assert_eq!(Addressing::from_bits(addressing.to_bits()), addressing);
        }

        #[test]
        fn any_word_is_read(bits: u64, mda: u32) {
            let _ = Addressing::from_bits(bits).matches_logical(mda);
        }
    }
}
