//! KVM's device: opened, or the exact reason why not.

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::Kvm;
use rustix::fs::major;
use std::borrow::Cow;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The major number of KVM's device among others: linux/major.h.
const MISC_MAJOR: u32 = 10;

/// Why a device cannot be used. Each names the device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    Absent {
        /// The device.
        path: PathBuf,
    },
    /// The file's mode keeps this process out.
    #[error("{}: permission denied (mode {mode:04o}, owner {owner}, group {group})", path.display())]
    Denied {
        /// The device.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's number.
        owner: u32,
        /// Its group's number.
        group: u32,
    },
    /// Something other than the file's mode keeps this process out: a container's device rules.
    #[error("{}: opening it is not permitted, whatever its file mode", path.display())]
    Forbidden {
        /// The device.
        path: PathBuf,
    },
    /// The file is there, but no driver answers.
    #[error("{} is there, but no driver stands behind it", path.display())]
    NoDriver {
        /// The device.
        path: PathBuf,
    },
    /// It is not KVM's device at all.
    #[error("{} is not KVM's device", path.display())]
    NotKvm {
        /// The device.
        path: PathBuf,
    },
    /// KVM speaks another version of its interface.
    #[error("{}: KVM's API version is {version}, and kipi needs {KVM_API_VERSION}", path.display())]
    ApiVersion {
        /// The device.
        path: PathBuf,
        /// What KVM_GET_API_VERSION returned.
        version: i32,
    },
    /// Any other error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// What to do; `None` where that depends on the host.
    pub fn way_out(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Denied { path, mode, group, .. } => Some(way_in(path, *mode, *group)),
            Self::Forbidden { .. } => Some("in a container, start it with --device /dev/kvm".into()),
            Self::NotKvm { .. } => Some("pass --device /dev/kvm, which is its usual place".into()),
            Self::ApiVersion { .. } => Some("use a kernel from 2.6.22 on".into()),
            Self::Absent { .. } | Self::NoDriver { .. } | Self::Io { .. } => None,
        }
    }
}

/// What lets a process open a device whose file, of this mode and group, keeps it out.
fn way_in(device: &Path, mode: u32, group: u32) -> Cow<'static, str> {
    const GROUP_READ_WRITE: u32 = 0o060;
    const ROOT: u32 = 0;
    // user_namespaces(7): what /proc/sys/kernel/overflowgid is unless somebody changes it. Nobody here can join that group.
    const OVERFLOW: u32 = 65534;
    match group {
        OVERFLOW => "the device's group is unknown in this user namespace: run outside of it, or have the container keep the caller's \
                     groups (podman: --group-add keep-groups)"
            .into(),
        group if group != ROOT && mode & GROUP_READ_WRITE == GROUP_READ_WRITE => {
            "sudo usermod -aG kvm $USER, then log in again; in a container, add the device's group".into()
        }
        _ => {
            let device = device.display();
            format!(
                "run as root, or let the group kvm in: sudo chgrp kvm {device} && sudo chmod g+rw {device} && sudo usermod -aG kvm \
                 $USER, then log in again"
            )
            .into()
        }
    }
}

/// Opens the device of a KVM that speaks the version of its interface that kipi needs.
///
/// # Errors
/// When the device cannot be opened, is not KVM's, or speaks another version.
pub(super) fn open(device: &Path) -> Result<Kvm, Error> {
    let kvm = open_character_device(device)?;
    match kvm.get_api_version() {
        version if u32::try_from(version) == Ok(KVM_API_VERSION) => Ok(kvm),
        ..0 => Err(Error::NotKvm { path: device.to_owned() }),
        version => Err(Error::ApiVersion { path: device.to_owned(), version }),
    }
}

fn open_character_device(device: &Path) -> Result<Kvm, Error> {
    let path = || device.to_owned();
    let metadata = fs::metadata(device).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Absent { path: path() },
        _ => Error::Io { path: path(), source },
    })?;
    // Opening a pipe would block, and opening a directory would tell something else than what is wrong.
    if !metadata.file_type().is_char_device() {
        return Err(Error::NotKvm { path: path() });
    }
    let name = CString::new(device.as_os_str().as_bytes()).map_err(|_| Error::Absent { path: path() })?;
    Kvm::new_with_path(name).map_err(|error| match error.errno() {
        libc::EACCES => {
            Error::Denied { path: path(), mode: metadata.mode() & 0o7777, owner: metadata.uid(), group: metadata.gid() }
        }
        libc::EPERM => Error::Forbidden { path: path() },
        libc::ENODEV | libc::ENXIO if major(metadata.rdev()) == MISC_MAJOR => Error::NoDriver { path: path() },
        // A terminal that this process does not have, a drive without a medium.
        libc::ENODEV | libc::ENXIO => Error::NotKvm { path: path() },
        errno => Error::Io { path: path(), source: io::Error::from_raw_os_error(errno) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    #[test]
    fn files_that_are_no_device_are_told_apart() {
        let directory = tempdir().expect("a temporary directory");
        let absent = directory.path().join("kvm");
        assert!(matches!(open(&absent), Err(Error::Absent { .. })));
        fs::write(&absent, "").expect("a file");
        assert!(matches!(open(&absent), Err(Error::NotKvm { .. })));
        assert!(matches!(open(&absent.join("x")), Err(Error::Absent { .. })), "a file has none below it");
        assert!(matches!(open(directory.path()), Err(Error::NotKvm { .. })));
    }

    #[test]
    fn another_device_is_not_kvms() {
        let error = open(Path::new("/dev/null")).expect_err("not KVM");
        assert_eq!(error.to_string(), "/dev/null is not KVM's device");
        // A test may have a terminal, or none, as which opening it is ENXIO.
        assert!(matches!(open(Path::new("/dev/tty")), Err(Error::NotKvm { .. })));
    }
}
