//! The line that a user reads about an error: what is wrong, and behind it the way out, in terms of options and commands.
//!
//! Errors say what is wrong with a value; only here it is known where the value came from.

use crate::guest::session;
use crate::vm::image;
use crate::{config, experiment, vm};
use std::error::Error;

const DOCTOR: &str = "run 'kipi doctor' for what this host offers";
const FEWER_VCPUS: &str = "pass a smaller --vcpus";

/// The whole line.
pub(super) fn line(error: &(dyn Error + 'static)) -> String {
    if let Some(config::Error::NoSuchCpu { cpu, allowed }) = error.downcast_ref() {
        let allowed = config::cpu_list(allowed);
        return format!("--pin names CPU {cpu}, which this process may not use (it may use {allowed})");
    }
    match hint(error) {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref() {
        return of_vm(error);
    }
    if let Some(error) = error.downcast_ref() {
        return of_image(error);
    }
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(session::Error::Vm(error)), _) | (_, Some(experiment::Error::Machine(session::Error::Vm(error)))) => {
            of_vm(error)
        }
        _ => None,
    }
}

fn of_vm(error: &vm::Error) -> Option<&'static str> {
    match error {
        vm::Error::NoDevice(_) => {
            Some("load kvm_intel or kvm_amd, enable virtualisation in the firmware, or pass --device")
        }
        vm::Error::NoPermission(_) => Some("join the group that owns it, usually with: sudo usermod -aG kvm $USER"),
        vm::Error::Open { .. } | vm::Error::Kvm { .. } => Some(DOCTOR),
        vm::Error::NotKvm { .. } => Some("pass --device /dev/kvm"),
        vm::Error::NoIrqchip => Some("use --route vmm, or another host"),
        vm::Error::TooManyVcpus { .. } | vm::Error::Memory { .. } => Some(FEWER_VCPUS),
        vm::Error::NoWideApicIds(_) => Some("pass --vcpus 254 or less"),
        vm::Error::Guest(error) => of_image(error),
        vm::Error::System { .. } | vm::Error::Paging(_) => None,
    }
}

fn of_image(error: &image::Error) -> Option<&'static str> {
    match error {
        image::Error::Read { .. } => Some("leave --guest away to use the one that kipi was built with"),
        image::Error::Elf(_)
        | image::Error::NotKipi { .. }
        | image::Error::AbiVersion { .. }
        | image::Error::Damaged { .. }
        | image::Error::Memory(_) => None,
    }
}

#[cfg(test)]
mod tests {
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
}
