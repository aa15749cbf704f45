//! What the instruments cost: a time-stamp read, and a worker's observed exit; and what an instruction does.

use crate::activity;
use crate::cpu::{port, tsc};
use crate::processor::Private;
use core::arch::asm;
use guest_stub::abi::command::{Calibrate, TIMED_INSTRUCTIONS};
use guest_stub::abi::{self, RING_SAMPLES, Report, Sample, Status};

/// Fills samples: `t0` and `t1` are two stamps in a row, taken as the broadcast call takes them; `w` and `x`
/// lie around one observed exit, whose value is the sample's number; `a` and `t2` lie around [`TIMED_INSTRUCTIONS`] instructions.
pub(crate) fn instruments(private: &Private, command: Calibrate) -> Report {
    let samples = command.samples.min(RING_SAMPLES as u32);
    for number in 0..samples {
        let t0 = tsc::stamp_after_loads();
        let t1 = tsc::stamp_after_loads();
        let w = tsc::stamp_after_loads();
        if command.observed != 0 {
            port::write(abi::PORT_OBSERVE, number);
        }
        let x = tsc::stamp_after_loads();
        let a = tsc::stamp_after_loads();
        // SAFETY: counts a register down.
        unsafe {
            asm!("2:", "dec {0:e}", "jnz 2b", inout(reg) TIMED_INSTRUCTIONS / 2 => _, options(nomem, nostack));
        }
        let t2 = tsc::stamp_after_loads();
        let sample = Sample {
            generation: number,
            t0: t0.value(),
            t1: t1.value(),
            w: w.value(),
            x: x.value(),
            a: a.value(),
            t2: t2.value(),
            ..Sample::default()
        };
        private.record(number, sample);
    }
    Report { rounds: samples, ..activity::report(Status::Done) }
}
