//! The logical ids of local APICs (SDM Vol. 3A 12.6.2.2 and 12.12.10.2): who has which, and which of them one message
//! destination address can select together.

/// How the local APICs of a machine are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogicalIds {
    /// xAPIC mode, flat model: a bit for each of at most eight.
    Flat,
    /// xAPIC mode, cluster model: fifteen clusters of four. The sixteenth is the broadcast address.
    Cluster,
    /// x2APIC mode: clusters of sixteen, derived from the APIC ids.
    X2Apic,
}

/// The most local APICs that have a logical id each in xAPIC mode.
pub const XAPIC_PROCESSORS: usize = CLUSTERS * CLUSTER;

const FLAT: usize = 8;
const CLUSTERS: usize = 15;
const CLUSTER: usize = 4;

impl LogicalIds {
    /// The numbering of `processors` local APICs; `None`: more than [`XAPIC_PROCESSORS`] in xAPIC mode.
    pub const fn of(in_x2apic_mode: bool, processors: usize) -> Option<Self> {
        match (in_x2apic_mode, processors) {
            (true, _) => Some(Self::X2Apic),
            (false, 0..=FLAT) => Some(Self::Flat),
            (false, ..=XAPIC_PROCESSORS) => Some(Self::Cluster),
            (false, _) => None,
        }
    }

    /// The logical id of the processor with this index and APIC id.
    #[expect(clippy::cast_possible_truncation, reason = "a cluster's number is below 15")]
    pub const fn id(self, index: usize, apic_id: u32) -> u32 {
        match self {
            Self::Flat => 1 << (index % FLAT),
            Self::Cluster => ((index / CLUSTER % CLUSTERS) as u32) << 4 | 1 << (index % CLUSTER),
            Self::X2Apic => apic_id >> 4 << 16 | 1 << (apic_id & 0xF),
        }
    }

    /// Whether one address can select two ids together: it is then both of them, ORed.
    pub const fn are_together(self, one: u32, other: u32) -> bool {
        let cluster = match self {
            Self::Flat => 0,
            Self::Cluster => 0xF0,
            Self::X2Apic => 0xFFFF_0000,
        };
        (one ^ other) & cluster == 0
    }

    /// What the destination format register holds in xAPIC mode (SDM Vol. 3A figure 12-14).
    pub const fn format(self) -> u32 {
        match self {
            Self::Flat | Self::X2Apic => 0xFFFF_FFFF,
            Self::Cluster => 0x0FFF_FFFF,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_processor_has_an_id_of_its_own_within_its_mode() {
        for (x2apic, most) in [(false, XAPIC_PROCESSORS), (true, 300)] {
            for processors in 1..=most {
                let ids = LogicalIds::of(x2apic, processors).unwrap();
                let all: BTreeSet<u32> =
                    (0..processors).map(|index| ids.id(index, u32::try_from(index).unwrap())).collect();
                assert_eq!(all.len(), processors);
                // 0xFF and clusters 15 are broadcasts.
                assert!(x2apic || ids == LogicalIds::Flat || all.iter().all(|&id| id >> 4 < 15), "{processors}");
            }
        }
        assert_eq!(LogicalIds::of(false, XAPIC_PROCESSORS + 1), None);
    }

    #[test]
    fn ids_are_the_manuals() {
        assert_eq!(LogicalIds::Flat.id(7, 0), 0x80);
        assert_eq!(LogicalIds::Cluster.id(9, 0), 0x22);
        assert_eq!(LogicalIds::X2Apic.id(0, 0x123), 0x0012_0008);
        assert!(LogicalIds::X2Apic.are_together(0x0012_0008, 0x0012_0001));
        assert!(!LogicalIds::X2Apic.are_together(0x0012_0008, 0x0013_0008));
        assert!(LogicalIds::Flat.are_together(0x80, 0x01) && !LogicalIds::Cluster.are_together(0x22, 0x12));
    }
}
