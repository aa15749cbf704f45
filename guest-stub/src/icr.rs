//! The interrupt command register's low word (SDM Vol. 3A figure 12-12), the same in both APIC modes.

const NMI: u32 = 4 << 8;
const INIT: u32 = 5 << 8;
const STARTUP: u32 = 6 << 8;
const ASSERT: u32 = 1 << 14;
const LOGICAL: u32 = 1 << 11;
const SHORTHAND_SELF: u32 = 1 << 18;
const SHORTHAND_ALL: u32 = 2 << 18;
const SHORTHAND_ALL_BUT_SELF: u32 = 3 << 18;

/// Bit 12: the last command has not been sent yet. xAPIC only.
pub const SEND_PENDING: u32 = 1 << 12;

/// Who gets an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Everybody but the sender.
    AllButSelf,
    /// Everybody, the sender included.
    All,
    /// The sender.
    Itself,
    /// The processor with this APIC id.
    One(u32),
    /// The processors whose logical ids match this message destination address (SDM Vol. 3A 12.6.2.2).
    Logical(u32),
}

impl To {
    /// The destination's bits in the low word: its mode, or a shorthand.
    const fn bits(self) -> u32 {
        match self {
            Self::AllButSelf => SHORTHAND_ALL_BUT_SELF,
            Self::All => SHORTHAND_ALL,
            Self::Itself => SHORTHAND_SELF,
            Self::One(_) => 0,
            Self::Logical(_) => LOGICAL,
        }
    }

    /// The destination field, which a shorthand ignores.
    pub const fn field(self) -> u32 {
        match self {
            Self::One(address) | Self::Logical(address) => address,
            Self::AllButSelf | Self::All | Self::Itself => 0,
        }
    }
}

/// A fixed interrupt on `vector`, edge-triggered.
pub const fn fixed(vector: u8, to: To) -> u32 {
    vector as u32 | ASSERT | to.bits()
}

/// An NMI. Not for [`To::All`]: the shorthand that includes the sender is for fixed interrupts only (SDM Vol. 3A table
/// 12-3).
pub const fn nmi(to: To) -> u32 {
    NMI | ASSERT | to.bits()
}

/// Bits 10:8: the delivery mode.
const DELIVERY_MODE: u32 = 7 << 8;

/// Whether a command is INIT.
pub const fn is_init(command: u32) -> bool {
    command & DELIVERY_MODE == INIT
}

/// Whether a command is a start-up.
pub const fn is_startup(command: u32) -> bool {
    command & DELIVERY_MODE == STARTUP
}

/// INIT.
pub const fn init(to: To) -> u32 {
    INIT | ASSERT | to.bits()
}

/// Start-up at address `vector << 12`.
pub const fn startup_at(vector: u8, to: To) -> u32 {
    vector as u32 | STARTUP | ASSERT | to.bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that SDM Vol. 3A 10.4.4.1 and everybody's start-up code write.
    #[test]
    fn commands_are_the_manuals() {
        assert_eq!(init(To::AllButSelf), 0x000C_4500);
        assert_eq!(startup_at(8, To::AllButSelf), 0x000C_4608);
        assert_eq!(init(To::One(3)), 0x0000_4500);
        assert_eq!(nmi(To::AllButSelf), 0x000C_4400);
        assert_eq!(startup_at(0x9A, To::One(3)), 0x0000_469A);
        let commands = [init(To::AllButSelf), startup_at(8, To::One(3)), nmi(To::One(3)), fixed(0xE1, To::One(7))];
        assert_eq!(commands.map(is_init), [true, false, false, false]);
        assert_eq!(commands.map(is_startup), [false, true, false, false]);
    }

    #[test]
    fn fixed_interrupts_have_vector_mode_and_shorthand() {
        assert_eq!(fixed(0xE1, To::One(7)), 0x0000_40E1);
        assert_eq!(fixed(0xE1, To::All), 0x0008_40E1);
        assert_eq!(fixed(0xE1, To::AllButSelf), 0x000C_40E1);
        assert_eq!(fixed(0xE3, To::Itself), 0x0004_40E3);
        assert_eq!(fixed(0xE1, To::Logical(0x0002_0003)), 0x0000_48E1);
        assert_eq!([To::One(7), To::Logical(0x0002_0003), To::All].map(To::field), [7, 0x0002_0003, 0]);
    }
}
