//! What the instruments cost: a time-stamp read, and a worker's observed exit.

use crate::activity;
use crate::cpu::{port, tsc};
use crate::processor::Private;
use guest_stub::abi::command::Calibrate;
use guest_stub::abi::{self, RING_SAMPLES, Report, Sample, Status};

/// Fills samples: `t0` and `t1` are two stamps in a row, taken as the broadcast call takes them; `w` and `x`
/// lie around one observed exit, whose value is the sample's number.
pub(crate) fn instruments(private: &Private, command: Calibrate) -> Report {
    let samples = command.samples.min(RING_SAMPLES as u32);
    for number in 0..samples {
        let t0 = tsc::stamp_after_loads();
        let t1 = tsc::stamp_after_loads();
        let w = tsc::stamp_after_loads();
        port::write(abi::PORT_OBSERVE, number);
        let x = tsc::stamp_after_loads();
        let sample = Sample {
            generation: number,
            t0: t0.value(),
            t1: t1.value(),
            w: w.value(),
            x: x.value(),
            ..Sample::default()
        };
        private.record(number, sample);
    }
    Report { rounds: samples, ..activity::report(Status::Done) }
}
