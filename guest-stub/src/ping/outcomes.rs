//! What has become of each sender's pings, where several send at once.

use crate::activity;
use crate::processor::{self, Private};
use guest_stub::abi::Report;
use guest_stub::outcomes;

/// Stores what has become of the pings of this processor, a sender.
pub(super) fn store(private: &Private, report: Report) {
    // SAFETY: vCPU 0 does not read it before this processor has finished the activity (`explain`), and no handler uses it.
    unsafe { *private.outcome.get() = report };
}

/// What explains how the pings of all senders ended: of vCPU 0's report, which is `own`, and of those that have finished
/// `activity`.
pub(super) fn explain(own: Report, processors: usize, activity: u32) -> Report {
    let finished = (1..processors).filter(|&other| activity::has_finished(other, activity));
    let others = finished.map(|other| {
        // SAFETY: the other processor has initialised its page. It has stored its outcome before it finished the activity
        // (`activity::finish` releases, `has_finished` acquires), and stores no other before vCPU 0, which this is, announces an
        // activity.
        (other, unsafe { *processor::of(other).outcome.get() })
    });
    others.fold((0, own), |first, next| if outcomes::precedes(&next, &first) { next } else { first }).1
}
