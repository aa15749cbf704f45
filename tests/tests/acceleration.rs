//! What KVM says of accelerated local APICs, recorded on a real virtual machine. A host without any gives its reasons, too.

use kipi::config::LocalApics;
use kipi::events::kernel::Inhibits;
use kipi::experiment::acceleration;
use kipi::guest::session::Limits;
use kipi::host::{self, Machine, Sources};
use kipi::results::acceleration::AccelerationState;
use kipi::vm::VmConfig;
use kipi_tests::{HANG, NEVER, boot, hypervisor, machine, run_tests, skip, test, turn};
use rustix::thread::gettid;
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

const VCPUS: usize = 2;

/// Whether the reasons' numbers changed in stable versions of this release, so that not all have names.
fn is_of_moving_numbers(release: &str) -> bool {
    ["6.0.", "6.1.", "6.2."].iter().any(|prefix| release.starts_with(prefix))
}

#[test]
fn kvm_gives_its_reasons_for_a_machine_of_kipis_and_for_no_others() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    let reasons = |local_apics| {
        let inhibits = match Inhibits::record(&Machine::read().kernel) {
            Ok(inhibits) => inhibits,
            Err(error) => {
                skip(error);
                return None;
            }
        };
        let config = VmConfig { local_apics, ..machine(VCPUS) };
        let session = boot(&hypervisor, &config, limits);
        let vcpus = (0..VCPUS).filter_map(|vcpu| session.vm().thread_id(vcpu));
        let threads: Vec<u32> = vcpus.chain([gettid().as_raw_nonzero().get().unsigned_abs()]).collect();
        Some(
            inhibits
                .stop(&threads)
                .unwrap_or_else(|error| panic!("{error}"))
                .expect("KVM says something of each machine"),
        )
    };
    let Some(in_vmm) = reasons(LocalApics::User) else { return };
    let in_kvm = reasons(LocalApics::Kernel).expect("it could be recorded before");
    if host::acceleration::is_worth_a_look(&host::read_facts(&Sources::system())) {
        assert!(in_vmm.contains(&"ABSENT".to_owned()), "there are no local APICs in KVM: {in_vmm:?}");
    } else {
        assert!(!in_vmm.is_empty() && !in_kvm.is_empty(), "KVM offers nothing: {in_vmm:?}, {in_kvm:?}");
    }
    if !is_of_moving_numbers(&Machine::read().kernel) {
        assert!(in_kvm.iter().all(|reason| !reason.starts_with("reason ")), "all have names: {in_kvm:?}");
    }

    let nobody = Inhibits::record(&Machine::read().kernel).expect("it could be recorded before");
    let session = boot(&hypervisor, &machine(VCPUS), limits);
    assert_eq!(nobody.stop(&[u32::MAX]).expect("a recording"), None, "no thread of {session:?} was asked for");
}

#[test]
fn what_is_found_is_off_or_seen() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let host = host::read_facts(&Sources::system());
    let found = acceleration::find(&hypervisor, &host, VCPUS, &NEVER);
    assert!(!found.is_empty());
    let offers = host::acceleration::is_worth_a_look(&host);
    for found in found {
        let is_seen = matches!(found.state, AccelerationState::On | AccelerationState::Inhibited);
        assert!(offers || !is_seen, "KVM offers nothing: {found:?}");
        assert_eq!(found.inhibits.is_empty(), found.state != AccelerationState::Inhibited, "{found:?}");
        assert!(!found.why.is_empty(), "{found:?}");
    }
}
