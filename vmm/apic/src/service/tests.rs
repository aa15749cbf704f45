use super::*;
use crate::addressing::{Addressing, Mode};
use crate::presence::Place;
use core::sync::atomic::AtomicU32;

/// Counts how often it was fetched: from the guest, and from its sleep in units of 256.
#[derive(Default)]
struct Counted(AtomicU32);

impl Counted {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Fetch for Counted {
    fn interrupt(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        self.0.fetch_add(0x100, Ordering::Relaxed);
    }
}

/// x2APIC ids with gaps, in no order; all enabled but the last.
const IDS: [u32; 5] = [0, 0x23, 0x21, 7, 0x300];

fn service() -> Service<Counted> {
    let service = Service::new(IDS.map(|id| (id, Counted::default())));
    for (vcpu, id) in IDS.into_iter().enumerate() {
        let addressing = Addressing { id, enabled: vcpu < 4, mode: Mode::X2Apic, ..Addressing::default() };
        service.inbox(vcpu).publish(addressing.to_bits());
    }
    service
}

fn send(service: &Service<Counted>, sender: Option<usize>, delivery: Delivery, to: Destination) -> Vec<usize> {
    let sent = service.send(sender, Ipi::new(delivery, to));
    let took = |&vcpu: &usize| {
        let inbox = service.inbox(vcpu);
        inbox.irr().take(0xE1) | (inbox.take_events() != crate::inbox::Events::default())
    };
    let took: Vec<usize> = (0..IDS.len()).filter(took).collect();
    assert_eq!(sent.accepted as usize, took.len());
    took
}

const FIXED: Delivery = Delivery::Fixed(0xE1);

#[test]
fn each_destination_is_found() {
    let service = service();
    let to = |sender, destination| send(&service, sender, FIXED, destination);
    assert_eq!(to(Some(1), Destination::Itself), [1]);
    assert_eq!(to(Some(1), Destination::AllButSelf), [0, 2, 3], "the last is disabled by software");
    assert_eq!(to(Some(1), Destination::All), [0, 1, 2, 3]);
    assert_eq!(to(Some(1), Destination::Physical(0x21)), [2]);
    assert_eq!(to(Some(1), Destination::Physical(1)), [0; 0], "nobody has this id");
    assert_eq!(to(Some(1), Destination::Logical(0x2_000A)), [1, 2], "two of one cluster");
    assert_eq!(to(None, Destination::Itself), [0; 0]);
    assert_eq!(to(None, Destination::AllButSelf), [0, 1, 2, 3], "from outside");
    assert_eq!(to(Some(99), Destination::AllButSelf), [0, 1, 2, 3], "a sender that there is not");
}

#[test]
fn events_need_no_software_enable_but_a_local_apic() {
    let service = service();
    for delivery in [Delivery::Nmi, Delivery::Init, Delivery::Sipi(8)] {
        assert_eq!(send(&service, Some(0), delivery, Destination::AllButSelf), [1, 2, 3, 4]);
    }
    service.inbox(4).publish(Addressing { id: IDS[4], ..Addressing::default() }.to_bits());
    assert_eq!(send(&service, Some(0), Delivery::Nmi, Destination::AllButSelf), [1, 2, 3], "switched off");
}

#[test]
fn lowest_priority_is_one_of_those_that_are_meant() {
    let service = service();
    let mut taken = [0; IDS.len()];
    for vector in 0x10..=0xFF {
        let ipi = Ipi::new(Delivery::LowestPriority(vector), Destination::AllButSelf);
        assert_eq!(service.send(Some(2), ipi).accepted, 1);
        (0..IDS.len()).filter(|&vcpu| service.inbox(vcpu).irr().take(vector)).for_each(|vcpu| taken[vcpu] += 1);
    }
    assert_eq!(taken, [80, 80, 0, 80, 0], "spread by vector");
}

#[test]
fn lowest_priority_is_the_lowest_that_is_published() {
    let service = service();
    for (vcpu, priority) in [(0, 0xF), (1, 3), (3, 3)] {
        let addressing = Addressing { priority, ..service.ports[vcpu].addressing() };
        service.inbox(vcpu).publish(addressing.to_bits());
    }
    let taken_by = |vector, destination| {
        let sent = service.send(Some(2), Ipi::new(Delivery::LowestPriority(vector), destination));
        assert_eq!(sent.accepted, 1);
        (0..IDS.len()).find(|&vcpu| service.inbox(vcpu).irr().take(vector)).expect("somebody accepted it")
    };
    assert_eq!([0x50, 0x51, 0x52].map(|vector| taken_by(vector, Destination::AllButSelf)), [1, 3, 1]);
    assert_eq!(taken_by(0x50, Destination::All), 2, "nobody is below the sender's zero");
    assert_eq!(taken_by(0x50, Destination::Physical(IDS[0])), 0, "alone");
}

#[test]
fn triggers_are_noted_when_messages_are_accepted() {
    let service = service();
    let send = |trigger, vector| {
        let ipi = Ipi { trigger, ..Ipi::new(Delivery::Fixed(vector), Destination::AllButSelf) };
        service.send(Some(0), ipi);
        [0, 1, 2, 3, 4].map(|vcpu| service.requests(vcpu).tmr.contains(vector))
    };
    assert_eq!(send(Trigger::Edge, 0x51), [false; 5]);
    assert_eq!(send(Trigger::Level, 0x51), [false, true, true, true, false], "the last accepts none");
    assert_eq!(send(Trigger::Edge, 0x61), [false; 5]);
    assert!(service.requests(1).tmr.contains(0x51));
    assert_eq!(send(Trigger::Edge, 0x51), [false; 5], "an edge clears it");
}

#[test]
fn what_nobody_can_serve_is_counted() {
    let service = service();
    for delivery in [Delivery::Smi, Delivery::ExtInt] {
        assert_eq!(send(&service, Some(0), delivery, Destination::All), [0; 0]);
    }
    assert_eq!(service.ignored(), 2);
    assert_eq!(send(&service, None, Delivery::Fixed(15), Destination::All), [0; 0], "an illegal vector");
    assert_eq!(service.ignored(), 2);
}

#[test]
fn who_is_in_the_guest_or_asleep_is_fetched_once() {
    let service = service();
    let all = |vector| Ipi::new(Delivery::Fixed(vector), Destination::AllButSelf);
    let parked = |(): &mut ()| [service.send(Some(0), all(0x40)), service.send(Some(0), all(0x41))];
    let in_guest = |(): &mut ()| service.inbox(2).presence().go(Place::Parked, &mut (), |()| true, parked);
    let sent = service.inbox(1).presence().go(Place::Guest, &mut (), |()| true, in_guest).flatten();
    let [first, second] = sent.expect("nobody kept them from it");
    assert_eq!((first, second), (Sent { accepted: 3, fetched: 2 }, Sent { accepted: 3, fetched: 0 }));
    assert_eq!([1, 2, 3].map(|vcpu| service.fetch(vcpu).count()), [1, 0x100, 0]);
}
