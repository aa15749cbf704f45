use super::*;
use crate::config::routes::Route;
use crate::config::{Call, HostOffers, Observe};
use crate::events::kernel::{self, tracefs};
use guest_stub::abi::{Destination, TargetState};
use std::io;
use std::path::PathBuf;

fn vm_errors() -> Vec<(vm::Error, &'static str)> {
    let path = || PathBuf::from("/dev/kvm");
    vec![
        (
            device::Error::Absent { path: path() }.into(),
            "cannot use KVM: /dev/kvm does not exist (run 'kipi doctor' for the way out, or pass --device)",
        ),
        (
            device::Error::NoDriver { path: path() }.into(),
            "cannot use KVM: /dev/kvm is there, but no driver stands behind it (run 'kipi doctor' for the way out, or pass \
             --device)",
        ),
        (
            device::Error::Denied { path: path(), mode: 0o660, owner: 0, group: 107 }.into(),
            "cannot use KVM: /dev/kvm: permission denied (mode 0660, owner 0, group 107) (sudo usermod -aG kvm $USER, \
             then log in again; in a container, add the device's group)",
        ),
        (
            device::Error::Denied { path: path(), mode: 0o600, owner: 0, group: 0 }.into(),
            "cannot use KVM: /dev/kvm: permission denied (mode 0600, owner 0, group 0) (run as root, or let the group \
             kvm in: sudo chgrp kvm /dev/kvm && sudo chmod g+rw /dev/kvm && sudo usermod -aG kvm $USER, then log in \
             again)",
        ),
        (
            device::Error::Forbidden { path: path() }.into(),
            "cannot use KVM: /dev/kvm: opening it is not permitted, whatever its file mode (in a container, start it \
             with --device /dev/kvm)",
        ),
        (
            device::Error::Io { path: path(), source: io::ErrorKind::NotADirectory.into() }.into(),
            "cannot use KVM: /dev/kvm: not a directory (run 'kipi doctor' for the way out, or pass --device)",
        ),
        (
            device::Error::NotKvm { path: PathBuf::from("/dev/tty") }.into(),
            "cannot use KVM: /dev/tty is not KVM's device (pass --device /dev/kvm, which is its usual place)",
        ),
        (
            device::Error::ApiVersion { path: path(), version: 9 }.into(),
            "cannot use KVM: /dev/kvm: KVM's API version is 9, and kipi needs 12 (use a kernel from 2.6.22 on)",
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
    let source = io::Error::from(io::ErrorKind::NotFound).into();
    let read = image::Error::Read { path: PathBuf::from("/g"), source };
    let expected = "cannot read guest image /g: entity not found (leave --guest away to use the one that kipi was \
                    built with)";
    assert_eq!(line(&read), expected);
    assert_eq!(line(&vm::Error::Guest(read)), expected);
    let pin = config::Error::NoSuchCpu { cpu: 99, allowed: vec![2, 3] };
    assert_eq!(line(&pin), "--pin names CPU 99, which this process may not use (it may use 2,3)");
}

#[test]
fn a_limit_of_open_files_is_named_wherever_it_was_met() {
    let source = io::Error::from_raw_os_error(libc::EMFILE);
    let file = tracefs::Error::File { operation: "write to", file: "trace_on".to_owned(), source };
    let error = machine::Error::from(session::Error::from(kernel::Error::from(file)));
    let told = line(&experiment::Error::from(error));
    assert!(told.ends_with(&format!(" ({MORE_FILES})")), "{told}");
}

#[test]
fn whoever_passes_an_error_on_keeps_its_way_out() {
    for (error, expected) in vm_errors() {
        let error = session::Error::from(error);
        assert_eq!(line(&error), expected);
        let error = machine::Error::from(error);
        assert_eq!(line(&error), expected);
        assert_eq!(line(&experiment::Error::from(error)), expected);
    }
    assert_eq!(line(&session::Error::Interrupted), "interrupted");
}

/// What is said where a measurement of these cells is asked for, and nothing of it can be.
fn refusals_of(cells: &[CellId]) -> String {
    let offers = HostOffers { x2apic: false, ..HostOffers::EVERYTHING };
    let refused = |&cell: &CellId| Refused { cell, refusal: config::refuse(&cell, offers).expect("a refusal") };
    refusals(&cells.iter().map(refused).collect::<Vec<_>>())
}

#[test]
fn a_refusal_names_the_option_at_fault_and_the_way_out() {
    let broadcast = |route, destination, state| CellId::broadcast(route, destination, state, 2);
    let ping = |route, destination, state| CellId { call: Call::Ping, ..broadcast(route, destination, state) };
    let observed = CellId { observe: Observe::Exits, ..ping(Route::XApic, Destination::Unicast, TargetState::Spin) };
    assert_eq!(
        refusals_of(&[observed]),
        "ping xapic, unicast, spin, 2 vCPUs, exits: a ping runs no worker that could begin with an exit (pass --observe \
         guest or --call broadcast)"
    );
    let halted = ping(Route::XApic, Destination::Mesh, TargetState::Halt);
    assert_eq!(
        refusals_of(&[halted]),
        "ping xapic, mesh, halt, 2 vCPUs, guest: the target sends, too, and polls at CPL0 for the answer (pass \
         --target-state spin or --destination unicast)"
    );
    let alone = CellId { vcpus: 1, ..ping(Route::XApic, Destination::Unicast, TargetState::Halt) };
    assert!(refusals_of(&[alone]).ends_with("needs two of them (pass --vcpus 2 or --destination self)"));
    let x2apic = broadcast(Route::X2Apic, Destination::AllButSelf, TargetState::Spin);
    let line = refusals_of(&[x2apic]);
    assert!(line.ends_with("offers guests no x2APIC mode (run 'kipi doctor' for what this host offers)"), "{line}");
}

#[test]
fn what_was_asked_for_as_well_is_no_way_out() {
    let spin =
        |route| CellId { call: Call::Ping, ..CellId::broadcast(route, Destination::Logical, TargetState::Spin, 2) };
    let line = refusals_of(&[spin(Route::Memory), spin(Route::X2Apic), spin(Route::XApic)]);
    assert_eq!(
        line,
        "ping x2apic, logical, spin, 2 vCPUs, guest: a ping has one target (pass --destination unicast or --call broadcast)"
    );
    let masked = |route| CellId::broadcast(route, Destination::AllButSelf, TargetState::Masked, 2);
    let line = refusals_of(&[masked(Route::XApic), masked(Route::Memory)]);
    assert!(line.ends_with("sets IF (pass --route nmi or --target-state spin)"), "one way out is told once: {line}");
}

#[test]
fn what_threads_lack_comes_with_its_way_out() {
    let errno = rustix::io::Errno::INVAL;
    let of = |error| line(&experiment::Error::from(machine::Error::from(error)));
    assert_eq!(
        of(native::Error::NotPinned { thread: 1, cpu: 99, errno }),
        "thread 1 cannot be pinned to CPU 99: Invalid argument (os error 22) (name CPUs that are online and allowed by --pin, \
         or none by --pin none)"
    );
    let too_few = native::Error::NotStarted { thread: 1, source: io::ErrorKind::WouldBlock.into() };
    assert!(of(too_few).ends_with(&format!("({TOO_FEW_THREADS})")));
    let not_started = host_call::Error::NotStarted(io::ErrorKind::WouldBlock.into());
    assert!(line(&session::Error::from(not_started)).ends_with(&format!("({TOO_FEW_THREADS})")));
    let refused = |errno| vm::Error::Kvm { operation: "KVM_CREATE_VM", source: io::Error::from_raw_os_error(errno) };
    for (errno, hint) in [(libc::EAGAIN, MORE_PROCESSES), (libc::EMFILE, MORE_FILES), (libc::EINVAL, DOCTOR)] {
        assert!(line(&refused(errno)).ends_with(&format!("({hint})")), "{errno}");
    }
    assert_eq!(of(native::Error::Alone), "a thread alone interrupts nobody (pass --vcpus 2 or more)");
    assert_eq!(of(native::Error::Interrupted), "interrupted");
}
