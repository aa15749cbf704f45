//! What a processor can do, as its CPUID says, as far as that decides which accesses its local APIC refuses.

/// A processor's capabilities. They are those that CPUID shows to the guest: a local APIC that does more than CPUID says, or less,
/// confuses guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Bits of a physical address: MAXPHYADDR (CPUID 80000008H, EAX bits 7:0). IA32_APIC_BASE has no more.
    pub address_bits: u32,
    /// x2APIC mode (CPUID 1, ECX bit 21). Without it, IA32_APIC_BASE bit 10 is reserved.
    pub x2apic: bool,
    /// The timer's TSC-deadline mode (CPUID 1, ECX bit 24). Without it, bit 18 of the timer's LVT entry is reserved, and there is no
    /// IA32_TSC_DEADLINE.
    pub tsc_deadline: bool,
    /// What bit 12 of the ICR is in x2APIC mode: a question of the vendor (CPUID 0).
    pub icr_delivery_status: DeliveryStatus,
}

/// What a write of the ICR's bit 12, delivery status, means in x2APIC mode, which has no such status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryStatus {
    /// Nothing: it reads as zero. So on Intel's processors, and on KVM for both vendors.
    #[default]
    Ignored,
    /// #GP, as for the other reserved bits. So on AMD's.
    Reserved,
}
