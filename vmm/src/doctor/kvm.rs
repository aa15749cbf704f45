//! What KVM offers, asked at the device itself.

use kvm_bindings::{
    CpuId, KVM_API_VERSION, KVM_CAP_BINARY_STATS_FD, KVM_CAP_GET_TSC_KHZ, KVM_CAP_HALT_POLL, KVM_CAP_HYPERV_SEND_IPI,
    KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_IRQCHIP, KVM_CAP_MAX_VCPU_ID, KVM_CAP_MAX_VCPUS, KVM_CAP_NR_VCPUS,
    KVM_CAP_SIGNAL_MSI, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_TSC_CONTROL, KVM_CAP_TSC_DEADLINE_TIMER,
    KVM_CAP_VCPU_ATTRIBUTES, KVM_CAP_X2APIC_API, KVM_CAP_X86_USER_SPACE_MSR, KVM_MAX_CPUID_ENTRIES,
};
use kvm_ioctls::Kvm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Why a device cannot be used. Each names the device; the way out depends on the host and is the doctor's to tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    Absent {
        /// The device.
        path: PathBuf,
    },
    /// The file's mode keeps this process out.
    #[error("{}: permission denied (mode {mode:04o}, owner {owner}, group {group})", path.display())]
    Denied {
        /// The device.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's number.
        owner: u32,
        /// Its group's number.
        group: u32,
    },
    /// Something other than the file's mode keeps this process out: a container's device rules.
    #[error("{}: opening it is not permitted, whatever its file mode", path.display())]
    Forbidden {
        /// The device.
        path: PathBuf,
    },
    /// The file is there, but no driver answers.
    #[error("{} is there, but no driver stands behind it", path.display())]
    NoDriver {
        /// The device.
        path: PathBuf,
    },
    /// It is not KVM's device at all.
    #[error("{} is not KVM's device", path.display())]
    NotKvm {
        /// The device.
        path: PathBuf,
    },
    /// KVM speaks another version of its interface.
    #[error("{}: KVM's API version is {version}, and kipi needs {KVM_API_VERSION}", path.display())]
    ApiVersion {
        /// The device.
        path: PathBuf,
        /// What KVM_GET_API_VERSION returned.
        version: i32,
    },
    /// Any other error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A capability that the doctor asks for by KVM_CHECK_EXTENSION.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// Its name without `KVM_CAP_`.
    pub name: &'static str,
    number: u32,
}

/// Declares the capabilities by the kernel's names.
macro_rules! capabilities {
    ($($(#[$meta:meta])* $name:ident = $number:ident),+ $(,)?) => {
        impl Capability {
            $(
                $(#[$meta])*
                pub const $name: Self = Self { name: stringify!($name), number: $number };
            )+

            /// Every capability that is asked for.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

capabilities! {
    /// An interrupt controller in the kernel.
    IRQCHIP = KVM_CAP_IRQCHIP,
    /// The local APICs in the kernel, the rest in user space.
    SPLIT_IRQCHIP = KVM_CAP_SPLIT_IRQCHIP,
    /// APIC ids of 32 bits; the value is a set of flags.
    X2APIC_API = KVM_CAP_X2APIC_API,
    /// The VMM can send MSIs.
    SIGNAL_MSI = KVM_CAP_SIGNAL_MSI,
    /// Guests can send IPIs by Hyper-V's hypercall.
    HYPERV_SEND_IPI = KVM_CAP_HYPERV_SEND_IPI,
    /// MSR accesses can exit to the VMM; the value is a set of flags.
    X86_USER_SPACE_MSR = KVM_CAP_X86_USER_SPACE_MSR,
    /// Halt polling can be set for each VM.
    HALT_POLL = KVM_CAP_HALT_POLL,
    /// The guest's TSC frequency can be set.
    TSC_CONTROL = KVM_CAP_TSC_CONTROL,
    /// The guest's TSC frequency can be read.
    GET_TSC_KHZ = KVM_CAP_GET_TSC_KHZ,
    /// The local APIC's timer has a TSC deadline mode.
    TSC_DEADLINE_TIMER = KVM_CAP_TSC_DEADLINE_TIMER,
    /// vCPUs have attributes, the TSC offset among them.
    VCPU_ATTRIBUTES = KVM_CAP_VCPU_ATTRIBUTES,
    /// Statistics of each vCPU through a file descriptor.
    BINARY_STATS_FD = KVM_CAP_BINARY_STATS_FD,
    /// KVM_RUN can be told to return at once.
    IMMEDIATE_EXIT = KVM_CAP_IMMEDIATE_EXIT,
    /// The number of vCPUs that KVM recommends at most.
    NR_VCPUS = KVM_CAP_NR_VCPUS,
    /// The number of vCPUs that KVM allows at most.
    MAX_VCPUS = KVM_CAP_MAX_VCPUS,
    /// One more than the highest vCPU id that KVM allows.
    MAX_VCPU_ID = KVM_CAP_MAX_VCPU_ID,
}

/// The bits of KVM's CPUID that matter to IPIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestCpuid {
    /// CPUID.1:ECX bit 21: guests may use x2APIC mode.
    pub x2apic: bool,
    /// CPUID.1:ECX bit 24: the local APIC's timer has a TSC deadline mode.
    pub tsc_deadline: bool,
    /// CPUID.40000001H:EAX bit 11: KVM says that it takes IPIs by its own hypercall.
    pub pv_send_ipi: bool,
}

/// What KVM offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// KVM_GET_API_VERSION.
    pub api_version: i32,
    /// KVM_CHECK_EXTENSION's answers by the capability's name without `KVM_CAP_`; 0: not offered.
    pub capabilities: BTreeMap<String, i32>,
    /// From KVM_GET_SUPPORTED_CPUID; `null` if KVM did not answer that.
    pub cpuid: Option<GuestCpuid>,
}

impl Offer {
    /// KVM's answer for a capability; 0: not offered.
    pub fn value(&self, capability: Capability) -> i32 {
        self.capabilities.get(capability.name).copied().unwrap_or(0)
    }

    /// Whether KVM offers a capability; a negative answer is an error, not an offer.
    pub fn has(&self, capability: Capability) -> bool {
        self.value(capability) > 0
    }
}

/// Opens the device and asks KVM what it offers.
///
/// # Errors
/// When the device cannot be opened, is not KVM's, or speaks another version.
pub(super) fn ask(device: &Path) -> Result<Offer, Error> {
    let kvm = open(device)?;
    let api_version = kvm.get_api_version();
    if api_version < 0 {
        return Err(Error::NotKvm { path: device.to_owned() });
    }
    if u32::try_from(api_version) != Ok(KVM_API_VERSION) {
        return Err(Error::ApiVersion { path: device.to_owned(), version: api_version });
    }
    let answer =
        |capability: &Capability| (capability.name.to_owned(), kvm.check_extension_raw(capability.number.into()));
    Ok(Offer {
        api_version,
        capabilities: Capability::ALL.iter().map(answer).collect(),
        cpuid: kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).ok().as_ref().map(guest_cpuid),
    })
}

fn open(device: &Path) -> Result<Kvm, Error> {
    let path = || device.to_owned();
    let metadata = fs::metadata(device).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Absent { path: path() },
        _ => Error::Io { path: path(), source },
    })?;
    // Opening a pipe would block, and opening a directory would tell something else than what is wrong.
    if !metadata.file_type().is_char_device() {
        return Err(Error::NotKvm { path: path() });
    }
    let name = CString::new(device.as_os_str().as_bytes()).map_err(|_| Error::Absent { path: path() })?;
    Kvm::new_with_path(name).map_err(|error| match error.errno() {
        libc::EACCES => {
            Error::Denied { path: path(), mode: metadata.mode() & 0o7777, owner: metadata.uid(), group: metadata.gid() }
        }
        libc::EPERM => Error::Forbidden { path: path() },
        libc::ENODEV | libc::ENXIO => Error::NoDriver { path: path() },
        errno => Error::Io { path: path(), source: io::Error::from_raw_os_error(errno) },
    })
}

fn guest_cpuid(cpuid: &CpuId) -> GuestCpuid {
    let leaf = |function| cpuid.as_slice().iter().find(|entry| entry.function == function);
    let features = leaf(1).map_or(0, |entry| entry.ecx);
    let paravirtual = leaf(0x4000_0001).map_or(0, |entry| entry.eax);
    GuestCpuid {
        x2apic: features & (1 << 21) != 0,
        tsc_deadline: features & (1 << 24) != 0,
        pv_send_ipi: paravirtual & (1 << 11) != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::kvm_cpuid_entry2;
    use tempfile::tempdir;

    #[test]
    fn files_that_are_no_device_are_told_apart() {
        let directory = tempdir().expect("a temporary directory");
        let absent = directory.path().join("kvm");
        assert!(matches!(ask(&absent), Err(Error::Absent { .. })));
        fs::write(&absent, "").expect("a file");
        assert!(matches!(ask(&absent), Err(Error::NotKvm { .. })));
        assert!(matches!(ask(directory.path()), Err(Error::NotKvm { .. })));
    }

    #[test]
    fn another_device_is_not_kvms() {
        let error = ask(Path::new("/dev/null")).expect_err("not KVM");
        assert_eq!(error.to_string(), "/dev/null is not KVM's device");
    }

    #[test]
    fn cpuid_bits_are_taken_from_their_leaves() {
        let features = kvm_cpuid_entry2 { function: 1, ecx: 1 << 21, eax: 1 << 11, ..Default::default() };
        let paravirtual = kvm_cpuid_entry2 { function: 0x4000_0001, eax: 1 << 11, ..Default::default() };
        let bits = |entries: &[kvm_cpuid_entry2]| guest_cpuid(&CpuId::from_entries(entries).expect("few entries"));
        assert_eq!(bits(&[features]), GuestCpuid { x2apic: true, tsc_deadline: false, pv_send_ipi: false });
        assert_eq!(bits(&[features, paravirtual]), GuestCpuid { x2apic: true, tsc_deadline: false, pv_send_ipi: true });
        assert_eq!(bits(&[]), GuestCpuid { x2apic: false, tsc_deadline: false, pv_send_ipi: false });
    }

    #[test]
    fn an_error_code_is_no_offer() {
        let capabilities = BTreeMap::from([("IRQCHIP".to_owned(), -22), ("SIGNAL_MSI".to_owned(), 1)]);
        let offer = Offer { api_version: 12, capabilities, cpuid: None };
        assert!(!offer.has(Capability::IRQCHIP));
        assert!(offer.has(Capability::SIGNAL_MSI));
        assert!(!offer.has(Capability::HALT_POLL), "not asked for");
    }
}
