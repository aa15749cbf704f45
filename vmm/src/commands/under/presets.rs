//! VMMs whose command lines kipi knows.

/// A VMM by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preset {
    pub(super) name: &'static str,
    pub(super) line: &'static str,
}

/// Every one, in the order of help texts. An MSR that KVM may refuse to QEMU (IA32_ARCH_CAPABILITIES) is left out.
pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "qemu",
        line: "qemu-system-x86_64 -machine q35 -accel kvm -cpu host,-arch-capabilities -smp {vcpus} -m 256 -nodefaults \
               -no-user-config -display none -no-reboot -serial file:{serial} -kernel {kernel} -append {append}",
    },
    Preset {
        name: "qemu-pc",
        line: "qemu-system-x86_64 -machine pc -accel kvm -cpu host,-arch-capabilities -smp {vcpus} -m 256 -nodefaults \
               -no-user-config -display none -no-reboot -serial file:{serial} -kernel {kernel} -append {append}",
    },
    Preset {
        name: "qemu-microvm",
        line: "qemu-system-x86_64 -machine microvm -accel kvm -cpu host,-arch-capabilities -smp {vcpus} -m 256 -nodefaults \
               -no-user-config -display none -no-reboot -serial file:{serial} -kernel {kernel} -append {append}",
    },
    Preset {
        name: "qemu-tcg",
        line: "qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp {vcpus} -m 256 -nodefaults \
               -no-user-config -display none -no-reboot -serial file:{serial} -kernel {kernel} -append {append}",
    },
    Preset { name: "firecracker", line: "firecracker --no-api --config-file {config}" },
    Preset {
        name: "cloud-hypervisor",
        line: "cloud-hypervisor --kernel {kernel} --cmdline {append} --cpus boot={vcpus} --memory size=256M \
               --serial file={serial} --console off",
    },
];

/// The one of this name.
pub(super) fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::super::template::Template;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_has_its_own_name_and_a_command_line_that_can_be_filled_in() {
        assert_eq!(ALL.iter().map(|preset| preset.name).collect::<BTreeSet<_>>().len(), ALL.len());
        for Preset { name, line } in ALL {
            let template = Template::parse(line).unwrap();
            assert!(template.has_serial() || *name == "firecracker", "{name}");
        }
    }
}
