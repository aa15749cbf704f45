//! What a host offers, and what a route can lack there.

/// What a host offers, as far as a route depends on it. [`crate::vm::offers`] has it from what KVM, and of membarrier(2) the
/// kernel, answers.
#[expect(clippy::struct_excessive_bools, reason = "KVM and the kernel answer each by itself")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostOffers {
    /// KVM emulates local APICs (KVM_CAP_IRQCHIP).
    pub kernel_local_apics: bool,
    /// Guests may use x2APIC mode (CPUID.01H:ECX bit 21 of KVM_GET_SUPPORTED_CPUID).
    pub x2apic: bool,
    /// KVM's local APICs can have ids of 32 bits, 255 among them (both flags of KVM_CAP_X2APIC_API).
    pub wide_apic_ids: bool,
    /// The VMM can send interrupt messages to KVM's local APICs (KVM_CAP_SIGNAL_MSI).
    pub signal_msi: bool,
    /// Guests can send IPIs by a hypercall of KVM's (KVM_FEATURE_PV_SEND_IPI in CPUID).
    pub pv_send_ipi: bool,
    /// Guests can send IPIs by a hypercall of Hyper-V's (KVM_CAP_HYPERV_SEND_IPI).
    pub hyperv_send_ipi: bool,
    /// Guests' hypercalls reach KVM, which is tried.
    pub hypercalls: bool,
    /// The guest's accesses to MSRs can exit to the VMM (KVM_CAP_X86_USER_SPACE_MSR).
    pub user_space_msrs: bool,
    /// The kernel interrupts the CPUs that run a process's threads (MEMBARRIER_CMD_PRIVATE_EXPEDITED).
    pub membarrier: bool,
    /// That interrupt can restart their restartable sequences (MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ).
    pub membarrier_rseq: bool,
}

impl HostOffers {
    /// A host on which no route lacks anything.
    pub const EVERYTHING: Self = Self {
        kernel_local_apics: true,
        x2apic: true,
        wide_apic_ids: true,
        signal_msi: true,
        pv_send_ipi: true,
        hyperv_send_ipi: true,
        hypercalls: true,
        user_space_msrs: true,
        membarrier: true,
        membarrier_rseq: true,
    };
}

/// What a route needs of the host, whatever the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// [`HostOffers::kernel_local_apics`].
    KernelLocalApics,
    /// [`HostOffers::x2apic`].
    X2Apic,
    /// [`HostOffers::signal_msi`].
    SignalMsi,
    /// [`HostOffers::pv_send_ipi`].
    PvSendIpi,
    /// [`HostOffers::hyperv_send_ipi`].
    HypervSendIpi,
    /// [`HostOffers::hypercalls`].
    Hypercalls,
    /// [`HostOffers::user_space_msrs`].
    UserSpaceMsrs,
    /// [`HostOffers::membarrier`].
    Membarrier,
    /// [`HostOffers::membarrier_rseq`].
    MembarrierRseq,
}

impl Need {
    /// Whether the host has it.
    pub const fn is_met(self, offers: HostOffers) -> bool {
        match self {
            Self::KernelLocalApics => offers.kernel_local_apics,
            Self::X2Apic => offers.x2apic,
            Self::SignalMsi => offers.signal_msi,
            Self::PvSendIpi => offers.pv_send_ipi,
            Self::HypervSendIpi => offers.hyperv_send_ipi,
            Self::Hypercalls => offers.hypercalls,
            Self::UserSpaceMsrs => offers.user_space_msrs,
            Self::Membarrier => offers.membarrier,
            Self::MembarrierRseq => offers.membarrier_rseq,
        }
    }

    /// What to say where the host does not have it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::KernelLocalApics => "it needs an in-kernel irqchip, and KVM_CAP_IRQCHIP is 0",
            Self::X2Apic => "this KVM's CPUID offers guests no x2APIC mode",
            Self::SignalMsi => "it needs interrupt messages of the VMM, and KVM_CAP_SIGNAL_MSI is 0",
            Self::PvSendIpi => {
                "it needs KVM_HC_SEND_IPI, and this KVM's CPUID does not offer it (KVM_FEATURE_PV_SEND_IPI)"
            }
            Self::HypervSendIpi => "it needs Hyper-V's hypercall for IPIs, and KVM_CAP_HYPERV_SEND_IPI is 0",
            Self::Hypercalls => "hypercalls do not reach this KVM: a guest that made one got no answer",
            Self::UserSpaceMsrs => "it needs MSR accesses that exit to the VMM, and KVM_CAP_X86_USER_SPACE_MSR is 0",
            Self::Membarrier => {
                "it needs the IPI of membarrier(2), and this kernel has no MEMBARRIER_CMD_PRIVATE_EXPEDITED (Linux 4.14)"
            }
            Self::MembarrierRseq => {
                "it needs an IPI that restarts sequences, and this kernel has no MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ (Linux 5.10, CONFIG_RSEQ)"
            }
        }
    }
}
