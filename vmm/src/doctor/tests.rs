use super::*;
use crate::host::Machine;
use crate::results::acceleration::{AccelerationState, Feature};
use crate::results::doctor::{Check, GuestCpuid};
use crate::results::host::{OpenFiles, Perf, PerfAccess, Tracefs, Virtualization};
use crate::vm::offers::Capability;
use schemars::schema_for;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

/// A machine with nothing wrong: bare metal, 4 CPUs, kvm_intel, root.
fn host() -> Facts {
    let machine = Machine {
        kernel: "6.12.0-made-up".to_owned(),
        allowed_cpus: Some(vec![0, 1, 2, 3]),
        hypervisor_bit: false,
        hypervisor: None,
        invariant_tsc: true,
        open_files: OpenFiles { soft: Some(1024), hard: Some(524_288) },
    };
    let nowhere = PathBuf::from("/nonexistent");
    Facts {
        cpu: Some("Made-up CPU".to_owned()),
        virtualization: Some(Virtualization::Vmx),
        kvm_modules: vec!["kvm_intel".to_owned()],
        settings: BTreeMap::from([("kvm.halt_poll_ns".to_owned(), "200000".to_owned())]),
        tracefs: Some(Tracefs {
            path: Some("/sys/kernel/tracing".to_owned()),
            readable: true,
            writable: true,
            kvm_events: Some(true),
        }),
        perf: Perf { paranoid: Some(2), privileged: Some(true), access: Some(PerfAccess::All) },
        ..host::read_facts(&Sources { proc: nowhere.clone(), sys: nowhere, machine })
    }
}

fn offer_of(changes: &[(Capability, i32)]) -> Offer {
    let mut capabilities: BTreeMap<String, i32> =
        Capability::ALL.iter().map(|capability| (capability.name.to_owned(), 1)).collect();
    let sizes = [(Capability::NR_VCPUS, 4), (Capability::MAX_VCPUS, 1024), (Capability::MAX_VCPU_ID, 4096)];
    for (capability, value) in [(Capability::X2APIC_API, 3)].iter().chain(&sizes).chain(changes) {
        capabilities.insert(capability.name.to_owned(), *value);
    }
    let cpuid = GuestCpuid { x2apic: true, tsc_deadline: true, pv_send_ipi: true };
    Offer { api_version: 12, capabilities, cpuid: Some(cpuid) }
}

fn diagnose_for(vcpus: usize, host: Facts, offer: Result<Offer, Error>) -> Doctor {
    diagnose(Path::new("/dev/kvm"), vcpus, host, offer, accelerated(), |_| Ok(()))
}

fn check<'a>(doctor: &'a Doctor, name: &str) -> &'a Check {
    let mut found = doctor.checks.iter().filter(|check| check.name == name);
    let check = found.next().unwrap_or_else(|| panic!("no check {name}"));
    assert!(found.next().is_none(), "{name} is not unique");
    check
}

fn routes(doctor: &Doctor, verdict: Verdict) -> Vec<&str> {
    doctor.routes.iter().filter(|route| route.verdict == verdict).map(|route| route.route.as_str()).collect()
}

fn names() -> Vec<&'static str> {
    Route::ALL.iter().map(|route| route.name()).collect()
}

/// All that there is of it on a processor of Intel's.
fn accelerated() -> Vec<Acceleration> {
    let on = |feature| Acceleration {
        feature,
        state: AccelerationState::On,
        why: "nothing inhibits it".to_owned(),
        inhibits: Vec::new(),
    };
    [Feature::Apicv, Feature::Ipis].map(on).to_vec()
}

/// What a good host's examination looks like; for tests of the reports.
pub(crate) fn sample() -> Doctor {
    diagnose_for(4, host(), Ok(offer_of(&[])))
}

#[test]
fn a_good_host_is_ready_throughout() {
    let doctor = sample();
    let doubtful: Vec<&Check> = doctor.checks.iter().filter(|check| check.verdict != Verdict::Ready).collect();
    assert!(doubtful.is_empty(), "{doubtful:#?}");
    assert_eq!(routes(&doctor, Verdict::Ready), names());
    assert_eq!((doctor.exit_status, doctor.device.status), (0, DeviceStatus::Usable));
    assert_eq!(check(&doctor, "cpus").detail, "4 for 4 vCPUs: 0 left for everything else");
    assert_eq!(check(&doctor, "X2APIC_API").detail, "3: flags; 1 and 2 together give APIC ids above 254");
    assert!(doctor.checks.iter().all(|one| check(&doctor, &one.name) == one), "names are unique");
}

#[test]
fn an_examination_says_when_it_was() {
    let nowhere = Path::new("/nonexistent/kvm");
    let doctor = examine(nowhere, 2, &Sources::system(), |_| Vec::new(), |_| Ok(()));
    assert!(doctor.started.is_some(), "the clock stands after 1970");
    assert_eq!(doctor.date, doctor.started.and_then(host::date));
    assert!(doctor.date.is_some());
}

#[test]
fn a_route_is_ready_only_if_its_probe_succeeded() {
    let asked = RefCell::new(Vec::new());
    let probe = |route| {
        asked.borrow_mut().push(route);
        if route == Route::XApic { Ok(()) } else { Err("vCPU 1 never arrived".to_owned()) }
    };
    let doctor = diagnose(Path::new("/dev/kvm"), 2, host(), Ok(offer_of(&[])), accelerated(), probe);
    assert_eq!(routes(&doctor, Verdict::Ready), ["xapic"]);
    assert_eq!(routes(&doctor, Verdict::Missing), names()[1..]);
    assert_eq!(doctor.routes[1].reason, "a broadcast call over it failed: vCPU 1 never arrived");
    assert_eq!(doctor.exit_status, 0);
    assert_eq!(*asked.borrow(), Route::ALL);
}

#[test]
fn memory_alone_is_not_enough() {
    let asked = RefCell::new(Vec::new());
    let probe = |route| {
        asked.borrow_mut().push(route);
        if route == Route::Memory { Ok(()) } else { Err("no MSRs in user space".to_owned()) }
    };
    let offer = offer_of(&[(Capability::IRQCHIP, 0)]);
    let doctor = diagnose(Path::new("/dev/kvm"), 2, host(), Ok(offer), accelerated(), probe);
    assert_eq!(routes(&doctor, Verdict::Ready), ["memory"]);
    assert_eq!(routes(&doctor, Verdict::Missing).len(), names().len() - 1);
    assert_eq!(doctor.exit_status, 4);
    let without_local_apics = [Route::Memory, Route::VmmXApic, Route::VmmX2Apic, Route::VmmHost];
    let natives = [Route::Native, Route::NativeRseq, Route::NativeFutex];
    assert_eq!(*asked.borrow(), [&without_local_apics[..], &natives].concat(), "what cannot work is not tried");
    assert_eq!(check(&doctor, "IRQCHIP").verdict, Verdict::Missing);
}

#[test]
fn x2apic_must_be_offered_before_it_is_tried() {
    let mut offer = offer_of(&[]);
    offer.cpuid = Some(GuestCpuid { x2apic: false, tsc_deadline: false, pv_send_ipi: false });
    let doctor = diagnose_for(2, host(), Ok(offer.clone()));
    assert_eq!(doctor.routes[1].verdict, Verdict::Missing);
    assert_eq!(doctor.routes[1].reason, "this KVM's CPUID offers guests no x2APIC mode");
    assert_eq!(check(&doctor, "cpuid PV_SEND_IPI").verdict, Verdict::Limited);
    assert_eq!(check(&doctor, "cpuid TSC deadline").verdict, Verdict::Ready, "the capability alone offers it");

    offer.cpuid = None;
    let doctor = diagnose_for(2, host(), Ok(offer));
    assert_eq!(doctor.routes[1].verdict, Verdict::Ready, "without an answer, the probe decides");
    assert_eq!(check(&doctor, "cpuid").verdict, Verdict::Limited);
}

#[test]
fn apic_ids_bound_the_routes() {
    let at = |vcpus, x2apic_api| diagnose_for(vcpus, host(), Ok(offer_of(&[(Capability::X2APIC_API, x2apic_api)])));
    // The host has 4 CPUs.
    let natives = ["native", "native-rseq", "native-futex"];
    assert_eq!(routes(&at(255, 0), Verdict::Ready), names()[..names().len() - natives.len()]);
    assert_eq!(routes(&at(255, 0), Verdict::Limited), natives);
    assert_eq!(routes(&at(256, 3), Verdict::Limited), [&["xapic", "vmm-xapic"], &natives[..]].concat());
    let without = at(256, 1);
    assert_eq!(
        routes(&without, Verdict::Ready),
        ["memory", "vmm", "vmm-host"],
        "255 would still be KVM's broadcast address"
    );
    assert_eq!((routes(&without, Verdict::Limited).len(), without.exit_status), (names().len() - 3, 0));
    assert_eq!((routes(&at(1025, 3), Verdict::Limited), at(1025, 3).exit_status), (names(), 4));
}

#[test]
fn each_thread_of_a_native_route_needs_a_cpu() {
    let reason = |vcpus| diagnose_for(vcpus, host(), Ok(offer_of(&[]))).routes.pop().expect("a native route").reason;
    assert_eq!(reason(4), "a broadcast call over it completed");
    assert_eq!(reason(5), "a broadcast call over it completed, but each of 5 threads needs a CPU, and there are 4");
    assert_eq!(reason(1), "a broadcast call over it completed, but a thread alone interrupts nobody");
}

#[test]
fn room_for_vcpus() {
    let doctor = diagnose_for(600, host(), Ok(offer_of(&[(Capability::MAX_VCPUS, 512)])));
    let cpus = check(&doctor, "cpus");
    assert_eq!(cpus.verdict, Verdict::Limited);
    assert!(cpus.detail.starts_with("4 for 600 vCPUs"));
    let files = check(&doctor, "open files");
    assert_eq!((files.verdict, files.detail.as_str()), (Verdict::Ready, "1024, raised by kipi: 7264 needed"));
    assert_eq!(check(&doctor, "MAX_VCPUS").verdict, Verdict::Missing);
    assert_eq!(check(&doctor, "MAX_VCPU_ID").verdict, Verdict::Ready);
    assert_eq!(check(&doctor, "NR_VCPUS").verdict, Verdict::Limited);
    assert_eq!(check(&doctor, "guest").verdict, Verdict::Ready);
    assert!(doctor.routes[2].reason.ends_with("600 vCPUs are more than the 512 that can be had here"));

    let strict = Facts { open_files: OpenFiles { soft: Some(16), hard: Some(16) }, ..host() };
    let doctor = diagnose_for(1025, strict, Ok(offer_of(&[])));
    assert!(check(&doctor, "open files").advice.as_deref().is_some_and(|advice| advice.contains("-Hn 12364")));
    assert_eq!(check(&doctor, "guest").verdict, Verdict::Missing);
}

#[test]
fn a_small_quota_is_told() {
    let squeezed = |quota| diagnose_for(2, Facts { cpu_quota: Some(quota), ..host() }, Ok(offer_of(&[])));
    assert_eq!(check(&squeezed(1.5), "cpu quota").verdict, Verdict::Limited);
    assert_eq!(check(&squeezed(2.0), "cpu quota").verdict, Verdict::Ready);
}

#[test]
fn without_a_device_the_advice_follows_from_the_host() {
    let path = PathBuf::from("/dev/kvm");
    let advice = |virtualization, modules: &[&str], nested| {
        let kvm_modules = modules.iter().map(|&module| module.to_owned()).collect();
        let host = Facts { virtualization, kvm_modules, nested, ..host() };
        let doctor = diagnose_for(2, host, Err(Error::Absent { path: path.clone() }));
        assert_eq!((doctor.exit_status, doctor.device.status), (4, DeviceStatus::Absent));
        assert!(doctor.kvm.is_none());
        assert_eq!(routes(&doctor, Verdict::Ready), ["native", "native-rseq", "native-futex"], "they need no KVM");
        let mut of_guests = doctor.routes.iter().filter(|route| route.verdict == Verdict::Missing);
        assert!(of_guests.all(|route| route.reason == "/dev/kvm does not exist"));
        check(&doctor, "device").advice.clone().expect("a way out")
    };
    let (vmx, svm) = (Some(Virtualization::Vmx), Some(Virtualization::Svm));
    assert!(advice(vmx, &[], false).contains("modprobe kvm_intel"));
    assert!(advice(svm, &["kvm"], false).contains("modprobe kvm_amd"));
    assert!(advice(svm, &["kvm_intel"], false).contains("modprobe kvm_amd"), "the other vendor's is built in");
    assert!(advice(vmx, &["kvm_intel"], false).contains("--device /dev/kvm"));
    assert!(advice(None, &["kvm_pvm"], true).contains("--device /dev/kvm"));
    assert!(advice(None, &[], true).contains("nested virtualisation"));
    assert!(advice(None, &["kvm_intel"], false).contains("firmware"));
}

#[test]
fn a_closed_device_says_how_to_open_it() {
    let closed = |error| {
        let doctor = diagnose_for(2, host(), Err(error));
        assert_eq!(doctor.device.status, DeviceStatus::Denied);
        let check = check(&doctor, "device");
        (check.detail.clone(), check.advice.clone().expect("a way out"))
    };
    let path = PathBuf::from("/dev/kvm");
    let (detail, advice) = closed(Error::Denied { path: path.clone(), mode: 0o660, owner: 0, group: 104 });
    assert_eq!(detail, "/dev/kvm: permission denied (mode 0660, owner 0, group 104)");
    assert!(advice.starts_with("sudo usermod -aG kvm $USER"));
    let (_, advice) = closed(Error::Denied { path: path.clone(), mode: 0o600, owner: 0, group: 0 });
    assert!(advice.contains("chgrp kvm /dev/kvm"), "the group alone would not help");
    let of = |group| closed(Error::Denied { path: path.clone(), mode: 0o660, owner: 65534, group }).1;
    assert!(of(0).contains("chgrp kvm /dev/kvm"), "nobody joins root's group");
    assert!(of(65534).contains("keep-groups"), "its group is none of this user namespace's");
    let (_, advice) = closed(Error::Forbidden { path });
    assert!(advice.contains("--device /dev/kvm"));
}

#[test]
fn a_doubtful_machine_is_told() {
    let mut host = host();
    host.nested = true;
    host.hypervisor = Some("KVMKVMKVM".to_owned());
    host.kvm_modules = vec!["kvm_pvm".to_owned()];
    host.tsc.invariant = false;
    host.tsc.clocksource = Some("hpet".to_owned());
    host.governors = ["powersave".to_owned()].into();
    host.tracefs = None;
    host.perf = Perf { paranoid: Some(2), privileged: Some(false), access: Some(PerfAccess::OwnUserSpace) };
    let doctor = diagnose_for(2, host, Ok(offer_of(&[])));
    assert!(check(&doctor, "machine").detail.contains("KVMKVMKVM"));
    for name in ["machine", "module", "tsc", "clocksource", "governor", "perf"] {
        assert_eq!(check(&doctor, name).verdict, Verdict::Limited, "{name}");
    }
    assert_eq!(check(&doctor, "tracefs").verdict, Verdict::Missing);
    assert_eq!(doctor.exit_status, 0, "none of it keeps kipi from measuring");
}

#[test]
fn the_kernels_flags_vouch_for_a_tsc_that_cpuid_does_not() {
    let mut host = host();
    host.tsc.invariant = false;
    host.tsc.constant = Some(true);
    host.tsc.nonstop = Some(true);
    let doctor = diagnose_for(2, host, Ok(offer_of(&[])));
    assert_eq!(check(&doctor, "tsc").verdict, Verdict::Ready);
    assert_eq!(check(&doctor, "tsc").detail, "not invariant by CPUID, constant_tsc, nonstop_tsc");
}

#[test]
fn a_lockdown_is_told() {
    let of = |lockdown: Option<&str>| {
        diagnose_for(2, Facts { lockdown: lockdown.map(str::to_owned), ..host() }, Ok(offer_of(&[])))
    };
    assert_eq!(check(&of(Some("none")), "lockdown").verdict, Verdict::Ready);
    assert_eq!(check(&of(Some("integrity")), "lockdown").verdict, Verdict::Ready);
    let locked = of(Some("confidentiality"));
    assert!(check(&locked, "lockdown").detail.contains("root included"));
    assert!(of(None).checks.iter().all(|check| check.name != "lockdown"), "not known");
}

#[test]
fn tracefs_needs_all_three() {
    let verdict = |readable, writable, kvm_events| {
        let tracefs = Some(Tracefs { path: Some("/t".to_owned()), readable, writable, kvm_events });
        check(&diagnose_for(2, Facts { tracefs, ..host() }, Ok(offer_of(&[]))), "tracefs").verdict
    };
    assert_eq!(verdict(true, true, Some(true)), Verdict::Ready);
    assert_eq!(verdict(true, false, Some(true)), Verdict::Limited);
    assert_eq!(verdict(true, true, Some(false)), Verdict::Missing);
    assert_eq!(verdict(false, false, None), Verdict::Missing);
}

#[test]
fn without_proc_nothing_of_root_is_missing() {
    let tracefs = Some(Tracefs { path: None, readable: false, writable: false, kvm_events: None });
    let perf = Perf { paranoid: None, privileged: None, access: None };
    let doctor = diagnose_for(2, Facts { tracefs, perf, ..host() }, Ok(offer_of(&[])));
    for name in ["tracefs", "perf"] {
        let check = check(&doctor, name);
        assert!(check.detail.contains("/proc") && check.verdict == Verdict::Missing, "{check:?}");
        assert!(check.advice.as_ref().is_none_or(|advice| !advice.contains("root")), "{check:?}");
    }
}

#[test]
fn tracefs_that_kipi_can_mount_for_itself_will_do() {
    let tracefs = Some(Tracefs { path: None, readable: true, writable: true, kvm_events: Some(true) });
    let doctor = diagnose_for(2, Facts { tracefs, ..host() }, Ok(offer_of(&[])));
    assert_eq!(check(&doctor, "tracefs").verdict, Verdict::Ready);
    assert!(check(&doctor, "tracefs").detail.starts_with("mounted nowhere"), "{:?}", check(&doctor, "tracefs"));
}

#[test]
fn this_host_can_be_examined() {
    let device = Path::new("/dev/kvm");
    if let Err(error) = File::options().read(true).write(true).open(device) {
        eprintln!("skipped: {} cannot be opened: {error}", device.display());
        return;
    }
    let doctor = examine(device, 2, &Sources::system(), |_| Vec::new(), |_| Ok(()));
    assert_eq!(doctor.device.status, DeviceStatus::Usable);
    let offer = doctor.kvm.as_ref().expect("what KVM offers");
    assert_eq!(offer.api_version, 12);
    assert!(offer.has(Capability::MAX_VCPUS.name) && offer.has(Capability::NR_VCPUS.name));
    assert!(offer.capabilities.values().all(|&value| value >= 0), "{:?}", offer.capabilities);
    assert_eq!(doctor.routes.len(), Route::ALL.len());
    assert!(doctor.checks.iter().all(|one| check(&doctor, &one.name) == one), "names are unique");
    assert_eq!(doctor.exit_status == 0, offer.has(Capability::IRQCHIP.name));
}

fn schema_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/doctor.schema.json")
}

#[test]
fn the_schema_file_is_the_types() {
    let schema = schema_for!(Doctor);
    let file = schema_file();
    if std::env::var_os("KIPI_BLESS").is_some_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&schema).expect("plain data") + "\n";
        fs::write(&file, text).expect("a writable resources directory");
    }
    // Compared as values: the order of keys is a matter of serde_json's features.
    let stored: Option<serde_json::Value> =
        fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
    assert!(
        stored == Some(schema.to_value()),
        "{} is not what the types say; write it anew with: KIPI_BLESS=1 cargo test -p kipi --lib doctor",
        file.display()
    );
}

#[test]
fn a_document_follows_its_schema() {
    let schema = serde_json::to_value(schema_for!(Doctor)).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let ready = serde_json::to_value(sample()).expect("plain data");
    assert!(validator.is_valid(&ready));
    let absent = diagnose_for(2, host(), Err(Error::Absent { path: PathBuf::from("/dev/kvm") }));
    let mut absent = serde_json::to_value(absent).expect("plain data");
    assert!(validator.is_valid(&absent));
    absent["exit_status"] = 3.into();
    assert!(!validator.is_valid(&absent));
}

#[test]
fn a_host_that_does_not_accelerate_local_apics_says_why() {
    let found =
        |state, why: &str| Acceleration { feature: Feature::Avic, state, why: why.to_owned(), inhibits: vec![] };
    let check_of = |found| {
        let doctor = diagnose(Path::new("/dev/kvm"), 2, host(), Ok(offer_of(&[])), vec![found], |_| Ok(()));
        assert_eq!((doctor.exit_status, doctor.apic_acceleration.len()), (0, 1), "kipi works without");
        check(&doctor, "AVIC").clone()
    };
    let inhibited = check_of(found(AccelerationState::Inhibited, "PIT_REINJ"));
    assert_eq!((inhibited.verdict, inhibited.detail.as_str()), (Verdict::Limited, "inhibited: PIT_REINJ"));
    let unknown = check_of(found(AccelerationState::Unknown, "run as root"));
    assert_eq!((unknown.verdict, unknown.detail.as_str()), (Verdict::Limited, "not known: run as root"));
}
