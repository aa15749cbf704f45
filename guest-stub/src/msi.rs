//! The message doorbell's word: which interrupt a guest asks the VMM for, and for whom. Vectors and vCPU indices only: how a
//! message names an APIC is the VMM's business.

/// Who gets the interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Everybody, by one message to the broadcast destination.
    All,
    /// Everybody but who asks: messages have no shorthand, so that each gets its own.
    AllButSender,
    /// The vCPU of this index.
    One(u16),
}

const ALL: u32 = 1 << 8;
const ALL_BUT_SENDER: u32 = 1 << 9;

/// A fixed interrupt on `vector`.
pub const fn encode(vector: u8, to: To) -> u32 {
    vector as u32
        | match to {
            To::All => ALL,
            To::AllButSender => ALL_BUT_SENDER,
            To::One(vcpu) => (vcpu as u32) << 16,
        }
}

/// What [`encode`] has encoded; `None` for what it never does.
pub const fn decode(word: u32) -> Option<(u8, To)> {
    let [vector, kind, low, high] = word.to_le_bytes();
    let vcpu = u16::from_le_bytes([low, high]);
    match (kind, vcpu) {
        (0, vcpu) => Some((vector, To::One(vcpu))),
        (1, 0) => Some((vector, To::All)),
        (2, 0) => Some((vector, To::AllButSender)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for to in [To::All, To::AllButSender, To::One(0), To::One(1023), To::One(u16::MAX)] {
            for vector in [0, 0x51, 0xFF] {
                assert_eq!(decode(encode(vector, to)), Some((vector, to)));
            }
        }
    }

    #[test]
    fn nothing_else_is() {
        assert_eq!(decode(0x3E1), None, "to all, and to all but the sender");
        assert_eq!(decode(0x4E1), None);
        assert_eq!(decode(0x0001_01E1), None, "to all, and to vCPU 1");
    }
}
