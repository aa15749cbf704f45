//! The local APIC's timer: one-shot, periodic, and TSC deadline (SDM Vol. 3A 12.5.4).
//!
//! It counts at 1 GHz, as KVM's does, divided by the divide configuration: a count of one is as many nanoseconds as the
//! divisor. Nothing here reads a clock: the caller says what time it is.

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Of a clock that never goes back, ns.
    pub ns: u64,
    /// The guest's TSC, cycles.
    pub tsc: u64,
}

/// When the timer expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// On the clock of [`Now::ns`].
    Ns(u64),
    /// On that of [`Now::tsc`].
    Tsc(u64),
}

impl Deadline {
    /// Whether the moment has come.
    pub fn is_past(self, now: Now) -> bool {
        match self {
            Self::Ns(ns) => now.ns >= ns,
            Self::Tsc(tsc) => now.tsc >= tsc,
        }
    }
}

/// LVT bits 17 and 18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimerMode {
    /// Counts down once.
    #[default]
    OneShot,
    /// Counts down again and again.
    Periodic,
    /// Expires when the TSC has reached IA32_TSC_DEADLINE.
    TscDeadline,
    /// A reserved value, with which it does not run.
    Reserved,
}

impl TimerMode {
    /// The mode that an LVT entry asks for.
    pub fn of_lvt(entry: u32) -> Self {
        match entry >> 17 & 0b11 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }

    fn counts(self) -> bool {
        matches!(self, Self::OneShot | Self::Periodic)
    }
}

/// A timer.
#[derive(Debug, Clone, Default)]
pub struct Timer {
    mode: TimerMode,
    initial: u32,
    /// The register, as it was written.
    divide: u32,
    /// When the running count reaches zero.
    expires: Option<u64>,
    deadline: u64,
}

impl Timer {
    /// As it was, with this much left of the running count, ns.
    pub fn restore(mode: TimerMode, initial: u32, divide: u32, left: Option<u64>, deadline: u64, now: Now) -> Self {
        Self { mode, initial, divide, expires: left.map(|left| now.ns.saturating_add(left)), deadline }
    }

    /// What is left of the running count, ns.
    pub fn left(&self, now: Now) -> Option<u64> {
        self.expires.map(|expires| expires.saturating_sub(now.ns))
    }

    /// Ticks of the bus for one of the count, which is as many ns.
    fn divisor(&self) -> u64 {
        let code = self.divide & 0b11 | self.divide >> 1 & 0b100;
        // Seven divides by one, zero by two.
        1 << ((code + 1) % 8)
    }

    fn ns(&self, count: u32) -> u64 {
        u64::from(count) * self.divisor()
    }

    /// Writes the LVT entry. Going to or from TSC deadline disarms the timer.
    pub fn set_mode(&mut self, mode: TimerMode) {
        if mode.counts() != self.mode.counts() || mode == TimerMode::Reserved {
            self.expires = None;
            self.initial = 0;
            self.deadline = 0;
        }
        self.mode = mode;
    }

    /// Writes the initial count, which starts the timer, or with zero stops it. Ignored but in the counting modes.
    pub fn set_initial(&mut self, count: u32, now: Now) {
        if self.mode.counts() {
            self.initial = count;
            self.expires = (count > 0).then(|| now.ns.saturating_add(self.ns(count)));
        }
    }

    /// The initial count.
    pub fn initial(&self) -> u32 {
        self.initial
    }

    /// The current count: zero when nothing runs.
    pub fn current(&self, now: Now) -> u32 {
        let Some(expires) = self.expires else { return 0 };
        let left = match expires.checked_sub(now.ns) {
            Some(left) if left > 0 => left,
            // Expired, and not noticed yet: the count has gone round.
            _ if self.mode == TimerMode::Periodic => {
                let period = self.ns(self.initial).max(1);
                period - (now.ns - expires) % period
            }
            _ => 0,
        };
        u32::try_from(left.div_ceil(self.divisor())).unwrap_or(u32::MAX).min(self.initial)
    }

    /// Writes the divide configuration. A running count goes on from where it is, at the new rate.
    pub fn set_divide(&mut self, value: u32, now: Now) {
        let current = self.current(now);
        self.divide = value;
        if self.expires.is_some() {
            self.expires = Some(now.ns.saturating_add(self.ns(current)));
        }
    }

    /// The divide configuration.
    pub fn divide(&self) -> u32 {
        self.divide
    }

    /// Writes IA32_TSC_DEADLINE. Ignored but in that mode.
    pub fn set_deadline(&mut self, tsc: u64) {
        if self.mode == TimerMode::TscDeadline {
            self.deadline = tsc;
        }
    }

    /// IA32_TSC_DEADLINE: zero when it is not armed.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// When it expires next, if it runs.
    pub fn next(&self) -> Option<Deadline> {
        match self.mode {
            TimerMode::OneShot | TimerMode::Periodic => self.expires.map(Deadline::Ns),
            TimerMode::TscDeadline => (self.deadline > 0).then_some(Deadline::Tsc(self.deadline)),
            TimerMode::Reserved => None,
        }
    }

    /// Whether it has expired since it was asked last. A periodic one that has done so several times has merged them: the
    /// IRR has one bit.
    pub fn expire(&mut self, now: Now) -> bool {
        let is_over = self.next().is_some_and(|deadline| deadline.is_past(now));
        if is_over {
            self.deadline = 0;
            self.expires = match self.expires {
                Some(expires) if self.mode == TimerMode::Periodic => {
                    let period = self.ns(self.initial).max(1);
                    let since = (now.ns - expires) % period;
                    Some((now.ns - since).saturating_add(period))
                }
                _ => None,
            };
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ns: u64) -> Now {
        Now { ns, tsc: ns * 2 }
    }

    fn timer(mode: TimerMode, count: u32) -> Timer {
        let mut timer = Timer::default();
        timer.set_mode(mode);
        timer.set_divide(0b1011, at(0));
        timer.set_initial(count, at(1000));
        timer
    }

    #[test]
    fn one_shot_expires_once() {
        let mut timer = timer(TimerMode::OneShot, 500);
        assert_eq!(timer.next(), Some(Deadline::Ns(1500)));
        assert_eq!((timer.current(at(1000)), timer.current(at(1200))), (500, 300));
        assert!(!timer.expire(at(1499)));
        assert!(timer.expire(at(1500)));
        assert!(!timer.expire(at(9999)));
        assert_eq!((timer.next(), timer.current(at(9999)), timer.initial()), (None, 0, 500));
    }

    #[test]
    fn periodic_keeps_its_beat_however_late_it_is_asked() {
        let mut timer = timer(TimerMode::Periodic, 500);
        assert_eq!(timer.current(at(1700)), 300);
        assert!(timer.expire(at(2600)), "three times, merged");
        assert_eq!(timer.next(), Some(Deadline::Ns(3000)));
        assert!(!timer.expire(at(2999)));
        assert_eq!(timer.current(at(2600)), 400);
    }

    #[test]
    fn the_divisor_is_two_to_the_code() {
        let divisors = [0b0000, 0b0001, 0b0010, 0b0011, 0b1000, 0b1001, 0b1010, 0b1011]
            .map(|divide| Timer { divide, ..Timer::default() }.divisor());
        assert_eq!(divisors, [2, 4, 8, 16, 32, 64, 128, 1]);
    }

    #[test]
    fn a_new_divisor_does_not_lose_the_count() {
        let mut timer = timer(TimerMode::OneShot, 500);
        timer.set_divide(0b0000, at(1100));
        assert_eq!((timer.current(at(1100)), timer.next()), (400, Some(Deadline::Ns(1900))));
    }

    #[test]
    fn a_count_that_is_over_does_not_start_again_as_a_periodic_one() {
        let mut timer = timer(TimerMode::OneShot, 500);
        assert!(timer.expire(at(1500)));
        timer.set_mode(TimerMode::Periodic);
        assert_eq!((timer.current(at(1600)), timer.next()), (0, None));
    }

    #[test]
    fn tsc_deadline_has_its_own_register() {
        let mut timer = Timer::default();
        timer.set_deadline(5);
        assert_eq!(timer.deadline(), 0, "not in this mode");
        timer.set_mode(TimerMode::TscDeadline);
        timer.set_initial(500, at(0));
        assert_eq!(timer.next(), None, "no counting in this mode");
        timer.set_deadline(5000);
        assert_eq!(timer.next(), Some(Deadline::Tsc(5000)));
        assert!(!timer.expire(at(2499)));
        assert!(timer.expire(at(2500)));
        assert_eq!((timer.deadline(), timer.expire(at(9999))), (0, false), "disarmed");
        timer.set_deadline(9);
        timer.set_mode(TimerMode::OneShot);
        assert_eq!((timer.deadline(), timer.next()), (0, None), "the change of mode disarms it");
    }

    proptest! {
        #[test]
        fn nothing_overflows_and_the_count_never_exceeds_the_initial(
            mode in 0..4_u32, divide: u32, initial: u32, times in prop::collection::vec(any::<u64>(), 1..8), new_divide: u32
        ) {
            let mut timer = Timer::default();
            timer.set_mode(TimerMode::of_lvt(mode << 17));
            timer.set_divide(divide, at(0));
            timer.set_initial(initial, Now { ns: times[0], tsc: 0 });
            timer.set_deadline(times[0]);
            for ns in times {
                let now = Now { ns, tsc: ns };
                prop_assert!(timer.current(now) <= initial);
                timer.expire(now);
                timer.set_divide(new_divide, now);
                let _ = timer.next();
            }
        }
    }
}
