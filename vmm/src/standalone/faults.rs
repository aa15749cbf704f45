//! What is wrong with a log, in lines: the first ones, and how many more there are.

use std::fmt;

/// Lines that are kept: a log may be damaged all over.
const MOST: usize = 16;

/// What was found, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    told: Vec<String>,
    more: usize,
}

impl Faults {
    pub(super) fn add(&mut self, fault: impl fmt::Display) {
        if self.told.len() < MOST {
            self.told.push(fault.to_string());
        } else {
            self.more += 1;
        }
    }

    /// Whether there is nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The first ones, in one line, and how many others there are.
    pub fn first(&self, most: usize) -> String {
        let (first, others) = self.told.split_at(most.min(self.told.len()));
        let others = others.len() + self.more;
        let more = (others > 0).then(|| format!("and {others} more"));
        first.iter().cloned().chain(more).collect::<Vec<_>>().join("; ")
    }

    /// Each fault, and the number of those that are left out.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let more = (self.more > 0).then(|| format!("the log has {} more faults", self.more));
        self.told.iter().cloned().chain(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_faults_the_first_ones_are_told_and_the_others_counted() {
        let mut faults = Faults::default();
        assert!(faults.is_empty());
        (1..=20).for_each(|line| faults.add(format_args!("line {line}")));
        let lines: Vec<String> = faults.lines().collect();
        assert_eq!((lines.len(), lines[0].as_str(), lines[16].as_str()), (17, "line 1", "the log has 4 more faults"));
        assert_eq!(faults.first(2), "line 1; line 2; and 18 more");
        assert_eq!(faults.first(16), format!("{}; and 4 more", lines[..16].join("; ")));
    }
}
