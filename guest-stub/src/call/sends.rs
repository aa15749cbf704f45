//! What a call of all processors sends: encoded once for many calls, so that the measured window has nothing to compute.

use super::window::Sends;
use crate::processor::Private;
use crate::routes::{self, Arrival, Route};
use core::marker::PhantomData;
use core::slice;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{Destination, GuestRoute, VECTOR_IPI};
use guest_stub::destinations::{Addressing, Sender};
use guest_stub::rendezvous::Generation;
use guest_stub::with_destination;

/// The sends of a call over one route and destination, as [`Route::encode`] makes them: one at least.
#[derive(Clone)]
pub(super) struct Encoded(slice::Iter<'static, AtomicU32>);

impl Encoded {
    /// Encodes them in this processor's page. `None`: the route has no such sends.
    pub(super) fn new(
        private: &'static Private,
        sender: Sender,
        route: GuestRoute,
        destination: Destination,
    ) -> Option<Self> {
        let encode_all = routes::encode_all(route);
        let page = private.sends();
        let mut count = 0;
        let mut add = |encoded| {
            page[count].store(encoded, Ordering::Relaxed);
            count += 1;
        };
        let encode_to = |to| encode_all(private, sender, VECTOR_IPI, to, &mut add);
        with_destination!(destination, D => D::for_each_send(sender, encode_to), else ());
        (count > 0).then(|| Self(page[..count].iter()))
    }
}

/// The sends, as the measured window of one call makes them.
pub(super) struct Sending<'a, R, D> {
    route: R,
    kept: &'a Encoded,
    encoded: Encoded,
    destination: PhantomData<D>,
}

impl<'a, R: Route, D: Addressing> Sending<'a, R, D> {
    #[inline]
    pub(super) fn new(generation: Generation, kept: &'a Encoded) -> Self {
        Self::over(R::prepare(generation, VECTOR_IPI, D::KIND), kept)
    }

    /// A shorthand that is one send is a constant: it need not be loaded.
    #[inline]
    fn the_one_send() -> Option<u32> {
        D::KIND.shorthand().and_then(|to| R::encode(VECTOR_IPI, to))
    }

    #[inline]
    fn over(route: R, kept: &'a Encoded) -> Self {
        let encoded = if Self::the_one_send().is_some() { Encoded([].iter()) } else { kept.clone() };
        Self { route, kept, encoded, destination: PhantomData }
    }
}

impl<R: Route, D: Addressing> Clone for Sending<'_, R, D> {
    /// From what is kept: the window has to keep nothing for a second send.
    #[inline]
    fn clone(&self) -> Self {
        Self::over(self.route, self.kept)
    }
}

impl<R: Route, D: Addressing> Sends for Sending<'_, R, D> {
    #[inline]
    fn before(&self) {
        self.route.before();
    }

    #[inline]
    fn send(&self) {
        if let Some(encoded) = Self::the_one_send() {
            self.route.send(encoded);
            return;
        }
        let Encoded(mut sends) = self.encoded.clone();
        loop {
            // SAFETY: there is a first one, and another one wherever the loop goes on.
            let encoded = unsafe { sends.next().unwrap_unchecked() };
            self.route.send(encoded.load(Ordering::Relaxed));
            if sends.as_slice().is_empty() {
                return;
            }
            self.route.between();
        }
    }

    #[inline]
    fn after(&self) {
        self.route.after();
    }

    #[inline]
    fn reach_initiator(&self) -> bool {
        D::INCLUDES_SENDER && R::ARRIVAL == Arrival::Interrupt
    }
}
