//! The timer: how it counts, and when it interrupts.

use super::cpu::{Cpu, Timer};
use super::registers::{DIVIDE, INITIAL, LVT_TIMER};

impl Cpu {
    pub(super) fn divisor(&self) -> u128 {
        match self.registers[&DIVIDE] {
            0b0000 => 2,
            0b0001 => 4,
            0b0010 => 8,
            0b0011 => 16,
            0b1000 => 32,
            0b1001 => 64,
            0b1010 => 128,
            _ => 1,
        }
    }

    pub(super) fn current_count(&self, ns: u64) -> u32 {
        let Timer::Counting { at, .. } = self.timer else { return 0 };
        let left = at.saturating_sub(ns.into()).div_ceil(self.divisor());
        u32::try_from(left).expect("no more than the initial count")
    }

    /// The timer, up to this moment.
    pub(super) fn run_timer(&mut self, ns: u64, tsc: u64) {
        match self.timer {
            Timer::Counting { at, period } if at <= ns.into() => {
                self.timer = match period {
                    None => Timer::Stopped,
                    Some(period) => {
                        let beats = (u128::from(ns) - at) / period + 1;
                        Timer::Counting { at: at + beats * period, period: Some(period) }
                    }
                };
                self.local_interrupt(LVT_TIMER);
            }
            Timer::Deadline(deadline) if deadline <= tsc => {
                self.timer = Timer::Stopped;
                self.local_interrupt(LVT_TIMER);
            }
            _ => {}
        }
    }

    pub(super) fn timer_mode(&self) -> u32 {
        self.registers[&LVT_TIMER] >> 17 & 0b11
    }

    /// 12.5.4.1: a change to or from TSC deadline disarms. Of one-shot and periodic, a running count goes on in the other's
    /// way.
    pub(super) fn change_timer_mode(&mut self, was: u32, is: u32) {
        let initial = u128::from(self.registers[&INITIAL]) * self.divisor();
        match (&mut self.timer, was, is) {
            (Timer::Counting { period, .. }, 0, 1) => *period = Some(initial),
            (Timer::Counting { period, .. }, 1, 0) => *period = None,
            (_, 0 | 1, 0 | 1) => {}
            _ => {
                self.timer = Timer::Stopped;
                self.registers.insert(INITIAL, 0);
            }
        }
    }
}
