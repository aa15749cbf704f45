//! Activities: what vCPU 0 announces, what all processors take part in, and what each finishes.

use crate::cpu::tsc;
use crate::halting;
use crate::polling;
use crate::processor::{self, Private, UserWords};
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{MASK_WORDS, MAX_VCPUS, Mask, Report, Status, VECTOR_WAKE};
use guest_stub::icr::{self, To};
use guest_stub::mask;

/// Counts the activities that vCPU 0 has announced. The command page says what the current one is.
static ANNOUNCED: AtomicU32 = AtomicU32::new(0);

/// The activity that each processor has finished. The first one is being up.
static FINISHED: [AtomicU32; MAX_VCPUS] = [const { AtomicU32::new(NOT_STARTED) }; MAX_VCPUS];
const NOT_STARTED: u32 = u32::MAX;
/// That a processor is up.
pub(crate) const STARTED: u32 = 0;

/// `ready` of a processor that is not in its state yet.
const NOT_IN_STATE: u32 = u32::MAX;

/// A report of an operation that ended so.
pub(crate) fn report(status: Status) -> Report {
    Report { status: status as u32, ..Report::NOTHING }
}

/// This processor has finished `activity`.
pub(crate) fn finish(private: &Private, activity: u32) {
    // Release pairs with `has_finished`: all that this processor did for the activity comes first.
    FINISHED[private.index].store(activity, Ordering::Release);
}

/// Whether a processor has finished `activity`.
pub(crate) fn has_finished(processor: usize, activity: u32) -> bool {
    FINISHED[processor].load(Ordering::Acquire) == activity
}

/// Sleeps until there is another activity than the one that this processor has finished.
pub(crate) fn sleep_until_next(finished: u32) -> u32 {
    halting::sleep_until_changed(&ANNOUNCED, finished)
}

/// Announces an activity to the other processors. The command page and their words are as they should be.
pub(crate) fn announce(private: &Private, processors: usize) -> u32 {
    let activity = ANNOUNCED.load(Ordering::Relaxed).wrapping_add(1) & !(1 << 31);
    // Release pairs with `sleep_until_next`.
    ANNOUNCED.store(activity, Ordering::Release);
    wake(private, processors);
    activity
}

/// Announces an activity to processors whose words say that they are not in their state yet.
pub(crate) fn begin(private: &Private, processors: usize) -> u32 {
    for index in 0..processors {
        let words = UserWords::of(index);
        words.stop().store(0, Ordering::Relaxed);
        words.ready().store(NOT_IN_STATE, Ordering::Relaxed);
        words.asked().store(0, Ordering::Relaxed);
    }
    announce(private, processors)
}

/// Gets the other processors to look at what they sleep for.
pub(crate) fn wake(private: &Private, processors: usize) {
    if processors > 1 {
        private.apic.send(icr::fixed(VECTOR_WAKE, To::AllButSelf), To::AllButSelf);
    }
}

/// Tells the other processors to leave their state, and waits until they have. Those that do not are the error.
pub(crate) fn dismiss(private: &Private, processors: usize, activity: u32, deadline: u64) -> Result<(), Mask> {
    for other in 1..processors {
        UserWords::of(other).stop().store(1, Ordering::Release);
    }
    wake(private, processors);
    let until = tsc::now().wrapping_add(deadline);
    if polling::poll_until(until, || (1..processors).all(|other| has_finished(other, activity))) {
        Ok(())
    } else {
        Err(others(0, processors, |other| !has_finished(other, activity)))
    }
}

/// As [`dismiss`], at the end of an activity in which calls were made: `report` gets the interrupts that had nothing to do.
pub(crate) fn end(private: &Private, processors: usize, activity: u32, deadline: u64, mut report: Report) -> Report {
    if let Err(missing) = dismiss(private, processors, activity, deadline) {
        return Report { status: Status::NotResponding as u32, missing, ..report };
    }
    for index in 0..processors {
        // SAFETY: every processor is up, and so has initialised its page.
        let private = unsafe { processor::of(index) };
        report.duplicate += private.duplicate.load(Ordering::Relaxed);
        report.late += private.late.load(Ordering::Relaxed);
    }
    report
}

/// Whether a processor is in its state, ready for `round`.
pub(crate) fn is_in_state(processor: usize, round: u32) -> bool {
    is_ready(UserWords::of(processor), round)
}

/// Whether the processor whose words these are is.
#[inline]
fn is_ready(words: UserWords, round: u32) -> bool {
    // Acquire: what a processor did for the round before comes first.
    words.ready().load(Ordering::Acquire) == round
}

/// Waits until every processor but `me` is in its state, ready for `round`. If one is not in time, the error says so.
pub(crate) fn wait_until_ready(me: usize, processors: usize, round: u32, deadline: u64) -> Result<(), Report> {
    Others::new(me, processors, deadline).wait_until_ready(round)
}

/// All processors but one, which waits for them in many rounds.
pub(crate) struct Others {
    me: usize,
    processors: usize,
    deadline: u64,
    /// The words of one of them; `None`: there is none.
    one: Option<UserWords>,
    are_more: bool,
}

impl Others {
    /// `deadline` is for each round.
    pub(crate) fn new(me: usize, processors: usize, deadline: u64) -> Self {
        let one = (0..processors).find(|&other| other != me).map(UserWords::of);
        Self { me, processors, deadline, one, are_more: processors > 2 }
    }

    /// As [`wait_until_ready`].
    #[inline]
    pub(crate) fn wait_until_ready(&self, round: u32) -> Result<(), Report> {
        let is_one_ready = self.one.is_none_or(|words| {
            let eight_polls = || polling::eight_polls(|| is_ready(words, round));
            eight_polls() || eight_polls()
        });
        if is_one_ready && !self.are_more { Ok(()) } else { self.wait_longer_until_ready(round) }
    }

    #[inline(never)]
    fn wait_longer_until_ready(&self, round: u32) -> Result<(), Report> {
        let until = tsc::now().wrapping_add(self.deadline);
        if polling::poll_until(until, || self.are_ready(round)) {
            Ok(())
        } else {
            Err(not_ready(self.me, self.processors, round))
        }
    }

    #[inline]
    fn are_ready(&self, round: u32) -> bool {
        let Self { me, processors, one, .. } = *self;
        let is_ready = |words| is_ready(words, round);
        one.is_none_or(is_ready)
            && UserWords::row(0..me).all(is_ready)
            && UserWords::row(me + 1..processors.max(me + 1)).all(is_ready)
    }
}

/// Says which of the processors but `me` are not ready for `round`.
pub(crate) fn not_ready(me: usize, processors: usize, round: u32) -> Report {
    let missing = others(me, processors, |other| !is_in_state(other, round));
    Report { rounds: round, missing, ..report(Status::NotReady) }
}

/// Those of the processors but `me` that `is_in` holds for.
pub(crate) fn others(me: usize, processors: usize, is_in: impl Fn(usize) -> bool) -> Mask {
    let mut others = [0; MASK_WORDS];
    (0..processors).filter(|&other| other != me && is_in(other)).for_each(|other| mask::insert(&mut others, other));
    others
}
