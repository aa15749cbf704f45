//! A key that groups runs by machine.
//!
//! It is made of what the document says in clear, and of nothing else: no serial number, host name or /etc/machine-id, which would
//! tell machines of one kind apart, and follow them. Kernel, command line and microcode are left out, since they change while the
//! machine stays: what a comparison or a history is to find.

use crate::results::host::Facts;
use crate::results::topology::Topology;
use std::fmt::Write as _;

/// The key of a machine whose CPUs, all that are online, share this; `None`: /proc or /sys could not be read, and it would be another
/// machine's.
pub(super) fn of(facts: &Facts, topology: &Topology) -> Option<String> {
    let is_read = facts.cpu.is_some() && facts.online_cpus.is_some();
    is_read.then(|| format!("{:016x}", fnv_1a(text(facts, topology).as_bytes())))
}

/// What it is made of, a line each. A line that is added or changed changes every key.
fn text(facts: &Facts, topology: &Topology) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}={value}");
    };
    add("cpu", facts.cpu.as_deref().unwrap_or(""));
    add("hypervisor", facts.hypervisor.as_deref().unwrap_or(if facts.nested { "unknown" } else { "" }));
    let Topology { packages, nodes, l3, l2, cores, kinds } = topology;
    for (name, groups) in [("packages", packages), ("nodes", nodes), ("l3", l3), ("l2", l2), ("cores", cores)] {
        let groups: Vec<String> = groups.iter().flatten().map(ToString::to_string).collect();
        add(name, &groups.join(" "));
    }
    for (kind, cpus) in kinds {
        add(kind.name(), &cpus.to_string());
    }
    add("kvm", &facts.kvm_modules.join(" "));
    for (name, value) in &facts.settings {
        add(name, value);
    }
    text
}

/// FNV-1a of 64 bits (RFC 9923): nobody gains by two machines that have one key.
fn fnv_1a(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Sources, read_facts};
    use std::path::PathBuf;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(
            [fnv_1a(b""), fnv_1a(b"a"), fnv_1a(b"foobar")],
            [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]
        );
    }

    #[test]
    fn a_machine_keeps_its_key_over_kernels() {
        let facts = read_facts(&Sources::system());
        let key = |facts: &Facts| of(facts, &facts.topology);
        let updated = Facts {
            kernel: "7.0".to_owned(),
            microcode: Some("0x1".to_owned()),
            command_line: None,
            allowed_cpus: vec![],
            ..facts.clone()
        };
        assert_eq!(key(&facts), key(&updated));
        let mut tuned = facts.clone();
        tuned.settings.insert("kvm.halt_poll_ns".to_owned(), "12345".to_owned());
        let others = [
            Facts { cpu: Some("another".to_owned()), ..facts.clone() },
            Facts { kvm_modules: vec!["kvm_other".to_owned()], ..facts.clone() },
            tuned,
        ];
        for other in others {
            assert_ne!(key(&facts), key(&other));
        }
        assert_eq!(facts.key.as_ref().map(String::len), Some(16));
    }

    #[test]
    fn a_machine_that_cannot_be_read_has_no_key() {
        let hidden = || PathBuf::from("/nonexistent");
        for sources in [
            Sources { proc: hidden(), ..Sources::system() },
            Sources { sys: hidden(), ..Sources::system() },
            Sources { proc: hidden(), sys: hidden(), ..Sources::system() },
        ] {
            assert_eq!(read_facts(&sources).key, None, "{sources:?}");
        }
    }
}
