//! Whether the processor accelerates local APICs for kipi's virtual machine: what module parameters and CPU flags allow, and what
//! KVM was seen to do with it.
//!
//! KVM clears a parameter that its host cannot fulfil when its module is loaded (`vmx_hardware_setup`, `avic_hardware_setup`):
//! one that is set says that KVM offers it. Whether it then uses it is decided for each virtual machine, and only a tracepoint
//! tells (`kvm_apicv_inhibit_changed`): what was not seen is not known.

use crate::results::acceleration::{Acceleration, AccelerationState as State, Feature};
use crate::results::host::{Facts, Virtualization};

/// The CPU flags that tell of it: of `flags`, and where the kernel has it, of `vmx flags` in /proc/cpuinfo.
pub(super) const FLAGS: [&str; 7] = ["apicv", "avic", "ipi_virt", "posted_intr", "vapic_reg", "vid", "x2avic"];

/// What KVM was seen to do for a virtual machine like kipi's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Nobody could look, for this reason.
    Nothing(String),
    /// It gave reasons not to accelerate; none: it does.
    Inhibits {
        /// By name.
        reasons: Vec<String>,
        /// How many vCPUs the machine had: one with more can have more reasons.
        vcpus: usize,
    },
}

/// What the host says of a feature before a virtual machine runs.
enum Prospect {
    /// There is none, for this reason.
    Off(String),
    /// KVM offers it, in these words.
    Offered(&'static str),
    /// It cannot be told, for this reason.
    Unknown(String),
}

impl Prospect {
    /// That of a feature that needs this one, which is called so: `own` counts only where this one is offered.
    fn before(&self, name: &str, own: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Off(_) => Self::Off(format!("it needs {name}")),
            Self::Unknown(why) => Self::Unknown(why.clone()),
            Self::Offered(_) => own(),
        }
    }
}

const OFFER: &str = "KVM offers it";
const OFFER_IN_XAPIC_MODE: &str =
    "KVM offers it in xAPIC mode only (without x2AVIC, x2APIC mode's writes to the ICR exit)";

/// Whether it takes a look at a virtual machine to tell.
pub fn is_worth_a_look(host: &Facts) -> bool {
    prospects(host).iter().any(|(_, prospect)| matches!(prospect, Prospect::Offered(_)))
}

/// What kipi's virtual machine has of it, with local APICs in KVM.
pub fn judge(host: &Facts, observed: &Observed) -> Vec<Acceleration> {
    let finding = |(feature, prospect)| match prospect {
        Prospect::Off(why) => found(feature, State::Off, why),
        Prospect::Unknown(why) => found(feature, State::Unknown, why),
        Prospect::Offered(words) => offered(feature, words, observed),
    };
    prospects(host).into_iter().map(finding).collect()
}

/// What was seen of a feature that KVM offers.
fn offered(feature: Feature, words: &str, observed: &Observed) -> Acceleration {
    match observed {
        Observed::Nothing(why) => {
            found(feature, State::Unknown, format!("{words}, and whether it uses it could not be seen: {why}"))
        }
        Observed::Inhibits { reasons, vcpus } if reasons.is_empty() => {
            let why = format!("{words}, and nothing inhibits it for {vcpus} vCPUs (kvm_apicv_inhibit_changed)");
            found(feature, State::On, why)
        }
        Observed::Inhibits { reasons, vcpus } => {
            let told: Vec<String> = reasons.iter().map(|reason| explain(reason)).collect();
            let why = format!("for {vcpus} vCPUs: {}", told.join("; "));
            Acceleration { inhibits: reasons.clone(), ..found(feature, State::Inhibited, why) }
        }
    }
}

fn found(feature: Feature, state: State, why: String) -> Acceleration {
    Acceleration { feature, state, why, inhibits: Vec::new() }
}

/// A kernel with both vendors' modules built in shows both on every CPU: the flags tell which one drives KVM.
fn prospects(host: &Facts) -> Vec<(Feature, Prospect)> {
    let has = |module| host.vendor_modules().any(|found| found == module);
    match host.virtualization {
        _ if has("kvm_pvm") => {
            vec![(Feature::Any, Prospect::Off("kvm_pvm does without hardware virtualisation".to_owned()))]
        }
        Some(Virtualization::Vmx) => intel(host),
        Some(Virtualization::Svm) => amd(host),
        None => {
            let why = "the CPU flags show neither vmx nor svm".to_owned();
            vec![(Feature::Any, Prospect::Unknown(why))]
        }
    }
}

fn intel(host: &Facts) -> Vec<(Feature, Prospect)> {
    let apicv = parameter(host, "kvm_intel.enable_apicv", "apicv");
    let ipis = apicv.before("APICv", || match host.settings.get("kvm_intel.enable_ipiv") {
        None => Prospect::Off("this kvm_intel has no IPI virtualization (no parameter enable_ipiv)".to_owned()),
        Some(_) => parameter(host, "kvm_intel.enable_ipiv", "ipi_virt"),
    });
    vec![(Feature::Apicv, apicv), (Feature::Ipis, ipis)]
}

fn amd(host: &Facts) -> Vec<(Feature, Prospect)> {
    let avic = parameter(host, "kvm_amd.avic", "avic");
    let x2avic = avic.before("AVIC", || match has_flag(host, "x2avic") {
        Some(true) => Prospect::Offered(OFFER),
        Some(false) => Prospect::Off(
            "the CPU flags show no x2avic: in x2APIC mode register accesses exit, and AVIC delivers interrupts alone"
                .to_owned(),
        ),
        None => Prospect::Unknown("the CPU flags cannot be read".to_owned()),
    });
    let ipis = avic.before("AVIC", || match host.settings.get("kvm_amd.enable_ipiv") {
        Some(value) if !is_on(value) => Prospect::Off(format!(
            "kvm_amd.enable_ipiv is {value}: set so when the module was loaded, or by KVM because of erratum 1235 \
             (AMD's family 17h, Hygon's 18h)"
        )),
        // Before it had this parameter, KVM virtualised IPIs wherever AVIC was on.
        Some(_) | None => match has_flag(host, "x2avic") {
            Some(true) => Prospect::Offered(OFFER),
            Some(false) => Prospect::Offered(OFFER_IN_XAPIC_MODE),
            None => Prospect::Unknown("the CPU flags cannot be read".to_owned()),
        },
    });
    vec![(Feature::Avic, avic), (Feature::X2avic, x2avic), (Feature::Ipis, ipis)]
}

/// What a module parameter says, which KVM sets only where the processor has what the flag stands for.
fn parameter(host: &Facts, name: &str, flag: &str) -> Prospect {
    match host.settings.get(name) {
        None => Prospect::Unknown(format!("{name} cannot be read")),
        Some(value) if is_on(value) => Prospect::Offered(OFFER),
        Some(value) => Prospect::Off(match has_flag(host, flag) {
            Some(false) => format!("{name} is {value}, and the CPU flags show no {flag}"),
            Some(true) => format!("{name} is {value}, although the CPU flags show {flag}: load the module with it set"),
            None => format!("{name} is {value}"),
        }),
    }
}

/// A parameter is a bool, or in older kernels a number.
fn is_on(value: &str) -> bool {
    matches!(value, "Y" | "1")
}

fn has_flag(host: &Facts, flag: &str) -> Option<bool> {
    Some(host.apic_flags.as_ref()?.contains(flag))
}

/// What KVM's reason to inhibit means (arch/x86/include/asm/kvm_host.h, `enum kvm_apicv_inhibit`).
fn explain(reason: &str) -> String {
    let meaning = match reason {
        "DISABLED" => "off by module parameter, or not in this processor",
        "HYPERV" => "a guest of Hyper-V's kind uses AutoEOI",
        "ABSENT" => "the local APICs are not in KVM",
        "BLOCKIRQ" => "a debugger blocks interrupts (KVM_GUESTDBG_BLOCKIRQ)",
        "PHYSICAL_ID_ALIASED" => "two vCPUs share an APIC id",
        "APIC_ID_MODIFIED" => "an APIC id is not its vCPU's number",
        "APIC_BASE_MODIFIED" => "a local APIC was moved",
        "NESTED" => "a vCPU runs a nested guest",
        "IRQWIN" => "KVM waits for an interrupt window",
        "PIT_REINJ" => "KVM's PIT reinjects ticks",
        "X2APIC" => "a vCPU may use x2APIC mode, for which there is no AVIC",
        "SEV" => "an SEV guest",
        "LOGICAL_ID_ALIASED" => "logical ids do not tell vCPUs apart, or vCPUs are in different APIC modes",
        "PHYSICAL_ID_TOO_BIG" => "an APIC id is beyond what the processor can address",
        _ => return reason.to_owned(),
    };
    format!("{reason} ({meaning})")
}

#[cfg(test)]
mod tests;
