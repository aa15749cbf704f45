//! Sets of addresses, of bounded size.

/// The addresses from `start` up to, but without, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first address.
    pub start: u64,
    /// The first address past it.
    pub end: u64,
}

impl Span {
    pub(super) const EMPTY: Self = Self { start: 0, end: 0 };

    /// How many bytes it has.
    pub const fn bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// The most spans of a set. Firmware's map of a large server has about a hundred entries, most of which touch another.
pub(super) const SPANS: usize = 128;

/// What becomes of a set that would have more than [`SPANS`] spans.
#[derive(Debug, Clone, Copy)]
pub(super) enum Full {
    /// The shortest span is dropped: the set may lack addresses.
    Drop,
    /// The two spans nearest to each other become one: the set may have addresses that nobody gave it.
    Fuse,
}

/// Spans in rising order, none of which touches another.
#[derive(Debug, Clone)]
pub(super) struct Ranges {
    /// One place more than there may be spans: for a new one, until it is known which are dropped or fused.
    spans: [Span; SPANS + 1],
    count: usize,
    full: Full,
}

impl Ranges {
    pub(super) const fn new(full: Full) -> Self {
        Self { spans: [Span::EMPTY; SPANS + 1], count: 0, full }
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans[..self.count]
    }

    pub(super) fn insert(&mut self, new: Span) {
        if new.start >= new.end {
            return;
        }
        // Those that the new one touches are in `first..last`: they become one with it.
        let first = self.spans().partition_point(|span| span.end < new.start);
        let last = self.spans().partition_point(|span| span.start <= new.end);
        if first == last {
            self.spans.copy_within(first..self.count, first + 1);
            self.spans[first] = new;
            self.count += 1;
            if self.count > SPANS {
                self.shrink();
            }
        } else {
            let (lowest, highest) = (self.spans[first], self.spans[last - 1]);
            self.spans[first] = Span { start: lowest.start.min(new.start), end: highest.end.max(new.end) };
            self.remove(first + 1, last);
        }
    }

    fn shrink(&mut self) {
        match self.full {
            Full::Drop => {
                let shortest = (0..self.count).min_by_key(|&at| self.spans[at].bytes()).unwrap_or_default();
                self.remove(shortest, shortest + 1);
            }
            Full::Fuse => {
                let gap = |at: usize| self.spans[at].start - self.spans[at - 1].end;
                let upper = (1..self.count).min_by_key(|&at| gap(at)).unwrap_or(1);
                self.spans[upper - 1].end = self.spans[upper].end;
                self.remove(upper, upper + 1);
            }
        }
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.spans.copy_within(to..self.count, from);
        self.count -= to - from;
    }
}
