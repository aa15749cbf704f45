//! What the inbox is made of, here. The model checker takes a sequentially consistent access for one that acquires and
//! releases; with fences around it, it is at least as strong as one.

use loom::sync::atomic::fence;
pub(crate) use std::sync::atomic::Ordering;

/// Does `access` between fences, if it is to be sequentially consistent.
fn ordered<T>(ordering: Ordering, access: impl FnOnce() -> T) -> T {
    let fences = ordering == Ordering::SeqCst;
    if fences {
        fence(Ordering::SeqCst);
    }
    let value = access();
    if fences {
        fence(Ordering::SeqCst);
    }
    value
}

pub(crate) use loom::sync::atomic::AtomicU64;

#[derive(Debug, Default)]
pub(crate) struct AtomicU32(loom::sync::atomic::AtomicU32);

impl AtomicU32 {
    pub(crate) fn new(value: u32) -> Self {
        Self(loom::sync::atomic::AtomicU32::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> u32 {
        ordered(ordering, || self.0.load(ordering))
    }

    pub(crate) fn store(&self, value: u32, ordering: Ordering) {
        ordered(ordering, || self.0.store(value, ordering));
    }

    pub(crate) fn swap(&self, value: u32, ordering: Ordering) -> u32 {
        ordered(ordering, || self.0.swap(value, ordering))
    }

    pub(crate) fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
        ordered(ordering, || self.0.fetch_or(bits, ordering))
    }

    pub(crate) fn fetch_and(&self, bits: u32, ordering: Ordering) -> u32 {
        ordered(ordering, || self.0.fetch_and(bits, ordering))
    }

    pub(crate) fn compare_exchange(&self, old: u32, new: u32, good: Ordering, bad: Ordering) -> Result<u32, u32> {
        ordered(good, || self.0.compare_exchange(old, new, good, bad))
    }

    pub(crate) fn compare_exchange_weak(&self, old: u32, new: u32, good: Ordering, bad: Ordering) -> Result<u32, u32> {
        self.compare_exchange(old, new, good, bad)
    }
}
