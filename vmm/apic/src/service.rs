//! The broadcast service: puts an interrupt message into the inboxes of all its destinations, and fetches those vCPUs that
//! would not notice by themselves.
//!
//! A send takes no lock and allocates nothing. A broadcast to N vCPUs costs N atomic additions to an IRR, N looks at where a
//! vCPU is, and one kick for each that is in the guest or asleep; a physical destination is found in a table of ids; a
//! logical one asks each vCPU's published registers.

use crate::addressing::{Addressing, Mode};
use crate::icr::FIRST_LEGAL_VECTOR;
use crate::inbox::Inbox;
use crate::ipi::{Delivery, Destination, Ipi};
use crate::presence::Place;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// How a vCPU's thread is fetched.
pub trait Fetch {
    /// Gets the thread out of the guest, or keeps it from going in: it is there, or on its way.
    fn interrupt(&self);
    /// Wakes the thread: it is asleep, or about to be.
    fn wake(&self);
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Local APICs that have taken it.
    pub accepted: u32,
    /// vCPUs that had to be fetched.
    pub fetched: u32,
}

/// A vCPU as the service sees it.
#[derive(Debug)]
struct Port<F> {
    inbox: Inbox,
    fetch: F,
}

impl<F: Fetch> Port<F> {
    #[inline]
    fn addressing(&self) -> Addressing {
        Addressing::from_bits(self.inbox.published())
    }

    /// Delivers an interrupt. A local APIC that software has disabled takes none (SDM Vol. 3A 12.4.7.2).
    #[inline]
    fn interrupt(&self, vector: u8, sent: &mut Sent) {
        if self.addressing().enabled {
            let place = self.inbox.put_vector(vector);
            self.accepted(place, sent);
        }
    }

    /// Delivers what has no vector to be kept in the IRR. A local APIC that IA32_APIC_BASE has switched off is not there
    /// (SDM Vol. 3A 12.4.3).
    fn signal(&self, event: Event, sent: &mut Sent) {
        if self.addressing().mode != Mode::Disabled {
            let place = match event {
                Event::Nmi => self.inbox.put_nmi(),
                Event::Init => self.inbox.put_init(),
                Event::Sipi(vector) => self.inbox.put_sipi(vector),
            };
            self.accepted(place, sent);
        }
    }

    #[inline]
    fn accepted(&self, place: Option<Place>, sent: &mut Sent) {
        sent.accepted += 1;
        if let Some(place) = place {
            self.fetch_from(place);
            sent.fetched += 1;
        }
    }

    #[inline]
    fn fetch_from(&self, place: Place) {
        match place {
            Place::Guest => self.fetch.interrupt(),
            Place::Parked => self.fetch.wake(),
        }
    }
}

/// A message without a vector of its own in the IRR.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nmi,
    Init,
    Sipi(u8),
}

/// Which vCPU has which APIC id.
#[derive(Debug)]
enum Ids {
    /// By id; [`NOBODY`] where there is none.
    Table(Box<[u32]>),
    /// In rising order of ids, each with its vCPU, where they are too large for a table.
    Sorted(Box<[(u32, usize)]>),
}

const NOBODY: u32 = u32::MAX;
/// Ids from here on are looked up by bisection: a table's size is the guest's topology, and must have a bound. KVM's own
/// bound is 4096 (KVM_MAX_VCPU_IDS, Linux 6.18).
const TABLE_END: u32 = 16_384;

impl Ids {
    fn new(ids: &[u32]) -> Self {
        let end = ids.iter().max().map_or(0, |&highest| highest.saturating_add(1));
        if end > TABLE_END {
            let mut sorted: Vec<_> = ids.iter().copied().zip(0..).collect();
            sorted.sort_unstable();
            return Self::Sorted(sorted.into());
        }
        let mut table = vec![NOBODY; end as usize];
        for (vcpu, &id) in (0..).zip(ids) {
            table[id as usize] = vcpu;
        }
        Self::Table(table.into())
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        match self {
            Self::Table(table) => table.get(id as usize).filter(|&&vcpu| vcpu != NOBODY).map(|&vcpu| vcpu as usize),
            Self::Sorted(sorted) => sorted.binary_search_by_key(&id, |&(id, _)| id).ok().map(|place| sorted[place].1),
        }
    }
}

/// All vCPUs of a machine.
#[derive(Debug)]
pub struct Service<F> {
    ports: Box<[Port<F>]>,
    ids: Ids,
    ignored: AtomicU64,
}

impl<F: Fetch> Service<F> {
    /// For vCPUs with these APIC ids, in the order of their numbers, and a way to fetch each.
    pub fn new(vcpus: impl IntoIterator<Item = (u32, F)>) -> Self {
        let (ids, ports): (Vec<_>, Vec<_>) =
            vcpus.into_iter().map(|(id, fetch)| (id, Port { inbox: Inbox::new(), fetch })).unzip();
        Self { ports: ports.into(), ids: Ids::new(&ids), ignored: AtomicU64::new(0) }
    }

    /// How many vCPUs.
    pub fn vcpus(&self) -> usize {
        self.ports.len()
    }

    /// What has been left for a vCPU.
    ///
    /// # Panics
    /// If there is no such vCPU.
    pub fn inbox(&self, vcpu: usize) -> &Inbox {
        &self.ports[vcpu].inbox
    }

    /// How a vCPU's thread is fetched.
    ///
    /// # Panics
    /// If there is no such vCPU.
    pub fn fetch(&self, vcpu: usize) -> &F {
        &self.ports[vcpu].fetch
    }

    /// Fetches a vCPU's thread from where it is, if it does not look by itself. For what was left elsewhere than in its inbox,
    /// with a sequentially consistent write.
    ///
    /// # Panics
    /// If there is no such vCPU.
    pub fn kick(&self, vcpu: usize) {
        let port = &self.ports[vcpu];
        if let Some(place) = port.inbox.presence().kick() {
            port.fetch_from(place);
        }
    }

    /// The vCPU with this APIC id.
    #[inline]
    pub fn with_id(&self, id: u32) -> Option<usize> {
        self.ids.find(id)
    }

    /// Messages that nobody has got, since there is nothing here that could serve them: SMI and ExtINT.
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    /// Sends a message from `sender`, a vCPU, or from outside all of them, where "self" means nobody and "all but self"
    /// everybody. From any thread. Nobody accepts an illegal vector, one below 16.
    #[inline]
    pub fn send(&self, sender: Option<usize>, ipi: Ipi) -> Sent {
        let mut sent = Sent::default();
        let Ipi { delivery, destination } = ipi;
        let event = match delivery {
            Delivery::Fixed(vector) | Delivery::LowestPriority(vector) if vector < FIRST_LEGAL_VECTOR => return sent,
            // Apart from the events: what is done for each target is a handful of instructions, and not a call.
            Delivery::Fixed(vector) => {
                self.for_each(sender, destination, |port| port.interrupt(vector, &mut sent));
                return sent;
            }
            Delivery::LowestPriority(vector) => {
                self.send_to_one(sender, destination, vector, &mut sent);
                return sent;
            }
            Delivery::Smi | Delivery::ExtInt => {
                self.ignored.fetch_add(1, Ordering::Relaxed);
                return sent;
            }
            Delivery::Nmi => Event::Nmi,
            Delivery::Init => Event::Init,
            Delivery::Sipi(vector) => Event::Sipi(vector),
        };
        self.for_each(sender, destination, |port| port.signal(event, &mut sent));
        sent
    }

    /// Calls `each` with every vCPU that a destination means.
    #[inline]
    fn for_each(&self, sender: Option<usize>, destination: Destination, mut each: impl FnMut(&Port<F>)) {
        match destination {
            Destination::Itself => self.ports_at(sender).for_each(each),
            Destination::All => self.ports.iter().for_each(each),
            Destination::AllButSelf => {
                let (before, after) = match sender {
                    Some(sender) if sender < self.ports.len() => (&self.ports[..sender], &self.ports[sender + 1..]),
                    _ => (&self.ports[..0], &self.ports[..]),
                };
                before.iter().for_each(&mut each);
                after.iter().for_each(each);
            }
            Destination::Physical(id) => self.ports_at(self.with_id(id)).for_each(each),
            Destination::Logical(mda) => {
                self.ports.iter().filter(|port| port.addressing().matches_logical(mda)).for_each(each);
            }
        }
    }

    fn ports_at(&self, vcpu: Option<usize>) -> impl Iterator<Item = &Port<F>> {
        vcpu.and_then(|vcpu| self.ports.get(vcpu)).into_iter()
    }

    /// Lowest priority: one of the destinations takes it. Which is up to the model of the processor (SDM Vol. 3A 12.6.2.4);
    /// here the vector decides, so that vectors spread over the destinations.
    fn send_to_one(&self, sender: Option<usize>, destination: Destination, vector: u8, sent: &mut Sent) {
        let physical = match destination {
            Destination::Itself => sender,
            Destination::Physical(id) => self.with_id(id),
            _ => None,
        };
        let is_meant = |&(vcpu, port): &(usize, &Port<F>)| {
            let addressing = port.addressing();
            addressing.enabled
                && match destination {
                    Destination::Itself | Destination::Physical(_) => Some(vcpu) == physical,
                    Destination::All => true,
                    Destination::AllButSelf => Some(vcpu) != sender,
                    Destination::Logical(mda) => addressing.matches_logical(mda),
                }
        };
        let meant = || self.ports.iter().enumerate().filter(is_meant);
        let count = meant().count();
        if let Some((_, port)) = usize::from(vector).checked_rem(count).and_then(|nth| meant().nth(nth)) {
            port.interrupt(vector, sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;
    use proptest::prelude::*;

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
        let sent = service.send(sender, Ipi { delivery, destination: to });
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
            let ipi = Ipi { delivery: Delivery::LowestPriority(vector), destination: Destination::AllButSelf };
            assert_eq!(service.send(Some(2), ipi).accepted, 1);
            (0..IDS.len()).filter(|&vcpu| service.inbox(vcpu).irr().take(vector)).for_each(|vcpu| taken[vcpu] += 1);
        }
        assert_eq!(taken, [80, 80, 0, 80, 0], "spread by vector");
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
        let all = |vector| Ipi { delivery: Delivery::Fixed(vector), destination: Destination::AllButSelf };
        let parked = |(): &mut ()| [service.send(Some(0), all(0x40)), service.send(Some(0), all(0x41))];
        let in_guest = |(): &mut ()| service.inbox(2).presence().go(Place::Parked, &mut (), |()| true, parked);
        let sent = service.inbox(1).presence().go(Place::Guest, &mut (), |()| true, in_guest).flatten();
        let [first, second] = sent.expect("nobody kept them from it");
        assert_eq!((first, second), (Sent { accepted: 3, fetched: 2 }, Sent { accepted: 3, fetched: 0 }));
        assert_eq!([1, 2, 3].map(|vcpu| service.fetch(vcpu).count()), [1, 0x100, 0]);
    }

    proptest! {
        #[test]
        fn ids_are_found_by_table_and_by_bisection(
            ids in prop::collection::btree_set(prop_oneof![0..40_u32, 0..TABLE_END, any::<u32>()], 0..20), other: u32
        ) {
            let ids: Vec<u32> = ids.into_iter().rev().collect();
            let found = Ids::new(&ids);
            for (vcpu, &id) in ids.iter().enumerate() {
                prop_assert_eq!(found.find(id), Some(vcpu));
            }
            prop_assert_eq!(found.find(other), ids.iter().position(|&id| id == other));
        }
    }
}
