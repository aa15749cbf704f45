use super::*;
use std::io;
use std::path::PathBuf;

fn vm_errors() -> Vec<(vm::Error, &'static str)> {
    let path = || PathBuf::from("/dev/kvm");
    vec![
        (
            vm::Error::NoDevice(path()),
            "no KVM here: /dev/kvm does not exist (load kvm_intel or kvm_amd, enable virtualisation in the firmware, \
             or pass --device)",
        ),
        (
            vm::Error::NoPermission(path()),
            "no permission to use /dev/kvm (join the group that owns it, usually with: sudo usermod -aG kvm $USER)",
        ),
        (
            vm::Error::Open { path: path(), source: io::ErrorKind::IsADirectory.into() },
            "cannot open /dev/kvm: is a directory (run 'kipi doctor' for what this host offers)",
        ),
        (
            vm::Error::NotKvm { path: path(), version: 9 },
            "/dev/kvm is not a KVM device: its API version is 9, not 12 (pass --device /dev/kvm)",
        ),
        (
            vm::Error::NoIrqchip,
            "this KVM has no in-kernel irqchip (KVM_CAP_IRQCHIP is 0), which this route needs (use --route vmm, or \
             another host)",
        ),
        (
            vm::Error::TooManyVcpus { asked: 9, allowed: 8 },
            "9 vCPUs are more than this KVM allows: at most 8 (pass a smaller --vcpus)",
        ),
        (
            vm::Error::NoWideApicIds(300),
            "300 vCPUs need 32-bit APIC ids, and this KVM has no KVM_CAP_X2APIC_API (pass --vcpus 254 or less)",
        ),
        (
            vm::Error::Memory { bytes: 4096, reason: "no room".to_owned() },
            "cannot set up 4096 bytes of guest memory: no room (pass a smaller --vcpus)",
        ),
        (
            vm::Error::System { operation: "mapping", source: io::ErrorKind::OutOfMemory.into() },
            "mapping: out of memory",
        ),
    ]
}

#[test]
fn each_error_comes_with_its_way_out() {
    for (error, expected) in vm_errors() {
        assert_eq!(line(&error), expected);
    }
    let read = image::Error::Read { path: PathBuf::from("/g"), source: io::ErrorKind::NotFound.into() };
    let expected = "cannot read guest image /g: entity not found (leave --guest away to use the one that kipi was \
                    built with)";
    assert_eq!(line(&read), expected);
    assert_eq!(line(&vm::Error::Guest(read)), expected);
    let pin = config::Error::NoSuchCpu { cpu: 99, allowed: vec![2, 3] };
    assert_eq!(line(&pin), "--pin names CPU 99, which this process may not use (it may use 2,3)");
}

#[test]
fn whoever_passes_an_error_on_keeps_its_way_out() {
    for (error, expected) in vm_errors() {
        let error = session::Error::from(error);
        assert_eq!(line(&error), expected);
        assert_eq!(line(&experiment::Error::from(error)), expected);
    }
    assert_eq!(line(&session::Error::Interrupted), "interrupted");
}
