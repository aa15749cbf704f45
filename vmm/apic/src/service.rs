//! The broadcast service: puts an interrupt message into the inboxes of all its destinations, and fetches those vCPUs that
//! would not notice by themselves.
//!
//! A send takes no lock and allocates nothing. A broadcast to N vCPUs costs N atomic additions to an IRR, N looks at where a
//! vCPU is, and one kick for each that is in the guest or asleep; a physical destination is found in a table of ids; a
//! logical one asks each vCPU's published registers.

mod ids;
mod port;

pub use port::{Fetch, Sent};

use crate::icr::FIRST_LEGAL_VECTOR;
use crate::inbox::Inbox;
use crate::ipi::{Delivery, Destination, Ipi};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use ids::Ids;
use port::{Event, Port};

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
mod tests;
