use super::{Addressing, Kind, Sender, To};

/// One send, by the shorthand that leaves out the sender.
#[derive(Debug)]
pub struct AllButSelf;

impl Addressing for AllButSelf {
    const INCLUDES_SENDER: bool = false;
    const KIND: Kind = Kind::AllButSelf;

    fn for_each_send(_: Sender, mut send: impl FnMut(To)) {
        send(To::AllButSelf);
    }
}
