//! The way of a ping through the guest image as it was built: what the sender and the target execute between its two stamps.

use guest_stub::abi::{Destination, GuestRoute};
use iced_x86::{Instruction, Mnemonic};
use kipi_tests::code::{demangled, instruction_at, no_callee, shortest_way, stores, symbol};
use kipi_tests::{run_tests, test};

fn main() -> std::process::ExitCode {
    run_tests()
}

/// The most instructions of a whole ping, both stamps included: the sender's until it has seen the mark at its first poll, and
/// the target's until it has made it. kvm-unit-tests' have 78.
const PING: usize = 24;
/// The same by a hypercall, whose number and arguments go to registers, and whose answer is looked at.
const PING_BY_HYPERCALL: usize = 29;

/// How each guest route and destination is sent, by the type of the way; or why it is not.
fn way(route: GuestRoute, destination: Destination) -> Result<(&'static str, Mnemonic), &'static str> {
    Ok(match (route, destination) {
        (GuestRoute::XApic, Destination::Unicast | Destination::Mesh) => ("XApic", Mnemonic::Mov),
        (GuestRoute::XApic, Destination::Itself) => ("XApicItself", Mnemonic::Mov),
        (GuestRoute::X2Apic, Destination::Unicast | Destination::Mesh) => ("X2Apic", Mnemonic::Wrmsr),
        (GuestRoute::X2Apic, Destination::Itself) => ("X2ApicItself", Mnemonic::Wrmsr),
        (GuestRoute::X2Apic, Destination::SelfIpi) => ("SelfIpi", Mnemonic::Wrmsr),
        (GuestRoute::Msi, Destination::Unicast | Destination::Mesh) => ("Msi", Mnemonic::Out),
        // The other vendor's differs in the instruction alone.
        (GuestRoute::KvmPv, Destination::Unicast | Destination::Mesh | Destination::Itself) => {
            ("KvmPv<kipi_guest::cpu::hypercall::Vmcall>", Mnemonic::Vmcall)
        }
        // Of more than 64 processors the parameters are in memory.
        (GuestRoute::HyperV, Destination::Unicast | Destination::Mesh | Destination::Itself) => {
            ("HyperVMask", Mnemonic::Vmcall)
        }
        (GuestRoute::Msi, Destination::Itself) => return Err("messages have no shorthands"),
        (GuestRoute::XApic | GuestRoute::KvmPv | GuestRoute::HyperV | GuestRoute::Msi, Destination::SelfIpi) => {
            return Err("the self-IPI register is the x2APIC's");
        }
        (
            GuestRoute::XApic | GuestRoute::X2Apic | GuestRoute::KvmPv | GuestRoute::HyperV | GuestRoute::Msi,
            Destination::AllButSelf | Destination::All | Destination::Logical,
        ) => return Err("a ping has one target"),
        (
            GuestRoute::Memory | GuestRoute::Nmi | GuestRoute::Host,
            Destination::AllButSelf
            | Destination::All
            | Destination::Unicast
            | Destination::Logical
            | Destination::Itself
            | Destination::SelfIpi
            | Destination::Mesh,
        ) => return Err("no vCPU sends a vector"),
    })
}

/// Instructions of the sender from its first stamp to its last one, both included, by way of the send.
fn sender(way: &str, send: Mnemonic) -> usize {
    let name = format!("kipi_guest::ping::sender::window::<kipi_guest::ping::way::{way}>");
    let mut window = *demangled().get(&name).unwrap_or_else(|| panic!("no {name}"));
    let is_stamp = |it: &Instruction| it.mnemonic() == Mnemonic::Rdtsc;
    while !is_stamp(&instruction_at(window)) {
        window = instruction_at(window).next_ip();
    }
    let is_send = |it: &Instruction| it.mnemonic() == send && (send != Mnemonic::Mov || stores(it));
    // How many of these have come: the first stamp, the send, the second stamp; the last stamp is the end.
    let count = shortest_way(
        window,
        |before, it| match before {
            1 if is_stamp(it) => None,
            1 => Some(before + usize::from(is_send(it))),
            _ => Some(before + usize::from(is_stamp(it))),
        },
        no_callee,
        |before, it| before == 3 && is_stamp(it),
    );
    count.unwrap_or_else(|| panic!("{way}: no way from the first stamp to the last one"))
}

/// Instructions of the target from its entry to the mark, both included.
fn target() -> usize {
    let mark = symbol("ping_mark");
    assert!(stores(&instruction_at(mark)), "the mark is a store");
    shortest_way(symbol("ping_entry"), |_, _| Some(0), no_callee, |_, it| it.ip() == mark).expect("a way to the mark")
}

#[test]
fn few_instructions_make_a_whole_ping() {
    let target = target();
    for &route in GuestRoute::ALL {
        for &destination in Destination::ALL {
            let Ok((way, send)) = way(route, destination) else { continue };
            let sender = sender(way, send);
            println!("{} {}: {sender} at the sender, {target} at the target", route.name(), destination.name());
            // Three stamps, the send, a poll, and a fence, and what saves the stamps: a shorter way would have been followed wrongly.
            assert!(sender >= 10 && target >= 6, "{sender} and {target} instructions cannot be all");
            let all = sender + target;
            let by_hypercall = [GuestRoute::KvmPv, GuestRoute::HyperV].contains(&route);
            let most = if by_hypercall { PING_BY_HYPERCALL } else { PING };
            assert!(all <= most, "{all} instructions of a ping over {}, {most} allowed", route.name());
        }
    }
}

/// The target's handler takes its stamp before it tells the sender.
#[test]
fn the_mark_comes_after_the_stamp_and_before_the_end_of_the_interrupt() {
    let (mut at, mark) = (symbol("ping_entry"), symbol("ping_mark"));
    let mut before = Vec::new();
    while at != mark {
        before.push(instruction_at(at));
        at = before[before.len() - 1].next_ip();
    }
    assert!(before.iter().any(|it| it.mnemonic() == Mnemonic::Rdtsc));
    assert!(!before.iter().any(|it| it.mnemonic() == Mnemonic::Call || it.mnemonic() == Mnemonic::Wrmsr));
}
