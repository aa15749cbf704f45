//! Where vCPUs' threads sleep while their vCPUs wait for each other: futexes in guest memory.
//!
//! A vCPU says what it waits for, and until when: the address of a word, and the value that the word has as long as there is
//! something to wait for. FUTEX_WAIT compares the two and falls asleep in one step (futex(2)), so that a wake-up by whoever has
//! changed the word is not lost. The guest is trusted with nothing: a word is some word in its memory, or there is none, and a
//! sleep ends when the thread is kicked, or after [`Parking::set_patience`]'s time; the guest then looks for itself. The time also
//! bounds how long a kick is overlooked that comes right before the sleep.

use crate::native::sleeping;
use guest_stub::abi::{self, UserPage, area};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use vm_memory::{Address as _, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory as _};

/// The places to sleep of a machine's vCPUs.
#[derive(Debug)]
pub struct Parking {
    memory: GuestMemoryMmap,
    patience_ns: AtomicU64,
}

/// The longest sleep.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest that is ever asked for.
const SHORTEST: Duration = Duration::from_millis(1);

impl Parking {
    /// In this memory.
    pub fn new(memory: GuestMemoryMmap) -> Self {
        let parking = Self { memory, patience_ns: AtomicU64::new(0) };
        parking.set_patience(LONGEST);
        parking
    }

    /// Lets nobody sleep for longer than this; but for a millisecond, and for no more than a second.
    pub fn set_patience(&self, patience: Duration) {
        let patience = patience.clamp(SHORTEST, LONGEST).as_nanos();
        // Relaxed: nothing else is published by it.
        self.patience_ns.store(u64::try_from(patience).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Sleeps on the thread of `vcpu` while the word at `address` holds what the vCPU has said that it does. `None`: there is no such
    /// word.
    pub fn park(&self, vcpu: usize, address: u64) -> Option<()> {
        let word = self.word(address)?;
        let user_page = abi::vcpu_area(vcpu) + area::USER;
        // Relaxed: the vCPU's own, written before its exit.
        let value = self.word(user_page + offset_of!(UserPage, parked_while) as u64)?.load(Ordering::Relaxed);
        let patience = Duration::from_nanos(self.patience_ns.load(Ordering::Relaxed));
        sleeping::sleep(word, value, Some(patience));
        Some(())
    }

    /// Wakes whoever sleeps for the word at `address`, vCPUs' threads and others. `None`: there is no such word.
    pub fn unpark(&self, address: u64) -> Option<()> {
        // Of a word that can be read it does not fail.
        let _ = sleeping::wake(self.word(address)?);
        Some(())
    }

    /// The word at a guest-physical address.
    fn word(&self, address: u64) -> Option<&AtomicU32> {
        let (region, offset) = self.memory.to_region_addr(GuestAddress(address))?;
        region.get_atomic_ref(usize::try_from(offset.raw_value()).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Instant;
    use vm_memory::Bytes as _;

    const WORD: u64 = abi::COMMAND_PAGE;
    const FOREVER: Duration = Duration::from_secs(1);

    fn parking(parked_while: u32) -> Parking {
        let bytes = usize::try_from(abi::memory_size(1)).expect("an address");
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]).expect("memory");
        let place = abi::vcpu_area(0) + area::USER + offset_of!(UserPage, parked_while) as u64;
        memory.write_slice(&parked_while.to_le_bytes(), GuestAddress(place)).expect("in memory");
        Parking::new(memory)
    }

    #[test]
    fn a_word_that_has_changed_is_not_slept_for() {
        let parking = parking(7);
        let start = Instant::now();
        assert_eq!(parking.park(0, WORD), Some(()), "it holds 0");
        assert!(start.elapsed() < FOREVER);
    }

    #[test]
    fn a_sleeper_is_woken_by_whoever_changes_the_word() {
        let parking = parking(0);
        let word = parking.word(WORD).expect("in memory");
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let mut sleeps = 0;
                while word.load(Ordering::Acquire) == 0 {
                    parking.park(0, WORD);
                    sleeps += 1;
                }
                sleeps
            });
            thread::sleep(Duration::from_millis(20));
            word.store(1, Ordering::Release);
            assert_eq!(parking.unpark(WORD), Some(()));
            let start = Instant::now();
            let sleeps = sleeper.join().expect("no panic");
            assert!(start.elapsed() < FOREVER / 2 || sleeps > 1, "{sleeps} sleeps");
        });
    }

    #[test]
    fn a_sleep_that_nobody_ends_is_over_in_time() {
        let parking = parking(0);
        parking.set_patience(Duration::from_millis(5));
        assert_eq!(parking.park(0, WORD), Some(()));
    }

    #[test]
    fn what_is_no_word_of_memory_is_refused() {
        let parking = parking(0);
        for address in [WORD + 1, abi::memory_size(1), abi::memory_size(1) - 2, u64::MAX] {
            assert_eq!(parking.park(0, address), None, "{address:#x}");
            assert_eq!(parking.unpark(address), None, "{address:#x}");
        }
        assert_eq!(parking.park(1, WORD), None, "its user page is in no memory");
    }
}
