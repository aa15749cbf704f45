//! What the clocks' error leaves of a ratio of two times.

/// A median, and how far the clocks' error may have moved it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The median.
    pub median: f64,
    /// In its unit, zero or more: if every value is off by no more, neither is the median.
    pub error: f64,
}

impl Measured {
    /// Whether it says no more than that it is within the error.
    fn is_below_error(self) -> bool {
        self.median.abs() < self.error
    }
}

/// The ratio of two medians, as far as there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quotient {
    dividend: Measured,
    divisor: Measured,
}

impl Quotient {
    /// Of two times.
    pub fn of(dividend: Measured, divisor: Measured) -> Self {
        Self { dividend, divisor }
    }

    /// The ratio; `None`: the divisor is below its clocks' error, or one of the two is no time.
    pub fn ratio(self) -> Option<f64> {
        let has_ratio = self.dividend.median >= 0.0 && self.divisor.median > 0.0 && !self.divisor.is_below_error();
        has_ratio.then(|| self.dividend.median / self.divisor.median)
    }

    /// The interval of the ratio that has these ends, in the ratio, where the clocks are right: as wide as it may be if they are not.
    /// `None`: there is no ratio.
    pub fn interval(self, [low, high]: [f64; 2]) -> Option<[f64; 2]> {
        self.ratio()?;
        let Self { dividend, divisor } = self;
        let least = (dividend.median - dividend.error).max(0.0) / (divisor.median + divisor.error);
        // Of a divisor that may be zero, there is no largest ratio.
        let most = (dividend.median + dividend.error) / (divisor.median - divisor.error).max(f64::MIN_POSITIVE);
        Some([low * least, high * most]).filter(|ends| ends.iter().all(|end| end.is_finite()))
    }

    /// What the ratio is at least, where there is none because the divisor is below its clocks' error; `None`: there is one, or the
    /// dividend may be zero.
    pub fn at_least(self) -> Option<f64> {
        let Self { dividend, divisor } = self;
        let least = (dividend.median - dividend.error) / (divisor.median + divisor.error);
        (divisor.is_below_error() && least > 0.0).then_some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn measured(median: f64, error: f64) -> Measured {
        Measured { median, error }
    }

    #[test]
    fn a_ratio_is_as_uncertain_as_its_clocks() {
        let exact = Quotient::of(measured(800.0, 0.0), measured(80.0, 0.0));
        assert_eq!(
            (exact.ratio(), exact.interval([0.9, 1.2]), exact.at_least()),
            (Some(10.0), Some([9.0, 12.0]), None)
        );
        let rough = Quotient::of(measured(800.0, 40.0), measured(80.0, 40.0));
        let [low, high] = rough.interval([1.0, 1.0]).unwrap();
        assert!((low - 760.0 / 120.0).abs() < 1e-9 && (high - 840.0 / 40.0).abs() < 1e-9, "{low} to {high}");
    }

    #[test]
    fn a_divisor_below_its_clocks_error_gives_a_bound_at_most() {
        let skew = Quotient::of(measured(395.0, 55.0), measured(12.0, 50.0));
        assert_eq!((skew.ratio(), skew.interval([0.9, 1.1])), (None, None));
        assert_eq!(skew.at_least(), Some(340.0 / 62.0));
        let negative = Quotient::of(measured(395.0, 55.0), measured(-12.0, 50.0));
        assert_eq!(negative.at_least(), Some(340.0 / 38.0), "it may be zero, and then some");
        let both = Quotient::of(measured(20.0, 55.0), measured(12.0, 50.0));
        assert_eq!((both.ratio(), both.at_least()), (None, None), "nothing is known");
    }

    #[test]
    fn what_is_no_time_has_no_ratio() {
        for (dividend, divisor) in [(-3.0, 5.0), (3.0, 0.0), (3.0, -5.0), (f64::NAN, 5.0)] {
            let none = Quotient::of(measured(dividend, 0.0), measured(divisor, 0.0));
            assert_eq!((none.ratio(), none.interval([1.0, 1.0]), none.at_least()), (None, None, None));
        }
        let zero = Quotient::of(measured(0.0, 0.0), measured(5.0, 0.0));
        assert_eq!(zero.interval([1.0, 1.0]), Some([0.0, 0.0]));
    }

    #[test]
    fn a_divisor_that_may_be_zero_has_no_interval() {
        let loose = Quotient::of(measured(800.0, 0.0), measured(50.0, 50.0));
        assert_eq!((loose.ratio(), loose.interval([1.0, 1.0])), (Some(16.0), None));
    }
}
