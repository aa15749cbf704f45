//! What is sent to processors from outside.

use super::{CPUS, Pair};
use crate::local_apic::reference::{Choice, Message, Whom};
use kipi_apic::ipi::{Delivery, Destination, Ipi, Trigger};

impl Pair {
    pub(super) fn send_from_outside(&mut self, vector: u8, mode: u8, destination: u8) {
        let (to, whom) = match destination {
            0xFF => (Destination::All, Whom::All),
            0xFE => (Destination::AllButSelf, Whom::Others),
            0xFD => (Destination::Itself, Whom::Itself),
            logical if logical & 0x80 != 0 => {
                let mda = u32::from(logical & 0x7F);
                (Destination::Logical(mda), Whom::Logical(mda))
            }
            physical => {
                let id = CPUS.get(usize::from(physical)).map_or(physical.into(), |&(id, _)| id);
                (Destination::Physical(id), Whom::Physical(id))
            }
        };
        let (delivery_mode, level) = (mode % 8, mode & 0x80 != 0);
        let delivery = match delivery_mode {
            0 => Delivery::Fixed(vector),
            1 => Delivery::LowestPriority(vector),
            2 => Delivery::Smi,
            4 => Delivery::Nmi,
            5 => Delivery::Init,
            6 => Delivery::Sipi(vector),
            _ => Delivery::ExtInt,
        };
        let trigger = if level { Trigger::Level } else { Trigger::Edge };
        self.send(Ipi { delivery, trigger, destination: to }, Message { delivery_mode, vector, level, whom });
    }

    /// 12.11: bits 19 to 12 of the address are the destination, bit 3 the redirection hint, bit 2 the destination mode.
    pub(super) fn write_message(&mut self, address: u32, data: u16) {
        let address = 0xFEE0_0000 | address & 0xF_FFFF;
        let ipi = Ipi::from_msi(address.into(), data.into());
        let (id, redirect, logical) = (address >> 12 & 0xFF, address >> 3 & 1 == 1, address >> 2 & 1 == 1);
        let delivery_mode = match (data >> 8 & 7).to_le_bytes()[0] {
            0 if redirect && logical => 1,
            mode => mode,
        };
        let whom = match id {
            0xFF if !logical => Whom::All,
            id if logical => Whom::Logical(id),
            id => Whom::Physical(id),
        };
        let message = Message { delivery_mode, vector: data.to_le_bytes()[0], level: data >> 15 == 1, whom };
        match ipi {
            Some(ipi) => self.send(ipi, message),
            None => assert!(matches!(delivery_mode, 3 | 6), "a message of mode {delivery_mode}"),
        }
    }

    fn send(&mut self, ipi: Ipi, message: Message) {
        if message.level {
            // A timer's interrupt that is late, and an interrupt of the same vector, are accepted in their order.
            (0..CPUS.len())
                .filter(|&cpu| self.is_overdue(cpu))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|cpu| self.look(cpu));
        }
        self.service.send(None, ipi);
        let choice = self.manual.send(None, message);
        self.follow_choice(choice);
    }

    /// A lowest-priority message went to one of several, where the manual leaves the choice. Who already had the interrupt may have
    /// been it: its TMR then says so.
    pub(super) fn follow_choice(&mut self, choice: Option<Choice>) {
        let Some(Choice { candidates, vector, level }) = choice else { return };
        let has_it = |index: usize| self.service.inbox(index).irr().contains(vector);
        let got_it: Vec<usize> = candidates.iter().copied().filter(|&index| has_it(index)).collect();
        assert!(!got_it.is_empty(), "nobody of {candidates:?} has got {vector:#x}");
        let new: Vec<usize> =
            got_it.iter().copied().filter(|&index| !self.manual.cpus[index].irr.contains(&vector)).collect();
        match new[..] {
            [index] => self.manual.accept(index, vector, level),
            [] => {
                let changed = got_it
                    .into_iter()
                    .find(|&index| self.is_level(index, vector) != self.manual.cpus[index].tmr.contains(&vector));
                if let Some(index) = changed {
                    self.manual.accept(index, vector, level);
                }
            }
            _ => panic!("{new:?} have got {vector:#x}"),
        }
    }
}
