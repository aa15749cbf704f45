//! What this process may observe in the kernel: tracefs and perf events.

use super::{field, read};
use crate::results::host::{Perf, PerfAccess, Tracefs};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Access, access};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The places where tracefs is mounted, below sysfs.
const MOUNT_POINTS: [&str; 2] = ["kernel/tracing", "kernel/debug/tracing"];
/// A file that every tracefs has.
const PROBE: &str = "trace_clock";

/// `CAP_SYS_ADMIN`; capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_PERFMON`.
const CAP_PERFMON: u32 = 38;

/// Finds tracefs below the sysfs root `sys`; `None` if it is not mounted.
pub fn find(sys: &Path) -> Option<Tracefs> {
    mount_point(sys).map(|place| Tracefs { path: Some(place.display().to_string()), ..examine(&place) })
}

/// tracefs as this process can mount it for itself; `None` if it cannot.
pub fn own_mount() -> Option<Tracefs> {
    Some(examine(mount().ok()?))
}

/// What this process may do with the tracefs at `place`.
pub fn examine(place: &Path) -> Tracefs {
    // Opening tells more than the mode: a locked-down kernel refuses root as well.
    let readable = File::open(place.join(PROBE)).is_ok();
    Tracefs {
        path: None,
        readable,
        writable: access(place.join("instances"), Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        kvm_events: readable.then(|| place.join("events/kvm").is_dir()),
    }
}

/// Where tracefs is mounted below the sysfs root `sys`.
pub fn mount_point(sys: &Path) -> Option<PathBuf> {
    // The mount point exists without the mount, and with the mount nobody but root may look inside.
    let mounted = |place: &PathBuf| match fs::metadata(place.join(PROBE)) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    };
    MOUNT_POINTS.iter().map(|place| sys.join(place)).find(mounted)
}

/// Mounts tracefs for this process alone, once: the mount has no place in the file tree, is reached by the path that this gives, and
/// ends with the process (fsopen(2), fsmount(2)). Later calls need no privilege.
///
/// # Errors
/// As fsopen(2) and fsmount(2): EPERM without privilege, ENODEV where the kernel has no tracefs.
pub fn mount() -> rustix::io::Result<&'static Path> {
    static MOUNT: OnceLock<rustix::io::Result<(OwnedFd, PathBuf)>> = OnceLock::new();
    let mount = MOUNT.get_or_init(mount_anew);
    mount.as_ref().map(|(_, place)| place.as_path()).map_err(|&errno| errno)
}

/// Where tracefs is, mounted for this process if need be; `None`: nowhere.
pub fn place() -> Option<PathBuf> {
    mount_point(Path::new("/sys")).or_else(|| mount().ok().map(Path::to_owned))
}

fn mount_anew() -> rustix::io::Result<(OwnedFd, PathBuf)> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let place = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    Ok((mount, place))
}

/// What this process may do with perf events: reads the setting and this process's capabilities below the procfs root `proc`.
pub fn perf(proc: &Path) -> Perf {
    let paranoid = read(&proc.join("sys/kernel/perf_event_paranoid")).and_then(|value| value.parse().ok());
    let privileged = read(&proc.join("self/status"))
        .as_deref()
        .and_then(|status| field(status, "CapEff"))
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .map(|mask| mask & (1 << CAP_PERFMON | 1 << CAP_SYS_ADMIN) != 0);
    Perf { paranoid, privileged, access: paranoid.map(|paranoid| permitted(paranoid, privileged == Some(true))) }
}

/// Documentation/admin-guide/sysctl/kernel.rst; 3 and above are what distributions add.
const fn permitted(paranoid: i32, privileged: bool) -> PerfAccess {
    match paranoid {
        _ if privileged => PerfAccess::All,
        ..=-1 => PerfAccess::All,
        0 => PerfAccess::WholeCpu,
        1 => PerfAccess::OwnKernel,
        2 => PerfAccess::OwnUserSpace,
        3.. => PerfAccess::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::{TempDir, tempdir};

    fn proc_with(paranoid: Option<&str>, capabilities: &str) -> TempDir {
        let proc = tempdir().expect("a temporary directory");
        fs::create_dir_all(proc.path().join("sys/kernel")).expect("directories");
        fs::create_dir_all(proc.path().join("self")).expect("directories");
        if let Some(paranoid) = paranoid {
            fs::write(proc.path().join("sys/kernel/perf_event_paranoid"), paranoid).expect("a file");
        }
        fs::write(proc.path().join("self/status"), format!("Name:\tkipi\nCapEff:\t{capabilities}\n")).expect("a file");
        proc
    }

    #[test]
    fn perf_follows_the_setting_unless_a_capability_lifts_it() {
        let access = |paranoid, capabilities| perf(proc_with(Some(paranoid), capabilities).path()).access;
        let nobody = "0000000000000000";
        assert_eq!(access("-1\n", nobody), Some(PerfAccess::All));
        assert_eq!(access("0\n", nobody), Some(PerfAccess::WholeCpu));
        assert_eq!(access("1\n", nobody), Some(PerfAccess::OwnKernel));
        assert_eq!(access("2\n", nobody), Some(PerfAccess::OwnUserSpace));
        assert_eq!(access("4\n", nobody), Some(PerfAccess::None));
        assert_eq!(access("4\n", "0000004000000000"), Some(PerfAccess::All), "CAP_PERFMON is bit 38");
        assert_eq!(access("4\n", "0000000000200000"), Some(PerfAccess::All), "CAP_SYS_ADMIN is bit 21");
        assert_eq!(access("2\n", "0000008000000001"), Some(PerfAccess::OwnUserSpace), "neither of the two");
    }

    #[test]
    fn perf_without_the_setting_is_unknown() {
        let unknown = perf(proc_with(None, "000001ffffffffff").path());
        assert_eq!(unknown, Perf { paranoid: None, privileged: Some(true), access: None });
        let nothing = tempdir().expect("a temporary directory");
        assert_eq!(perf(nothing.path()), Perf { paranoid: None, privileged: None, access: None });
    }

    #[test]
    fn tracefs_is_not_an_empty_mount_point() {
        let sys = tempdir().expect("a temporary directory");
        fs::create_dir_all(sys.path().join("kernel/tracing")).expect("directories");
        assert_eq!(find(sys.path()), None);
    }

    #[test]
    fn tracefs_is_found_where_debugfs_mounts_it() {
        let sys = tempdir().expect("a temporary directory");
        let mount = sys.path().join("kernel/debug/tracing");
        fs::create_dir_all(mount.join("events/sched")).expect("directories");
        fs::create_dir_all(mount.join("instances")).expect("directories");
        fs::write(mount.join("trace_clock"), "[local] x86-tsc\n").expect("a file");
        let found = find(sys.path()).expect("it is mounted");
        assert_eq!(found.path, Some(mount.display().to_string()));
        assert!(found.readable && found.writable);
        assert_eq!(found.kvm_events, Some(false));

        fs::create_dir_all(mount.join("events/kvm")).expect("directories");
        fs::remove_dir(mount.join("instances")).expect("a directory");
        let found = find(sys.path()).expect("it is mounted");
        assert_eq!(found.kvm_events, Some(true));
        assert!(!found.writable, "no place for an instance");
    }
}
