use super::{Addressing, Kind, Sender, To};

/// One send for each processor but the sender, by rising number.
#[derive(Debug)]
pub struct Unicast;

impl Addressing for Unicast {
    const INCLUDES_SENDER: bool = false;
    const KIND: Kind = Kind::One;

    fn for_each_send(sender: Sender, mut send: impl FnMut(To)) {
        (0..sender.processors).filter(|&target| target != sender.index).for_each(|target| send(To::One(target)));
    }
}
