use super::{Addressing, Kind, Sender, To};

/// One send, by the shorthand that includes the sender.
#[derive(Debug)]
pub struct All;

impl Addressing for All {
    const INCLUDES_SENDER: bool = true;
    const KIND: Kind = Kind::All;

    fn for_each_send(_: Sender, mut send: impl FnMut(To)) {
        send(To::All);
    }
}
