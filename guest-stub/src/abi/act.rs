//! What the guest does to learn what it costs there.

use super::wire_enum;

wire_enum! {
    /// Something that a processor does and that a hypervisor may have to do for it. None of them leaves anything changed.
    Act {
        /// None: what two time stamps cost.
        Nothing = 1 "nothing",
        /// CPUID, leaf 0.
        Cpuid = 2 "cpuid",
        /// RDMSR of IA32_TSC_ADJUST.
        Rdmsr = 3 "rdmsr",
        /// WRMSR of IA32_TSC_ADJUST, of the value that it has.
        Wrmsr = 4 "wrmsr",
        /// OUT of four bytes to [`PORT_IN_KVM`](super::PORT_IN_KVM).
        OutKvm = 5 "outl-kvm",
        /// OUT of four bytes to [`PORT_NO_EFFECT`](super::PORT_NO_EFFECT).
        OutVmm = 6 "outl-vmm",
        /// IN of four bytes from [`PORT_NO_EFFECT`](super::PORT_NO_EFFECT).
        InVmm = 7 "inl-vmm",
        /// A load from the xAPIC's task-priority register, by its address.
        ReadXApic = 8 "mmio-apic",
        /// A load from [`NO_EFFECT`](super::NO_EFFECT).
        ReadVmm = 9 "mmio-vmm",
        /// A store to the xAPIC's ICR: a fixed interrupt for the processor itself, by its APIC id, which waits until it is over.
        IcrXApic = 10 "icr-xapic",
        /// The same by WRMSR of the x2APIC's ICR.
        IcrX2Apic = 11 "icr-x2apic",
        /// A store to the xAPIC's EOI register, with an interrupt in service.
        EoiXApic = 12 "eoi-xapic",
        /// The same by WRMSR of the x2APIC's EOI register.
        EoiX2Apic = 13 "eoi-x2apic",
        /// HLT while an interrupt is pending already, until its handler begins.
        Hlt = 14 "hlt",
        /// A sleep in HLT: from the TSC deadline that ends it until the handler begins.
        HltTimer = 15 "hlt-timer",
    }
}
