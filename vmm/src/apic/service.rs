//! The broadcast service: puts an interrupt message into the inboxes of all its destinations, and fetches those vCPUs that
//! would not notice by themselves.
//!
//! A send takes no lock and allocates nothing. A broadcast to N vCPUs costs N atomic additions to an IRR, N looks at where a
//! vCPU is, and one kick for each that is in the guest or asleep; a physical destination is found in a table sorted by id,
//! or at once where ids are the vCPUs' numbers; a logical one asks each vCPU's published registers.

use super::addressing::{Addressing, Mode};
use super::icr::FIRST_LEGAL_VECTOR;
use super::inbox::Inbox;
use super::ipi::{Delivery, Destination, Ipi};
use super::presence::Place;
use std::sync::atomic::{AtomicU64, Ordering};

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

    #[inline]
    fn deliver(&self, delivery: Delivery, sent: &mut Sent) {
        let addressing = self.addressing();
        let place = match delivery {
            // A local APIC that software has disabled takes none (SDM Vol. 3A 12.4.7.2).
            Delivery::Fixed(_) | Delivery::LowestPriority(_) if !addressing.enabled => return,
            Delivery::Fixed(vector) | Delivery::LowestPriority(vector) => self.inbox.put_vector(vector),
            // One that IA32_APIC_BASE has switched off is not there (SDM Vol. 3A 12.4.3).
            _ if addressing.mode == Mode::Disabled => return,
            Delivery::Nmi => self.inbox.put_nmi(),
            Delivery::Init => self.inbox.put_init(),
            Delivery::Sipi(vector) => self.inbox.put_sipi(vector),
            Delivery::Smi | Delivery::ExtInt => return,
        };
        sent.accepted += 1;
        match place {
            Some(Place::Guest) => self.fetch.interrupt(),
            Some(Place::Bed) => self.fetch.wake(),
            None => return,
        }
        sent.fetched += 1;
    }
}

/// All vCPUs of a machine.
#[derive(Debug)]
pub struct Service<F> {
    ports: Box<[Port<F>]>,
    /// APIC ids in rising order, each with its vCPU.
    by_id: Box<[(u32, usize)]>,
    ignored: AtomicU64,
}

impl<F: Fetch> Service<F> {
    /// For vCPUs with these APIC ids, in the order of their numbers, and a way to fetch each.
    pub fn new(vcpus: impl IntoIterator<Item = (u32, F)>) -> Self {
        let (ids, ports): (Vec<_>, Vec<_>) =
            vcpus.into_iter().map(|(id, fetch)| (id, Port { inbox: Inbox::new(), fetch })).unzip();
        let mut by_id: Vec<_> = ids.into_iter().zip(0..).collect();
        by_id.sort_unstable();
        Self { ports: ports.into(), by_id: by_id.into(), ignored: AtomicU64::new(0) }
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

    /// The vCPU with this APIC id.
    pub fn with_id(&self, id: u32) -> Option<usize> {
        // Ids without gaps are found at once.
        let guess = usize::try_from(id).ok().and_then(|index| self.by_id.get(index));
        match guess {
            Some(&(found, vcpu)) if found == id => Some(vcpu),
            _ => self.by_id.binary_search_by_key(&id, |&(id, _)| id).ok().map(|place| self.by_id[place].1),
        }
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
        let delivery = ipi.delivery;
        match delivery {
            Delivery::Fixed(vector) | Delivery::LowestPriority(vector) if vector < FIRST_LEGAL_VECTOR => return sent,
            Delivery::LowestPriority(vector) => {
                self.send_to_one(sender, ipi.destination, vector, &mut sent);
                return sent;
            }
            Delivery::Smi | Delivery::ExtInt => {
                self.ignored.fetch_add(1, Ordering::Relaxed);
                return sent;
            }
            _ => {}
        }
        match ipi.destination {
            Destination::Itself => self.ports_at(sender).for_each(|port| port.deliver(delivery, &mut sent)),
            Destination::All => self.ports.iter().for_each(|port| port.deliver(delivery, &mut sent)),
            Destination::AllButSelf => {
                let (before, after) = match sender {
                    Some(sender) if sender < self.ports.len() => (&self.ports[..sender], &self.ports[sender + 1..]),
                    _ => (&self.ports[..0], &self.ports[..]),
                };
                before.iter().chain(after).for_each(|port| port.deliver(delivery, &mut sent));
            }
            Destination::Physical(id) => {
                self.ports_at(self.with_id(id)).for_each(|port| port.deliver(delivery, &mut sent));
            }
            Destination::Logical(mda) => {
                let matching = self.ports.iter().filter(|port| port.addressing().matches_logical(mda));
                matching.for_each(|port| port.deliver(delivery, &mut sent));
            }
        }
        sent
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
            port.deliver(Delivery::LowestPriority(vector), sent);
        }
    }
}
