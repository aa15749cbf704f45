use super::*;
use crate::host::read_facts;
use crate::host::tests::Tree;

/// What the kernel shows of a processor: `flags`, and of Intel's, `vmx flags`.
fn cpuinfo(flags: &str, vmx_flags: Option<&str>) -> String {
    let vmx = vmx_flags.map_or_else(String::new, |flags| format!("vmx flags\t: {flags}\n"));
    format!("processor\t: 0\nmodel name\t: made up\nflags\t\t: {flags}\n{vmx}bugs\t\t: spectre_v1\n\nprocessor\t: 1\n")
}

fn host(cpuinfo: &str, parameters: &[(&str, &str)]) -> Facts {
    let tree = Tree::new().file("proc/cpuinfo", cpuinfo);
    let add = |tree: Tree, (name, value): &(&str, &str)| {
        let (module, name) = name.split_once('.').expect("module.parameter");
        tree.file(&format!("sys/module/{module}/parameters/{name}"), &format!("{value}\n"))
    };
    read_facts(&parameters.iter().fold(tree, add).sources)
}

/// A Xeon from Sapphire Rapids on.
fn xeon(parameters: &[(&str, &str)]) -> Facts {
    let vmx = "vnmi preemption_timer posted_intr invvpid flexpriority apicv tsc_offset vapic_reg vid ple ipi_virt";
    host(&cpuinfo("fpu vmx x2apic", Some(vmx)), parameters)
}

/// A Zen 4.
fn epyc(flags: &str, parameters: &[(&str, &str)]) -> Facts {
    host(&cpuinfo(&format!("fpu svm npt decodeassists {flags}"), None), parameters)
}

fn nothing() -> Observed {
    Observed::Nothing("no permission (run as root)".to_owned())
}

fn inhibits(reasons: &[&str]) -> Observed {
    Observed::Inhibits { reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(), vcpus: 8 }
}

fn states(host: &Facts, observed: &Observed) -> Vec<(&'static str, State)> {
    judge(host, observed).iter().map(|found| (found.feature.name(), found.state)).collect()
}

fn why(host: &Facts, observed: &Observed, feature: Feature) -> String {
    let found = judge(host, observed).into_iter().find(|found| found.feature == feature);
    found.expect("the feature is judged").why
}

const BOTH: [(&str, &str); 2] = [("kvm_intel.enable_apicv", "Y"), ("kvm_intel.enable_ipiv", "Y")];

#[test]
fn what_kvm_offers_is_on_only_if_it_was_seen_to_be() {
    let host = xeon(&BOTH);
    assert!(is_worth_a_look(&host));
    assert_eq!(states(&host, &inhibits(&[])), [("APICv", State::On), ("IPI virtualization", State::On)]);
    assert_eq!(states(&host, &nothing()), [("APICv", State::Unknown), ("IPI virtualization", State::Unknown)]);
    assert!(why(&host, &nothing(), Feature::Apicv).ends_with("could not be seen: no permission (run as root)"));
}

#[test]
fn what_inhibits_it_is_named() {
    let found = judge(&xeon(&BOTH), &inhibits(&["APIC_ID_MODIFIED", "reason 17"]));
    assert!(found.iter().all(|found| found.state == State::Inhibited));
    assert_eq!(found[0].inhibits, ["APIC_ID_MODIFIED", "reason 17"]);
    assert_eq!(found[0].why, "for 8 vCPUs: APIC_ID_MODIFIED (an APIC id is not its vCPU's number); reason 17");
}

#[test]
fn what_is_on_is_so_for_as_many_vcpus_as_were_looked_at() {
    let text = "KVM offers it, and nothing inhibits it for 8 vCPUs (kvm_apicv_inhibit_changed)";
    assert_eq!(why(&xeon(&BOTH), &inhibits(&[]), Feature::Ipis), text);
}

#[test]
fn without_x2avic_ipis_are_virtualised_in_xapic_mode_only() {
    let parameters = [("kvm_amd.avic", "Y"), ("kvm_amd.enable_ipiv", "Y")];
    let [zen3, zen4] = ["avic", "avic x2avic"].map(|flags| epyc(flags, &parameters));
    for observed in [inhibits(&[]), nothing()] {
        let [in_xapic, in_both] = [&zen3, &zen4].map(|host| why(host, &observed, Feature::Ipis));
        assert!(in_xapic.starts_with("KVM offers it in xAPIC mode only"), "{in_xapic}");
        assert!(in_both.starts_with("KVM offers it, and"), "{in_both}");
    }
}

#[test]
fn intel_without_it_says_whose_fault_that_is() {
    // A virtual machine whose hypervisor does not offer it, and a module that was told not to use it.
    let old = host(
        &cpuinfo("vmx", Some("vnmi flexpriority tsc_offset")),
        &[("kvm_intel.enable_apicv", "N"), ("kvm_intel.enable_ipiv", "N")],
    );
    assert!(!is_worth_a_look(&old));
    let of_old = |feature| why(&old, &nothing(), feature);
    assert_eq!(of_old(Feature::Apicv), "kvm_intel.enable_apicv is N, and the CPU flags show no apicv");
    assert_eq!(of_old(Feature::Ipis), "it needs APICv");
    let told = xeon(&[("kvm_intel.enable_apicv", "N")]);
    let text = "kvm_intel.enable_apicv is N, although the CPU flags show apicv: load the module with it set";
    assert_eq!(why(&told, &nothing(), Feature::Apicv), text);
    let before_ipiv = xeon(&[("kvm_intel.enable_apicv", "Y")]);
    assert_eq!(states(&before_ipiv, &inhibits(&[])), [("APICv", State::On), ("IPI virtualization", State::Off)]);
    let hidden = xeon(&[]);
    assert_eq!(states(&hidden, &inhibits(&[])), [("APICv", State::Unknown), ("IPI virtualization", State::Unknown)]);
    assert_eq!(why(&hidden, &nothing(), Feature::Ipis), "kvm_intel.enable_apicv cannot be read");
}

#[test]
fn amd_has_three_parts_of_it() {
    let all = epyc("avic x2avic", &[("kvm_amd.avic", "Y"), ("kvm_amd.enable_ipiv", "Y")]);
    let on = [("AVIC", State::On), ("x2AVIC", State::On), ("IPI virtualization", State::On)];
    assert_eq!(states(&all, &inhibits(&[])), on);
    // Zen 2, whose IPI virtualisation KVM keeps off.
    let zen2 = epyc("avic", &[("kvm_amd.avic", "1"), ("kvm_amd.enable_ipiv", "N")]);
    let partly = [("AVIC", State::On), ("x2AVIC", State::Off), ("IPI virtualization", State::Off)];
    assert_eq!(states(&zen2, &inhibits(&[])), partly);
    assert!(why(&zen2, &nothing(), Feature::Ipis).contains("erratum 1235"));
    // A kernel before the parameter.
    let older = epyc("avic x2avic", &[("kvm_amd.avic", "Y")]);
    assert_eq!(states(&older, &inhibits(&[])), on);
    let pit = [("AVIC", State::Inhibited), ("x2AVIC", State::Inhibited), ("IPI virtualization", State::Inhibited)];
    assert_eq!(states(&older, &inhibits(&["PIT_REINJ"])), pit);
}

#[test]
fn amd_without_it_says_whose_fault_that_is() {
    let by_default = epyc("avic x2avic", &[("kvm_amd.avic", "N"), ("kvm_amd.enable_ipiv", "N")]);
    assert!(!is_worth_a_look(&by_default));
    let text = "kvm_amd.avic is N, although the CPU flags show avic: load the module with it set";
    assert_eq!(why(&by_default, &nothing(), Feature::Avic), text);
    assert_eq!(why(&by_default, &nothing(), Feature::X2avic), "it needs AVIC");
    let emulated = epyc("vgif", &[("kvm_amd.avic", "0")]);
    assert_eq!(why(&emulated, &nothing(), Feature::Avic), "kvm_amd.avic is 0, and the CPU flags show no avic");
}

#[test]
fn without_hardware_there_is_none() {
    let pvm = host(&cpuinfo("fpu hypervisor", None), &[("kvm_pvm.pvm_native", "1")]);
    assert_eq!(states(&pvm, &inhibits(&[])), [("APIC acceleration", State::Off)]);
    assert!(!is_worth_a_look(&pvm));
    let hidden = host("", &[("kvm_intel.enable_apicv", "Y")]);
    assert_eq!(states(&hidden, &inhibits(&[])), [("APIC acceleration", State::Unknown)]);
}

#[test]
fn both_vendors_modules_may_be_built_in() {
    let built_in = [("kvm_intel.enable_apicv", "N"), ("kvm_amd.avic", "Y"), ("kvm_amd.enable_ipiv", "Y")];
    let found = states(&epyc("avic", &built_in), &inhibits(&[]));
    assert_eq!(found, [("AVIC", State::On), ("x2AVIC", State::Off), ("IPI virtualization", State::On)]);
}
