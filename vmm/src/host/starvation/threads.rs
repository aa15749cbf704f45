//! What the kernel says of this process's threads.

use super::shares::Reading;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// `/proc/self/task`, and the counter of what the hypervisor below takes.
#[derive(Debug)]
pub(super) struct Threads {
    stat: Option<File>,
    stolen_ticks: Option<u64>,
}

impl Threads {
    pub(super) fn open() -> Self {
        Self { stat: File::open("/proc/stat").ok(), stolen_ticks: None }
    }

    /// Every thread's times. Threads of which the kernel does not keep any are left out.
    pub(super) fn read() -> BTreeMap<u32, Reading> {
        let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
        let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
        ids.filter_map(|id: u32| Some((id, read(id)?))).collect()
    }

    /// What the hypervisor below has taken of all CPUs together since this was asked last (`steal` of proc(5)).
    pub(super) fn stolen(&mut self) -> Duration {
        let ticks = self.stat.as_ref().and_then(|stat| {
            let mut line = [0; 256];
            let length = stat.read_at(&mut line, 0).ok()?;
            std::str::from_utf8(&line[..length]).ok().and_then(stolen_ticks)
        });
        let before = std::mem::replace(&mut self.stolen_ticks, ticks);
        let grown = ticks.zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
        Duration::from_nanos(grown.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)))
    }
}

/// `None`: it has ended, or the kernel does not say.
fn read(id: u32) -> Option<Reading> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/task/{id}/{name}")).ok();
    // The state first: a thread that begins to wait after it has been read is found to have run.
    let state = read("stat")?;
    let (ran, waited) = times(&read("schedstat")?)?;
    Some(Reading { ran, waited, is_runnable: is_runnable(&state)? })
}

/// The third field of `stat`; the second, a name in parentheses, may hold anything.
fn is_runnable(stat: &str) -> Option<bool> {
    Some(stat.rsplit_once(')')?.1.trim_start().starts_with('R'))
}

fn times(schedstat: &str) -> Option<(Duration, Duration)> {
    let mut numbers = schedstat.split_whitespace().map(|number| number.parse().ok().map(Duration::from_nanos));
    Some((numbers.next()??, numbers.next()??))
}

/// The eighth number of the line of all CPUs.
fn stolen_ticks(stat: &str) -> Option<u64> {
    stat.strip_prefix("cpu ")?.split_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(stolen_ticks("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1"), Some(8));
        assert_eq!(is_runnable("12 (a) R) S 1 2"), Some(false));
        assert_eq!(is_runnable("12 (a b) R 1 2"), Some(true));
        assert_eq!(times("7 9 3\n"), Some((Duration::from_nanos(7), Duration::from_nanos(9))));
        assert_eq!(times(""), None);
    }

    #[test]
    fn this_thread_runs() {
        let me = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let found = Threads::read();
        // Where the kernel keeps no times, nobody has any.
        assert!(found.is_empty() || found[&me].is_runnable, "{found:?}");
    }
}
