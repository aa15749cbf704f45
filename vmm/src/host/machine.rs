//! What only CPUID and system calls tell.

use crate::results::host::OpenFiles;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::arch::x86_64::__cpuid;

/// First of the leaves that a hypervisor answers, with its signature.
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
/// First of the extended leaves, with the number of the last one.
const LEAF_EXTENDED: u32 = 0x8000_0000;
/// Advanced power management; AMD APM Vol. 3 E.4.6, SDM Vol. 2A CPUID.
const LEAF_POWER: u32 = 0x8000_0007;

/// What no file tells about this machine and this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// CPUs that this process may run on, by number; `None` where the system call fails (more CPUs than its mask).
    pub allowed_cpus: Option<Vec<usize>>,
    /// CPUID.1:ECX bit 31: a hypervisor is below.
    pub hypervisor_bit: bool,
    /// That hypervisor's signature.
    pub hypervisor: Option<String>,
    /// CPUID.80000007H:EDX bit 8: the TSC runs at one rate in all power states.
    pub invariant_tsc: bool,
    /// How many files this process may open.
    pub open_files: OpenFiles,
}

impl Machine {
    /// This machine and this process.
    pub fn read() -> Self {
        let hypervisor_bit = __cpuid(1).ecx & (1 << 31) != 0;
        let limit = getrlimit(Resource::Nofile);
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            allowed_cpus: sched_getaffinity(None).ok().map(|set| members(&set)),
            hypervisor_bit,
            // Without the bit, the leaf returns the data of the last basic leaf.
            hypervisor: hypervisor_bit.then(hypervisor).flatten(),
            invariant_tsc: __cpuid(LEAF_EXTENDED).eax >= LEAF_POWER && __cpuid(LEAF_POWER).edx & (1 << 8) != 0,
            open_files: OpenFiles { soft: limit.current, hard: limit.maximum },
        }
    }
}

fn members(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

fn hypervisor() -> Option<String> {
    let leaf = __cpuid(LEAF_HYPERVISOR);
    signature([leaf.ebx, leaf.ecx, leaf.edx])
}

/// The text in three registers, without the zero bytes that fill it up; `None` if there is none.
fn signature(registers: [u32; 3]) -> Option<String> {
    let bytes: Vec<u8> = registers.into_iter().flat_map(u32::to_le_bytes).collect();
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\0');
    (!text.is_empty()).then(|| text.escape_debug().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_read_in_register_order() {
        // Documentation/virt/kvm/x86/cpuid.rst: ebx = 0x4b4d564b, ecx = 0x564b4d56, edx = 0x4d.
        assert_eq!(signature([0x4b4d_564b, 0x564b_4d56, 0x4d]).as_deref(), Some("KVMKVMKVM"));
        assert_eq!(signature([0, 0, 0]), None);
        assert_eq!(signature([0x1b, 0, 0x41]).as_deref(), Some("\\u{1b}\\0\\0\\0\\0\\0\\0\\0A"));
    }

    #[test]
    fn affinity_is_read_from_the_mask() {
        let mut set = CpuSet::new();
        set.set(0);
        set.set(70);
        assert_eq!(members(&set), [0, 70]);
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read();
        assert!(!machine.kernel.is_empty());
        assert!(machine.allowed_cpus.is_none_or(|cpus| !cpus.is_empty()));
        assert!(machine.hypervisor.is_none() || machine.hypervisor_bit);
    }
}
