//! Processes whose parents have ended, and that a subreaper (`PR_SET_CHILD_SUBREAPER`, prctl(2)) has in their parents' place: what a VMM
//! has started, though it left the VMM's process group.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(5);
/// One that cannot be ended, since it waits in the kernel, is left alone after this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes this process the parent of orphans among its descendants.
///
/// # Errors
/// prctl's.
pub(super) fn adopt() -> io::Result<()> {
    // Any process id turns it on.
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Ends all children of this process. Nobody else may wait for one of them.
pub(super) fn end() {
    let began = Instant::now();
    while are_left() && began.elapsed() < PATIENCE {
        // Their children are this process's next.
        for child in children() {
            // One that has ended meanwhile is what was wanted.
            let _ = kill_process(child, Signal::KILL);
        }
        thread::sleep(LOOK);
    }
}

/// Whether there are children, when those that have ended are forgotten.
fn are_left() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            // There is none.
            Err(_) => return false,
        }
    }
}

/// By /proc; none, where it is not there.
fn children() -> Vec<Pid> {
    let own = getpid();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| parent(&stat) == Some(own))
    })
    .collect()
}

/// The parent, by proc_pid_stat(5): the second field behind the name, which may have anything in it but ends with the last bracket.
fn parent(stat: &str) -> Option<Pid> {
    let (_, fields) = stat.rsplit_once(')')?;
    Pid::from_raw(fields.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_parent_whatever_its_name_is() {
        assert_eq!(parent("77 (a) S 5 (b)) S 42 77 77 0 -1"), Pid::from_raw(42));
        assert_eq!([parent(""), parent("77 (sh)"), parent("77 (sh) S x")], [None; 3]);
        let own = fs::read_to_string("/proc/self/stat").expect("a process has it");
        assert_eq!(parent(&own), rustix::process::getppid());
    }
}
