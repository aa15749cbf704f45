//! When a vCPU's thread was kept from the guest: what shows that a target was preempted, or out, when the interrupt was sent.

/// A time for which a vCPU's thread was kept from the guest, in TSC cycles of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// It was kept from the guest by then.
    pub since: u64,
    /// And until then.
    pub until: u64,
}

/// The one of `absences`, which are in order, in which all of `times` lies; `None`: the vCPU may have run meanwhile.
pub fn around(absences: &[Absence], times: std::ops::RangeInclusive<u64>) -> Option<Absence> {
    let later = absences.partition_point(|absence| absence.since <= *times.start());
    let last = absences[..later].last()?;
    (*times.end() <= last.until).then_some(*last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_is_in_an_absence_as_a_whole_or_not_at_all() {
        let absences = [(100, 200), (300, 400)].map(|(since, until)| Absence { since, until });
        let until = |times| around(&absences, times).map(|absence| absence.until);
        assert_eq!([until(100..=200), until(350..=360)], [Some(200), Some(400)]);
        assert_eq!([until(90..=110), until(190..=210), until(210..=220), until(150..=350)], [None; 4]);
        assert_eq!(around(&[], 1..=2), None);
    }
}
