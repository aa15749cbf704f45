use super::{Addressing, Sender, To};

/// One send, by the shorthand that includes the sender.
#[derive(Debug)]
pub struct All;

impl Addressing for All {
    const INCLUDES_SENDER: bool = true;
    const IS_SHORTHAND: bool = true;

    fn prepare(_: Sender) -> Self {
        Self
    }

    #[inline]
    fn for_each_send(&self, mut send: impl FnMut(To)) {
        send(To::All);
    }
}
