//! What the CPU quotas of the process's cgroups have cost (Documentation/admin-guide/cgroup-v2.rst, and for version 1
//! Documentation/scheduler/sched-bwc.rst).

use super::file::Reread;
use crate::host::read;
use std::path::{Path, PathBuf};

/// `cpu.stat` of each cgroup from the process's own up to the root, in both versions.
#[derive(Debug)]
pub(super) struct Cgroups(Vec<Reread>);

impl Cgroups {
    pub(super) fn open(proc: &Path, sys: &Path) -> Self {
        let own = read(&proc.join("self/cgroup")).unwrap_or_default();
        let directories = own.lines().flat_map(|line| directories(&sys.join("fs/cgroup"), line));
        Self(directories.map(|directory| Reread::open(&directory.join("cpu.stat"))).collect())
    }

    /// For how long all of them together have been throttled, ns; `None`: none can be read.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Option<u64> {
        let throttled = self.0.iter().filter_map(|file| file.read(buffer).map(throttled_ns));
        throttled.reduce(u64::saturating_add)
    }
}

/// The directories of a line of `/proc/self/cgroup` that may have a `cpu.stat` or a quota, `hierarchy:controllers:/path`.
pub(in crate::host) fn directories(mount: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let roots = match controllers {
        "" => vec![mount.to_owned(), mount.join("unified")],
        version1 if version1.split(',').any(|controller| controller == "cpu") => vec![mount.join(version1)],
        _ => return Vec::new(),
    };
    let of_root = |root: PathBuf| {
        Path::new(path.trim_start_matches('/')).ancestors().map(|cgroup| root.join(cgroup)).collect::<Vec<_>>()
    };
    roots.into_iter().flat_map(of_root).collect()
}

/// Version 2 counts in µs, version 1 in ns. A cgroup that can have no quota, such as version 2's root, has no such line.
fn throttled_ns(stat: &str) -> u64 {
    let of_line = |line: &str| match line.split_once(' ')? {
        ("throttled_usec", us) => us.parse::<u64>().ok()?.checked_mul(1_000),
        ("throttled_time", ns) => ns.parse().ok(),
        _ => None,
    };
    stat.lines().find_map(of_line).unwrap_or(0)
}
