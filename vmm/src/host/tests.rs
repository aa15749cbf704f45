use super::*;
use crate::results::host::OpenFiles;
use tempfile::{TempDir, tempdir};

/// A made-up machine: files below one temporary directory.
pub(super) struct Tree {
    root: TempDir,
    pub(super) sources: Sources,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = tempdir().expect("a temporary directory");
        let machine = Machine {
            kernel: "6.12.0-made-up".to_owned(),
            allowed_cpus: Some(vec![0, 1, 2, 3]),
            hypervisor_bit: false,
            hypervisor: None,
            invariant_tsc: true,
            open_files: OpenFiles { soft: Some(1024), hard: Some(524_288) },
        };
        let sources = Sources { proc: root.path().join("proc"), sys: root.path().join("sys"), machine };
        Self { root, sources }
    }

    pub(super) fn file(self, path: &str, text: &str) -> Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a file below the root")).expect("directories");
        fs::write(path, text).expect("a file");
        self
    }

    fn cpu(self, model: &str, flags: &str) -> Self {
        let text = format!(
            "processor\t: 0\nmodel\t\t: 106\nmodel name\t: {model}\nmicrocode\t: 0xd0003a5\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
        );
        self.file("proc/cpuinfo", &text)
    }

    fn parameters(mut self, module: &str, parameters: &[(&str, &str)]) -> Self {
        for (name, value) in parameters {
            self = self.file(&format!("sys/module/{module}/parameters/{name}"), &format!("{value}\n"));
        }
        self
    }

    fn facts(&self) -> Facts {
        read_facts(&self.sources)
    }
}

fn pairs(settings: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn intel_on_bare_metal() {
    let tree = Tree::new()
        .cpu("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz", "fpu constant_tsc nonstop_tsc vmx x2apic")
        .parameters("kvm", &[("halt_poll_ns", "200000"), ("halt_poll_ns_grow", "2"), ("lapic_timer_advance", "Y")])
        .parameters("kvm_intel", &[("enable_apicv", "Y"), ("enable_ipiv", "Y"), ("nested", "Y"), ("ple_gap", "128")])
        .file("sys/devices/system/cpu/online", "0-3\n")
        .file("sys/devices/system/cpu/smt/active", "1\n")
        .file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
        .file("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n")
        .file("sys/devices/system/cpu/cpu9/cpufreq/scaling_governor", "ondemand\n")
        .file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
        .file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    let facts = tree.facts();

    assert_eq!(facts.cpu.as_deref(), Some("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz"));
    assert_eq!(facts.virtualization, Some(Virtualization::Vmx));
    assert_eq!(facts.kvm_modules, ["kvm_intel"]);
    assert_eq!(
        pairs(&facts.settings),
        [
            ("kvm.halt_poll_ns", "200000"),
            ("kvm.halt_poll_ns_grow", "2"),
            ("kvm_intel.enable_apicv", "Y"),
            ("kvm_intel.enable_ipiv", "Y"),
            ("kvm_intel.nested", "Y"),
            ("kvm_intel.ple_gap", "128"),
        ]
    );
    let tsc = Tsc { invariant: true, constant: Some(true), nonstop: Some(true), clocksource: Some("tsc".to_owned()) };
    assert_eq!(facts.tsc, tsc);
    assert_eq!(facts.online_cpus, Some(vec![0, 1, 2, 3]));
    assert_eq!(facts.smt, Some(true));
    let governors: Vec<&str> = facts.governors.iter().map(String::as_str).collect();
    assert_eq!(governors, ["performance", "powersave"], "of the allowed CPUs only, each once");
    assert_eq!(facts.transparent_hugepages.as_deref(), Some("madvise"));
    assert_eq!(facts.cpu_quota, None);
}

#[test]
fn amd_inside_a_virtual_machine() {
    let mut tree = Tree::new()
        .cpu("AMD EPYC 7763 64-Core Processor", "fpu constant_tsc svm hypervisor")
        .file("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 mitigations=off\n")
        .parameters("kvm", &[("halt_poll_ns", "0")])
        .parameters("kvm_amd", &[("avic", "N"), ("nested", "1"), ("npt", "Y"), ("pause_filter_count", "3000")]);
    tree.sources.machine.hypervisor_bit = true;
    tree.sources.machine.hypervisor = Some("KVMKVMKVM".to_owned());
    let facts = tree.facts();

    assert_eq!(facts.virtualization, Some(Virtualization::Svm));
    assert_eq!(facts.kvm_modules, ["kvm_amd"]);
    assert_eq!(facts.settings["kvm_amd.avic"], "N");
    assert_eq!(facts.settings["kvm_amd.pause_filter_count"], "3000");
    assert_eq!((facts.tsc.constant, facts.tsc.nonstop), (Some(true), Some(false)));
    let host = describe_facts(&facts, Power::default());
    assert!(host.nested);
    assert_eq!(host.hypervisor.as_deref(), Some("KVMKVMKVM"));
    assert_eq!(host.microcode.as_deref(), Some("0xd0003a5"));
    assert_eq!(host.command_line.as_deref(), Some("BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 mitigations=off"));
    assert_eq!(host.kvm, ["kvm_amd"]);
    assert_eq!(host.kernel, "6.12.0-made-up");
    assert_eq!(host.cpus, [0, 1, 2, 3]);
    assert_eq!(host.kipi, env!("CARGO_PKG_VERSION"));
}

#[test]
fn pvm_without_hardware_virtualisation() {
    let tree = Tree::new()
        .cpu("AMD EPYC", "fpu constant_tsc nonstop_tsc hypervisor")
        .parameters("kvm", &[("halt_poll_ns", "200000")])
        .parameters("kvm_pvm", &[("pvm_native", "1"), ("verbose", "0")]);
    let facts = tree.facts();
    assert_eq!(facts.virtualization, None);
    assert_eq!(facts.kvm_modules, ["kvm_pvm"]);
    assert_eq!(pairs(&facts.settings), [("kvm.halt_poll_ns", "200000"), ("kvm_pvm.pvm_native", "1")]);
}

#[test]
fn a_lockdown_is_the_chosen_one() {
    let tree = Tree::new().file("sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    assert_eq!(tree.facts().lockdown.as_deref(), Some("confidentiality"));
    assert_eq!(Tree::new().facts().lockdown, None);
}

#[test]
fn kvm_built_in_shows_its_common_part_only() {
    let tree = Tree::new().cpu("Intel", "vmx").parameters("kvm", &[("halt_poll_ns", "200000")]);
    assert_eq!(tree.facts().kvm_modules, ["kvm"]);
    assert_eq!(describe_facts(&tree.facts(), Power::default()).kvm, ["built-in or unknown"]);
}

#[test]
fn nothing_can_be_read() {
    let facts = Tree::new().facts();
    assert_eq!((&facts.cpu, &facts.microcode, &facts.command_line), (&None, &None, &None));
    assert_eq!(facts.virtualization, None);
    assert!(facts.kvm_modules.is_empty() && facts.settings.is_empty() && facts.governors.is_empty());
    assert_eq!(facts.online_cpus, None);
    assert_eq!(facts.tsc, Tsc { invariant: true, constant: None, nonstop: None, clocksource: None });
    assert_eq!(facts.tracefs, None);
    assert_eq!((facts.smt, facts.cpu_quota, facts.transparent_hugepages.as_deref()), (None, None, None));
    let host = describe_facts(&facts, Power::default());
    assert_eq!((host.cpu.as_str(), host.kvm), ("unknown", vec!["built-in or unknown".to_owned()]));
}

#[test]
fn allowed_cpus_come_from_proc_when_the_mask_is_too_small() {
    let mut tree = Tree::new()
        .file("proc/self/status", "Name:\tkipi\nCpus_allowed:\tff\nCpus_allowed_list:\t0-2,1030-1032\n")
        .file("sys/devices/system/cpu/online", "0-1031\n");
    tree.sources.machine.allowed_cpus = None;
    assert_eq!(tree.facts().allowed_cpus, [0, 1, 2, 1030, 1031], "1032 is offline");
}

#[test]
fn quota_is_the_tightest_on_the_way_up() {
    let tree = Tree::new()
        .file("proc/self/cgroup", "1:cpu:/old\n0::/user.slice/job\n")
        .file("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n")
        .file("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n")
        .file("sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_eq!(tree.facts().cpu_quota, Some(1.5));

    let unlimited = Tree::new().file("proc/self/cgroup", "0::/\n").file("sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_eq!(unlimited.facts().cpu_quota, None);

    let of_version_1 = |quota: &str| {
        Tree::new()
            .file("proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
            .file("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", quota)
            .file("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
            .facts()
            .cpu_quota
    };
    assert_eq!([of_version_1("50000\n"), of_version_1("-1\n")], [Some(0.5), None]);
}

#[test]
fn this_process_is_in_memory() {
    assert!(resident_kib().is_some_and(|kib| kib > 100));
}
