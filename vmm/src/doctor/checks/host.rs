//! The machine and its clock.

use crate::results::doctor::{Check, Group, Verdict};
use crate::results::host::Facts;

/// Clock sources that read the TSC: the kernel trusts it.
const TSC_CLOCKSOURCES: [&str; 3] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"];

/// The governor that does not change frequency with load.
const STEADY_GOVERNOR: &str = "performance";

pub(super) fn checks(host: &Facts) -> Vec<Check> {
    [Some(machine(host)), Some(tsc(host)), clocksource(host), governor(host)].into_iter().flatten().collect()
}

fn machine(host: &Facts) -> Check {
    if !host.nested {
        return check("machine", Verdict::Ready, "bare metal: CPUID shows no hypervisor");
    }
    let hypervisor = host.hypervisor.as_deref().unwrap_or("one that gives no signature");
    check(
        "machine",
        Verdict::Limited,
        format!(
            "a virtual machine (hypervisor: {hypervisor}): exits and interrupts may pass through the outer hypervisor"
        ),
    )
    .advise("compare only with results from the same kind of machine; run on bare metal for the hardware's numbers")
}

fn tsc(host: &Facts) -> Check {
    let flag = |name, value| match value {
        Some(true) => format!(", {name}"),
        Some(false) => format!(", no {name}"),
        None => String::new(),
    };
    let invariant = if host.tsc.invariant { "invariant by CPUID" } else { "not invariant by CPUID" };
    let detail =
        format!("{invariant}{}{}", flag("constant_tsc", host.tsc.constant), flag("nonstop_tsc", host.tsc.nonstop));
    // Hypervisors hide the CPUID bit from machines that may migrate; the kernel's flags then tell as much.
    if host.tsc.invariant || (host.tsc.constant == Some(true) && host.tsc.nonstop == Some(true)) {
        return check("tsc", Verdict::Ready, detail);
    }
    check("tsc", Verdict::Limited, format!("{detail}: time stamps of different CPUs may drift apart"))
        .advise("do not trust skews; use a CPU, or a virtual machine setting, with an invariant TSC")
}

fn clocksource(host: &Facts) -> Option<Check> {
    let clocksource = host.tsc.clocksource.as_deref()?;
    if TSC_CLOCKSOURCES.contains(&clocksource) {
        return Some(check("clocksource", Verdict::Ready, clocksource));
    }
    Some(
        check("clocksource", Verdict::Limited, format!("{clocksource}: the kernel does not keep time with the TSC"))
            .advise("find out why: `dmesg | grep -i tsc`; a TSC marked unstable makes skews worthless"),
    )
}

fn governor(host: &Facts) -> Option<Check> {
    if host.governors.is_empty() {
        return None;
    }
    let found = host.governors.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    if host.governors.iter().all(|governor| governor == STEADY_GOVERNOR) {
        return Some(check("governor", Verdict::Ready, found));
    }
    Some(
        check("governor", Verdict::Limited, format!("{found}: CPU frequency follows the load, and timings with it"))
            .advise("sudo cpupower frequency-set -g performance"),
    )
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check::new(Group::Host, name, verdict, detail)
}
