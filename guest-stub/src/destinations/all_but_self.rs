use super::{Addressing, Sender, To};

/// One send, by the shorthand that leaves out the sender.
#[derive(Debug)]
pub struct AllButSelf;

impl Addressing for AllButSelf {
    const INCLUDES_SENDER: bool = false;
    const IS_SHORTHAND: bool = true;

    fn prepare(_: Sender) -> Self {
        Self
    }

    #[inline]
    fn for_each_send(&self, mut send: impl FnMut(To)) {
        send(To::AllButSelf);
    }
}
