//! KVM: the device, the module behind it, and what it offers.

use crate::results::acceleration::{Acceleration, AccelerationState};
use crate::results::doctor::{Check, Group, Verdict};
use crate::results::doctor::{GuestCpuid, Offer};
use crate::results::host::{Facts, Virtualization};
use crate::vm::device::Error;
use crate::vm::offers::Capability;
use std::borrow::Cow;

/// What a capability means: what its presence gives, what its absence costs, and how bad that is.
struct Meaning {
    capability: Capability,
    present: &'static str,
    absent: &'static str,
    without: Verdict,
}

const MEANINGS: &[Meaning] = &[
    Meaning {
        capability: Capability::IRQCHIP,
        present: "local APICs in KVM",
        absent: "no local APICs in KVM: interrupt routes cannot work",
        without: Verdict::Missing,
    },
    Meaning {
        capability: Capability::IMMEDIATE_EXIT,
        present: "a vCPU can be stopped without a race",
        absent: "stopping a vCPU can be missed: a run may hang",
        without: Verdict::Missing,
    },
    Meaning {
        capability: Capability::SPLIT_IRQCHIP,
        present: "local APICs without KVM's PIC and I/O APIC",
        absent: "local APICs only together with KVM's PIC and I/O APIC",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::X2APIC_API,
        present: "flags; 1 and 2 together give APIC ids above 254",
        absent: "APIC ids end at 254: at most 255 vCPUs",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::SIGNAL_MSI,
        present: "the VMM can send MSIs",
        absent: "the VMM cannot send MSIs",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::HYPERV_SEND_IPI,
        present: "guests can send IPIs by Hyper-V's hypercall",
        absent: "no IPIs by Hyper-V's hypercall",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::X86_USER_SPACE_MSR,
        present: "MSR accesses can exit to the VMM",
        absent: "MSR accesses cannot exit to the VMM",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::HALT_POLL,
        present: "halt polling can be set for each VM",
        absent: "halt polling is set for the whole host, by kvm.halt_poll_ns",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::TSC_CONTROL,
        present: "the guest's TSC frequency can be set",
        absent: "the guest's TSC runs at the host's frequency",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::GET_TSC_KHZ,
        present: "the guest's TSC frequency can be read",
        absent: "the guest's TSC frequency cannot be read from KVM",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::VCPU_ATTRIBUTES,
        present: "the guest's TSC offset can be read",
        absent: "the guest's TSC offset cannot be read: host and guest stamps do not compare",
        without: Verdict::Limited,
    },
    Meaning {
        capability: Capability::BINARY_STATS_FD,
        present: "KVM counts each vCPU's exits, no privilege needed",
        absent: "KVM's own counts of exits cannot be had",
        without: Verdict::Limited,
    },
];

/// Whether the device can be used, and the way there if not.
pub(super) fn device(host: &Facts, offer: &Result<Offer, Error>) -> Check {
    match offer {
        Ok(offer) => check("device", Verdict::Ready, format!("opens, API version {}", offer.api_version)),
        Err(error) => check("device", Verdict::Missing, error.to_string()).advise(way_out(host, error)),
    }
}

fn way_out(host: &Facts, error: &Error) -> String {
    error.way_out().map_or_else(
        || match error {
            Error::Absent { .. } | Error::NoDriver { .. } => driver_needed(host).to_owned(),
            Error::Denied { .. }
            | Error::Forbidden { .. }
            | Error::NotKvm { .. }
            | Error::ApiVersion { .. }
            | Error::Io { .. } => "see what the kernel says: sudo dmesg | grep -i kvm".to_owned(),
        },
        Cow::into_owned,
    )
}

/// How to get a driver for the device. The flags count as well as the modules: a kernel with both vendors' modules
/// built in shows both on every CPU.
fn driver_needed(host: &Facts) -> &'static str {
    let loaded = |name| host.vendor_modules().any(|module| module == name);
    let elsewhere = "the kernel has KVM's module, but the device is not here: in a container, start it with --device \
                     /dev/kvm";
    match host.virtualization {
        _ if loaded("kvm_pvm") => elsewhere,
        Some(Virtualization::Vmx) if loaded("kvm_intel") => elsewhere,
        Some(Virtualization::Svm) if loaded("kvm_amd") => elsewhere,
        Some(Virtualization::Vmx) => {
            "the CPU has vmx: sudo modprobe kvm_intel; in a container, do that on the host and start it with --device \
             /dev/kvm"
        }
        Some(Virtualization::Svm) => {
            "the CPU has svm: sudo modprobe kvm_amd; in a container, do that on the host and start it with --device \
             /dev/kvm"
        }
        None if host.nested => {
            "the CPU shows neither vmx nor svm: turn nested virtualisation on in the hypervisor below this machine"
        }
        None => "the CPU shows neither vmx nor svm: turn virtualisation on in the firmware's settings",
    }
}

/// Which module drives the device.
pub(super) fn module(host: &Facts, usable: bool) -> Check {
    let vendors: Vec<&str> = host.vendor_modules().collect();
    match vendors.as_slice() {
        [] if usable => check("module", Verdict::Ready, "built in or hidden: the vendor part cannot be told"),
        [] if !host.kvm_modules.is_empty() => {
            check("module", Verdict::Limited, "kvm is there, a vendor module is not to be seen")
        }
        [] => check("module", Verdict::Missing, "no KVM module is loaded"),
        ["kvm_pvm"] => check(
            "module",
            Verdict::Limited,
            "kvm_pvm: no hardware virtualisation, guest kernel code may be emulated, and its timings are then the \
             emulator's",
        )
        .advise("compare only with results from kvm_pvm"),
        vendors => check("module", Verdict::Ready, vendors.join(", ")),
    }
}

/// Whether the processor does a part of the local APICs' work.
pub(super) fn acceleration(found: &Acceleration) -> Check {
    let verdict = match found.state {
        AccelerationState::On => Verdict::Ready,
        AccelerationState::Off | AccelerationState::Inhibited | AccelerationState::Unknown => Verdict::Limited,
    };
    check(found.feature.name(), verdict, format!("{}: {}", found.state.name(), found.why))
}

/// The capabilities and the CPUID bits.
pub(super) fn offers(offer: &Offer) -> Vec<Check> {
    let mut checks: Vec<Check> = MEANINGS.iter().map(|meaning| capability(offer, meaning)).collect();
    match offer.cpuid {
        Some(cpuid) => checks.extend(cpuid_bits(offer, cpuid)),
        None => {
            checks.push(check("cpuid", Verdict::Limited, "KVM_GET_SUPPORTED_CPUID failed: only the probes can tell"));
        }
    }
    checks
}

fn capability(offer: &Offer, meaning: &Meaning) -> Check {
    let value = offer.value(meaning.capability.name);
    let (verdict, words) =
        if value > 0 { (Verdict::Ready, meaning.present) } else { (meaning.without, meaning.absent) };
    check(meaning.capability.name, verdict, format!("{value}: {words}"))
}

fn cpuid_bits(offer: &Offer, cpuid: GuestCpuid) -> [Check; 3] {
    let pick = |name, set, present: &str, absent: &str| {
        if set { check(name, Verdict::Ready, present) } else { check(name, Verdict::Limited, absent) }
    };
    let deadline = offer.value(Capability::TSC_DEADLINE_TIMER.name);
    [
        pick("cpuid x2APIC", cpuid.x2apic, "offered", "not offered: no x2apic route"),
        // Older kernels offer the timer by the capability alone.
        pick(
            "cpuid TSC deadline",
            cpuid.tsc_deadline || deadline > 0,
            &format!("CPUID bit {}, KVM_CAP_TSC_DEADLINE_TIMER {deadline}", u8::from(cpuid.tsc_deadline)),
            "not offered: guests have no TSC deadline timer",
        ),
        pick(
            "cpuid PV_SEND_IPI",
            cpuid.pv_send_ipi,
            "offered, which does not prove that the hypercall works",
            "not offered: no IPIs by KVM's hypercall",
        ),
    ]
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check::new(Group::Kvm, name, verdict, detail)
}
