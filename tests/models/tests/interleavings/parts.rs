use super::initiator::Report;
use super::rendezvous::{Outcome, Served};
use loom::thread::{self, JoinHandle};

/// Starts a processor.
pub(crate) fn start<R: 'static>(run: impl FnOnce() -> R + 'static) -> JoinHandle<R> {
    thread::spawn(run)
}

/// Waits until it has nothing more to do.
pub(crate) fn end<R>(cpu: JoinHandle<R>) -> R {
    cpu.join().expect("no thread of a model fails alone")
}

/// That a call ended well: at once, and with every result.
pub(crate) fn done(report: Report) -> Report {
    assert_eq!((report.outcome, report.resent), (Outcome::Done, false), "{report:?}");
    assert_complete(&report);
    report
}

pub(crate) fn assert_complete(report: &Report) {
    let written = Some(report.generation.get());
    assert!(report.results.iter().all(|it| it.map(|(_, written)| written) == written), "{report:?}");
}

/// That a call ended one way or the other. Its results are there, or marked as missing.
pub(crate) fn ended(report: Report) -> Report {
    match report.outcome {
        Outcome::Done => assert_complete(&report),
        Outcome::Aborted => assert!(report.results.iter().all(Option::is_none), "{report:?}"),
        Outcome::Overstayed => {}
    }
    report
}

/// GO for all, or ABORT for all.
pub(crate) fn assert_served(report: &Report, served: &[Served]) {
    for served in served {
        let ran = matches!(served, Served::Ran(generation, _) if *generation == report.generation);
        assert_eq!(ran, report.outcome != Outcome::Aborted, "{served:?} {report:?}");
        assert!(ran || *served == Served::Late, "{served:?} {report:?}");
    }
}
