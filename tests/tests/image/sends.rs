//! How many instructions lie between the stamp and the send, and between two sends.

use guest_stub::abi::{Destination, GuestRoute};
use iced_x86::{Instruction, Mnemonic};
use kipi::config::routes::{self, Route};
use kipi::config::{self, CellId, HostOffers};
use kipi_tests::code::{demangled, instruction_at, no_callee, shortest_way, stores};
use kipi_tests::test;

/// How a send looks among instructions.
#[derive(Clone, Copy)]
enum Send {
    /// The instruction of a hypercall.
    Hypercall(Mnemonic),
    /// A WRMSR.
    Msr,
    /// An OUT.
    Port,
    /// So many stores outside of the stack, the last of which is the send.
    Stores(usize),
}

/// The most instructions from the stamp before the send to the send, that one included, for one target.
const TO_THE_SEND: usize = 8;
/// The same of a hypercall, whose number and four arguments go to registers.
const TO_THE_HYPERCALL: usize = 12;
/// The same of one whose parameters, for one of more than 64 processors, are written to memory.
const TO_A_SET_OF_ONE: usize = 18;

/// A measured window: the types of its route and destination, how its sends look, and the most instructions from one send to
/// the next, that one included, with every poll at its shortest; `None`: there is one send.
struct Sends(&'static str, &'static str, Send, Option<usize>);

pub(crate) const ALL_BUT_SELF: &str = "all_but_self::AllButSelf";
const ALL: &str = "all::All";
const UNICAST: &str = "unicast::Unicast";
const LOGICAL: &str = "logical::Logical";

/// The windows of a guest route and a destination: two where it depends on the machine which mode the local APICs are in. Or why there
/// is none.
fn windows(route: GuestRoute, destination: Destination) -> Result<Vec<Sends>, &'static str> {
    const XAPIC: &str = "xapic::XApic<kipi_guest::routes::message::Fixed>";
    const XAPIC_NMI: &str = "xapic::XApic<kipi_guest::routes::message::Nmi>";
    const X2APIC: &str = "x2apic::X2Apic<kipi_guest::routes::message::Fixed>";
    const X2APIC_NMI: &str = "x2apic::X2Apic<kipi_guest::routes::message::Nmi>";
    const MEMORY: &str = "memory::Memory";
    const MSI: &str = "msi::Msi";
    const KVM_PV: [(&str, Mnemonic); 2] = [
        ("kvm_pv::KvmPv<kipi_guest::cpu::hypercall::Vmcall>", Mnemonic::Vmcall),
        ("kvm_pv::KvmPv<kipi_guest::cpu::hypercall::Vmmcall>", Mnemonic::Vmmcall),
    ];
    const HYPERV: [&str; 2] = ["hyperv::HyperVMask", "hyperv::HyperVSet"];
    // The ICR's high half, and its low one.
    let halves = Send::Stores(2);
    // Three of them are the poll of the delivery status.
    let to_next_halves = Some(10);
    let one = |route, send| {
        let shorthand = match destination {
            Destination::AllButSelf => ALL_BUT_SELF,
            Destination::All => ALL,
            Destination::Unicast | Destination::Logical => unreachable!("they have many sends"),
            Destination::Itself | Destination::SelfIpi | Destination::Mesh => unreachable!("they are of pings"),
        };
        Sends(route, shorthand, send, None)
    };
    let by_hyperv = |destination, further| {
        HYPERV.map(|route| Sends(route, destination, Send::Hypercall(Mnemonic::Vmcall), further)).into()
    };
    let by_hypercall = |destination, further| {
        let sends = |(route, instruction)| Sends(route, destination, Send::Hypercall(instruction), Some(further));
        KVM_PV.map(sends).into()
    };
    Ok(match (route, destination) {
        (GuestRoute::KvmPv, Destination::AllButSelf) => by_hypercall(ALL_BUT_SELF, 15),
        (GuestRoute::KvmPv, Destination::All) => by_hypercall(ALL, 15),
        (GuestRoute::KvmPv, Destination::Unicast) => by_hypercall(UNICAST, 14),
        (GuestRoute::HyperV, Destination::AllButSelf) => by_hyperv(ALL_BUT_SELF, None),
        (GuestRoute::HyperV, Destination::All) => by_hyperv(ALL, None),
        (GuestRoute::HyperV, Destination::Unicast) => by_hyperv(UNICAST, Some(22)),
        (GuestRoute::KvmPv | GuestRoute::HyperV, Destination::Logical) => return Err("hypercalls have no logical ids"),
        (GuestRoute::XApic, Destination::AllButSelf | Destination::All) => vec![one(XAPIC, Send::Stores(1))],
        (GuestRoute::XApic, Destination::Unicast) => vec![Sends(XAPIC, UNICAST, halves, to_next_halves)],
        (GuestRoute::XApic, Destination::Logical) => vec![Sends(XAPIC, LOGICAL, halves, to_next_halves)],
        (GuestRoute::X2Apic, Destination::AllButSelf | Destination::All) => vec![one(X2APIC, Send::Msr)],
        (GuestRoute::X2Apic, Destination::Unicast) => vec![Sends(X2APIC, UNICAST, Send::Msr, Some(7))],
        (GuestRoute::X2Apic, Destination::Logical) => vec![Sends(X2APIC, LOGICAL, Send::Msr, Some(7))],
        (GuestRoute::Memory, Destination::AllButSelf) => vec![one(MEMORY, Send::Stores(1))],
        (GuestRoute::Memory, Destination::All) => return Err("a sender does not poll its own line"),
        (GuestRoute::Memory, Destination::Unicast) => vec![Sends(MEMORY, UNICAST, Send::Stores(1), Some(6))],
        (GuestRoute::Memory, Destination::Logical) => return Err("lines of memory have no logical ids"),
        (GuestRoute::Nmi, Destination::AllButSelf) => {
            vec![one(X2APIC_NMI, Send::Msr), one(XAPIC_NMI, Send::Stores(1))]
        }
        (GuestRoute::Nmi, Destination::All) => {
            return Err("the shorthand that includes the sender is for fixed interrupts only");
        }
        (GuestRoute::Nmi, Destination::Unicast) => {
            vec![Sends(X2APIC_NMI, UNICAST, Send::Msr, Some(7)), Sends(XAPIC_NMI, UNICAST, halves, to_next_halves)]
        }
        (GuestRoute::Nmi, Destination::Logical) => {
            vec![Sends(X2APIC_NMI, LOGICAL, Send::Msr, Some(7)), Sends(XAPIC_NMI, LOGICAL, halves, to_next_halves)]
        }
        (GuestRoute::Msi, Destination::AllButSelf | Destination::All) => vec![one(MSI, Send::Port)],
        (GuestRoute::Msi, Destination::Unicast) => vec![Sends(MSI, UNICAST, Send::Port, Some(6))],
        (GuestRoute::Msi, Destination::Logical) => return Err("the VMM's interrupt messages go to APIC ids"),
        (
            GuestRoute::Host,
            Destination::AllButSelf | Destination::All | Destination::Unicast | Destination::Logical,
        ) => return Err("the host sends"),
        (
            GuestRoute::XApic
            | GuestRoute::X2Apic
            | GuestRoute::Memory
            | GuestRoute::Nmi
            | GuestRoute::Msi
            | GuestRoute::KvmPv
            | GuestRoute::HyperV
            | GuestRoute::Host,
            Destination::Itself | Destination::SelfIpi,
        ) => return Err("a broadcast call is for every processor"),
        (
            GuestRoute::XApic
            | GuestRoute::X2Apic
            | GuestRoute::Memory
            | GuestRoute::Nmi
            | GuestRoute::Msi
            | GuestRoute::KvmPv
            | GuestRoute::HyperV
            | GuestRoute::Host,
            Destination::Mesh,
        ) => return Err("a broadcast call has one initiator"),
    })
}

/// The function that makes the rounds of a route and a destination. Where the code of two is the same, as of unicast and logical on a route that
/// does not tell them apart, one name is left.
pub(crate) fn rounds(route: &str, destination: &str) -> u64 {
    let name = |destination| {
        format!(
            "kipi_guest::block::rounds::<kipi_guest::call::everybody::Over<kipi_guest::routes::{route}, \
             guest_stub::destinations::{destination}>>"
        )
    };
    let names = if destination == UNICAST { vec![name(UNICAST), name(LOGICAL)] } else { vec![name(destination)] };
    let symbols = demangled();
    *names.iter().find_map(|name| symbols.get(name)).unwrap_or_else(|| panic!("the image has none of {names:?}"))
}

/// The number of instructions on the shortest way from `from` to the `nth` send, that one included, if no stamp comes before.
fn way_to_send(from: u64, send: Send, nth: usize) -> Option<usize> {
    /// The stamp, half by half, is stored before.
    const STAMP: usize = 2;
    let (is_part, parts, before_all): (fn(&Instruction) -> bool, usize, usize) = match send {
        Send::Msr => (|it| it.mnemonic() == Mnemonic::Wrmsr, 1, 0),
        Send::Hypercall(Mnemonic::Vmmcall) => (|it| it.mnemonic() == Mnemonic::Vmmcall, 1, 0),
        Send::Hypercall(_) => (|it| it.mnemonic() == Mnemonic::Vmcall, 1, 0),
        Send::Port => (|it| it.mnemonic() == Mnemonic::Out, 1, 0),
        Send::Stores(parts) => (stores, parts, STAMP),
    };
    shortest_way(
        from,
        |before, it| (it.mnemonic() != Mnemonic::Rdtsc).then(|| before + usize::from(is_part(it))),
        no_callee,
        |before, it| before + 1 == before_all + nth * parts && is_part(it),
    )
}

#[test]
fn few_instructions_lie_between_the_stamp_and_the_send_and_between_two_sends() {
    for &route in GuestRoute::ALL {
        for &destination in Destination::ALL {
            for Sends(route, destination, send, allowed) in windows(route, destination).into_iter().flatten() {
                let mut stamp = rounds(route, destination);
                for looked_for in [Mnemonic::Mfence, Mnemonic::Rdtsc] {
                    while instruction_at(stamp).mnemonic() != looked_for {
                        stamp = instruction_at(stamp).next_ip();
                    }
                }
                let to_send = |nth| way_to_send(instruction_at(stamp).next_ip(), send, nth);
                let first = to_send(1).unwrap_or_else(|| panic!("{route}, {destination}: no send after the stamp"));
                let further = to_send(2).map(|second| second - first);
                println!("{route}, {destination}: {first} instructions to the send, {further:?} to the next");
                let most = match send {
                    Send::Hypercall(_) if route == "hyperv::HyperVSet" && destination == UNICAST => TO_A_SET_OF_ONE,
                    Send::Hypercall(_) => TO_THE_HYPERCALL,
                    Send::Msr | Send::Port | Send::Stores(_) => TO_THE_SEND,
                };
                assert!(first <= most, "{route}, {destination}: {first} instructions, {most} allowed");
                assert_eq!(further.is_some(), allowed.is_some(), "{route}, {destination}: one send or many?");
                assert!(further <= allowed, "{route}, {destination}: {further:?} to the next, {allowed:?} allowed");
            }
        }
    }
}

/// What is not counted above is what the VMM refuses to measure.
#[test]
fn the_windows_are_those_that_can_be_measured() {
    for &route in Route::ALL {
        let spec = routes::of(route);
        let Some(in_guest) = spec.in_guest() else { continue };
        for &destination in Destination::ALL {
            let cell = CellId::broadcast(route, destination, spec.probe_state, 4);
            let refusal = config::refuse(&cell, HostOffers::EVERYTHING);
            let guest_sends = refusal.is_none() && in_guest != GuestRoute::Host;
            let counted = windows(in_guest, destination);
            assert_eq!(counted.is_ok(), guest_sends, "{}, {}", route.name(), destination.name());
            if let (Some(refusal), Err(reason)) = (refusal, counted) {
                let same = refusal.reason() == reason || spec.is_host();
                assert!(same, "{}, {}: {reason}", route.name(), destination.name());
            }
        }
    }
}
