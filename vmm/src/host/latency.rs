//! A limit on how long the CPUs may take to leave their idle states.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What the kernel takes it by.
pub const DEVICE: &str = "/dev/cpu_dma_latency";

/// A request to PM QoS (Documentation/admin-guide/pm/cpuidle.rst, "Power Management Quality of Service for CPUs"), which the
/// kernel drops when the file is closed.
#[derive(Debug)]
pub struct LatencyLimit {
    _open: File,
}

impl LatencyLimit {
    /// Asks that no CPU enters an idle state that takes longer than `us` to leave; 0: none but polling.
    ///
    /// # Errors
    /// The device is not there, or this process may not write to it.
    pub fn hold(device: &Path, us: i32) -> io::Result<Self> {
        let mut open = OpenOptions::new().write(true).open(device)?;
        open.write_all(&us.to_ne_bytes())?;
        Ok(Self { _open: open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_written_as_a_binary_s32() {
        let device = tempfile::NamedTempFile::new().expect("a file");
        let limit = LatencyLimit::hold(device.path(), 20).expect("a file takes it");
        assert_eq!(std::fs::read(device.path()).expect("a file"), 20_i32.to_ne_bytes());
        drop(limit);
        let missing = device.path().with_extension("missing");
        assert_eq!(LatencyLimit::hold(&missing, 0).expect_err("no device").kind(), io::ErrorKind::NotFound);
    }
}
