use super::{Addressing, Sender, To};

/// One send for each processor but the sender, by rising number.
#[derive(Debug)]
pub struct Unicast {
    index: usize,
    processors: usize,
}

impl Addressing for Unicast {
    const INCLUDES_SENDER: bool = false;
    const IS_SHORTHAND: bool = false;

    fn prepare(sender: Sender) -> Self {
        let Sender { index, processors, .. } = sender;
        Self { index, processors }
    }

    #[inline]
    fn for_each_send(&self, mut send: impl FnMut(To)) {
        (0..self.processors).filter(|&target| target != self.index).for_each(|target| send(To::One(target)));
    }
}
