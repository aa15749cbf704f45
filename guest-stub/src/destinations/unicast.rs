use super::{Addressing, Sender, To};

/// One send for each processor but the sender, by rising number.
#[derive(Debug)]
pub struct Unicast(Sender);

impl Addressing for Unicast {
    const INCLUDES_SENDER: bool = false;
    const IS_SHORTHAND: bool = false;

    fn prepare(sender: Sender) -> Self {
        Self(sender)
    }

    #[inline]
    fn for_each_send(&self, mut send: impl FnMut(To)) {
        let Sender { index, processors } = self.0;
        (0..processors).filter(|&target| target != index).for_each(|target| send(To::One(target)));
    }
}
