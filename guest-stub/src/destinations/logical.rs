//! One send for each cluster of local APICs, in logical destination mode (SDM Vol. 3A 12.6.2.2 and 12.12.10.2).

use super::{Addressing, Kind, Sender, To};
use crate::abi::MAX_VCPUS;
use crate::logical_ids::LogicalIds;

/// One send for each cluster that has a target.
#[derive(Debug)]
pub struct Logical;

impl Addressing for Logical {
    const INCLUDES_SENDER: bool = false;
    const KIND: Kind = Kind::Logical;

    fn for_each_send(sender: Sender, mut send: impl FnMut(To)) {
        // The VMM refuses more processors than have logical ids.
        let Some(ids) = LogicalIds::of(sender.in_x2apic_mode, sender.processors) else { return };
        let mut addresses = [0; MAX_VCPUS];
        let mut clusters = 0;
        for target in (0..sender.processors).filter(|&target| target != sender.index) {
            let id = ids.id(target, (sender.apic_id)(target));
            // From the last one: mostly it is that.
            let mut known = addresses[..clusters].iter_mut().rev();
            if let Some(address) = known.find(|address| ids.are_together(**address, id)) {
                *address |= id;
            } else {
                addresses[clusters] = id;
                clusters += 1;
            }
        }
        addresses[..clusters].iter().for_each(|&address| send(To::Logical(address)));
    }
}

#[cfg(test)]
mod tests;
