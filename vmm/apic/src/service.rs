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
use crate::ipi::{Delivery, Destination, Ipi, Trigger};
use crate::requests::Requests;
use crate::vectors::Vectors;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use ids::Ids;
use port::{Event, Port};

/// All vCPUs of a machine.
#[derive(Debug)]
pub struct Service<F> {
    ports: Box<[Port<F>]>,
    ids: Ids,
    /// Each vCPU's TMR. Apart from the ports: without level-triggered interrupts, nobody who sends touches it.
    tmrs: Box<[Vectors]>,
    /// The first vector on which an edge-triggered interrupt is legal and finds all TMRs clear; none, once some interrupt was
    /// level-triggered.
    first_plain: AtomicU16,
    ignored: AtomicU64,
}

impl<F: Fetch> Service<F> {
    /// For vCPUs with these APIC ids, in the order of their numbers, and a way to fetch each.
    pub fn new(vcpus: impl IntoIterator<Item = (u32, F)>) -> Self {
        let (ids, ports): (Vec<_>, Vec<_>) =
            vcpus.into_iter().map(|(id, fetch)| (id, Port { inbox: Inbox::new(), fetch })).unzip();
        let tmrs = ports.iter().map(|_| Vectors::new()).collect();
        let first_plain = AtomicU16::new(FIRST_LEGAL_VECTOR.into());
        Self { ports: ports.into(), ids: Ids::new(&ids), tmrs, first_plain, ignored: AtomicU64::new(0) }
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

    /// What waits for a vCPU.
    pub(crate) fn requests(&self, vcpu: usize) -> Requests<'_> {
        Requests { irr: self.ports[vcpu].inbox.irr(), tmr: &self.tmrs[vcpu] }
    }

    /// Sets a vCPU's TMR. What a sender adds meanwhile may be lost.
    pub(crate) fn set_tmr(&self, vcpu: usize, tmr: [u32; 8]) {
        self.tmrs[vcpu].set_registers(tmr);
        if tmr != [0; 8] {
            self.keep_tmrs();
        }
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
        // Apart from all others: what is done for each target is a handful of instructions, and not a call.
        match ipi.delivery {
            Delivery::Fixed(vector) if ipi.trigger == Trigger::Edge && self.is_plain(vector) => {
                let mut sent = Sent::default();
                self.for_each(sender, ipi.destination, |port| port.interrupt(vector, &mut sent));
                sent
            }
            _ => self.send_any(sender, ipi),
        }
    }

    #[inline(never)]
    fn send_any(&self, sender: Option<usize>, ipi: Ipi) -> Sent {
        let mut sent = Sent::default();
        let Ipi { delivery, trigger, destination } = ipi;
        let event = match delivery {
            Delivery::Fixed(vector) | Delivery::LowestPriority(vector) if vector < FIRST_LEGAL_VECTOR => return sent,
            Delivery::Fixed(vector) => {
                self.for_each(sender, destination, |port| self.interrupt(port, vector, trigger, &mut sent));
                return sent;
            }
            Delivery::LowestPriority(vector) => {
                if let Some(port) = self.lowest_priority(sender, destination, vector) {
                    self.interrupt(port, vector, trigger, &mut sent);
                }
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

    /// Whether an edge-triggered interrupt on this vector is legal, and changes no TMR. One that follows a level-triggered message sees
    /// that it does.
    #[inline]
    fn is_plain(&self, vector: u8) -> bool {
        u16::from(vector) >= self.first_plain.load(Ordering::Relaxed)
    }

    /// There are level-triggered messages: from now on, every interrupt has its TMR bit written.
    fn keep_tmrs(&self) {
        self.first_plain.store(u16::MAX, Ordering::Relaxed);
    }

    /// Delivers an interrupt, and notes in the TMR how it is triggered.
    fn interrupt(&self, port: &Port<F>, vector: u8, trigger: Trigger, sent: &mut Sent) {
        if let Some(vcpu) = self.ports.element_offset(port).filter(|_| port.addressing().enabled) {
            match trigger {
                Trigger::Level => self.keep_tmrs(),
                Trigger::Edge => {}
            }
            // Before the IRR: whoever takes the vector from there sees this.
            self.requests(vcpu).set_trigger(vector, trigger);
            port.interrupt(vector, sent);
        }
    }

    /// Calls `each` with every vCPU that a destination means.
    #[inline]
    fn for_each<'a>(&'a self, sender: Option<usize>, destination: Destination, mut each: impl FnMut(&'a Port<F>)) {
        match destination {
            Destination::Itself => self.at(sender).for_each(each),
            Destination::All => self.ports.iter().for_each(each),
            Destination::AllButSelf => {
                let (before, after) = match sender {
                    Some(sender) if sender < self.ports.len() => (&self.ports[..sender], &self.ports[sender + 1..]),
                    _ => (&self.ports[..0], &self.ports[..]),
                };
                before.iter().for_each(&mut each);
                after.iter().for_each(each);
            }
            Destination::Physical(id) => self.at(self.with_id(id)).for_each(each),
            Destination::Logical(mda) => {
                self.ports.iter().filter(|port| port.addressing().matches_logical(mda)).for_each(each);
            }
        }
    }

    fn at(&self, vcpu: Option<usize>) -> impl Iterator<Item = &Port<F>> {
        vcpu.and_then(|vcpu| self.ports.get(vcpu)).into_iter()
    }

    /// Which of the destinations takes a lowest-priority interrupt: of those whose TPR's class is lowest, as they have published it,
    /// the vector decides, so that vectors spread (SDM Vol. 3A 12.6.2.4 leaves ties to the model of the processor).
    fn lowest_priority(&self, sender: Option<usize>, destination: Destination, vector: u8) -> Option<&Port<F>> {
        let priority = |port: &Port<F>| {
            let addressing = port.addressing();
            addressing.enabled.then_some(addressing.priority)
        };
        let (mut lowest, mut count, mut first) = (u8::MAX, 0, None);
        self.for_each(sender, destination, |port| match priority(port) {
            Some(priority) if priority < lowest => (lowest, count, first) = (priority, 1, Some(port)),
            Some(priority) if priority == lowest => count += 1,
            _ => {}
        });
        let mut nth = usize::from(vector).checked_rem(count)?;
        let mut chosen = None;
        self.for_each(sender, destination, |port| {
            if priority(port) == Some(lowest) && chosen.is_none() {
                chosen = if nth == 0 { Some(port) } else { None };
                nth = nth.wrapping_sub(1);
            }
        });
        // Whoever changes its TPR between the two looks is not found by the second; the message must not be lost with it.
        chosen.or(first)
    }
}

#[cfg(test)]
mod tests;
