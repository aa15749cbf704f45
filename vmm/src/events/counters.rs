//! KVM's per-vCPU counters, from the file that KVM_GET_STATS_FD opens (KVM API 4.133): no privilege needed.

use super::wakeups::Wakeups;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use thiserror::Error;

/// The counters that tell about exits and interrupts, of those that KVM's x86 vCPUs have.
pub const COUNTERS: [&str; 13] = [
    "exits",
    "halt_exits",
    "io_exits",
    "mmio_exits",
    "signal_exits",
    "irq_exits",
    "irq_window_exits",
    "nmi_window_exits",
    "request_irq_exits",
    "notify_window_exits",
    "hypercalls",
    "irq_injections",
    "insn_emulation",
];

/// What tells how halted vCPUs were woken, in the order of [`Wakeups`]' fields.
const OF_HALTS: [&str; 7] = [
    "halt_successful_poll",
    "halt_attempted_poll",
    "halt_poll_invalid",
    "halt_wakeup",
    "halt_poll_success_ns",
    "halt_poll_fail_ns",
    "halt_wait_ns",
];

/// Why the counters cannot be read.
#[derive(Debug, Error)]
pub enum Error {
    /// This KVM has no statistics, or no descriptors are left.
    #[error("KVM_GET_STATS_FD: {0}")]
    Open(io::Error),
    /// The file cannot be read.
    #[error("reading KVM's statistics: {0}")]
    Read(#[from] io::Error),
    /// The file does not say what the KVM API says it does.
    #[error("KVM's statistics are malformed: {0}")]
    Malformed(&'static str),
}

/// One vCPU's counters.
#[derive(Debug)]
pub struct StatsFile {
    file: File,
    /// Byte offset of each of [`COUNTERS`], by name.
    offsets: BTreeMap<&'static str, u64>,
    /// Byte offset of each of [`OF_HALTS`]; `None`: this KVM lacks one.
    of_halts: Option<[u64; OF_HALTS.len()]>,
}

impl StatsFile {
    /// The counters in `file`, a vCPU's statistics descriptor.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Malformed`].
    pub fn new(file: File) -> Result<Self, Error> {
        let mut offsets = offsets(&file)?;
        let of_halts = OF_HALTS.iter().map(|name| offsets.get(name).copied()).collect::<Option<Vec<u64>>>();
        offsets.retain(|name, _| COUNTERS.contains(name));
        Ok(Self { file, offsets, of_halts: of_halts.and_then(|offsets| offsets.try_into().ok()) })
    }

    /// The counters of exits and interrupts as they are now.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read(&self) -> Result<BTreeMap<&'static str, u64>, Error> {
        self.offsets.iter().map(|(&name, &offset)| Ok((name, self.counter(offset)?))).collect()
    }

    /// The counters of wake-ups from HLT as they are now; `None`: this KVM lacks some, or does not let them be read.
    pub fn wakeups(&self) -> Option<Wakeups> {
        let mut values = [0; OF_HALTS.len()];
        for (value, offset) in values.iter_mut().zip(self.of_halts?) {
            *value = self.counter(offset).ok()?;
        }
        let [polled, attempted, invalid, blocked, poll_success_ns, poll_fail_ns, wait_ns] = values;
        Some(Wakeups { polled, attempted, invalid, blocked, poll_success_ns, poll_fail_ns, wait_ns })
    }

    fn counter(&self, offset: u64) -> Result<u64, Error> {
        Ok(u64::from_ne_bytes(read(&self.file, offset)?))
    }
}

fn read<const N: usize>(file: &impl FileExt, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn word(bytes: &[u8], offset: usize) -> Result<u32, Error> {
    let bytes = bytes.get(offset..offset + 4).ok_or(Error::Malformed("a descriptor ends early"))?;
    Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Finds [`COUNTERS`] and [`OF_HALTS`] by their names (KVM API 4.133: header, then descriptors, then data).
fn offsets(file: &impl FileExt) -> Result<BTreeMap<&'static str, u64>, Error> {
    const DESCRIPTOR: u32 = 16;
    const LIMIT: u32 = 4096;
    const TYPE_MASK: u32 = 0xF;
    const TYPE_CUMULATIVE: u32 = 0;
    let header: [u8; 24] = read(file, 0)?;
    let [name_size, count, descriptors, data] = [4, 8, 16, 20].map(|offset| word(&header, offset));
    let (name_size, count, descriptors, data) = (name_size?, count?, descriptors?, data?);
    if name_size == 0 || name_size > LIMIT || count > LIMIT {
        return Err(Error::Malformed("the header's sizes make no sense"));
    }
    let stride = (DESCRIPTOR + name_size) as usize;
    let mut table = vec![0; stride * count as usize];
    file.read_exact_at(&mut table, descriptors.into())?;
    let mut found = BTreeMap::new();
    for descriptor in table.chunks_exact(stride) {
        let flags = word(descriptor, 0)?;
        let offset = word(descriptor, 8)?;
        let name = descriptor[DESCRIPTOR as usize..].split(|&byte| byte == 0).next().unwrap_or_default();
        let counter = COUNTERS.iter().chain(&OF_HALTS).find(|counter| counter.as_bytes() == name);
        if let Some(counter) = counter.filter(|_| flags & TYPE_MASK == TYPE_CUMULATIVE) {
            found.insert(*counter, u64::from(data) + u64::from(offset));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn descriptor(name: &str, flags: u32, offset: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [flags, 1 << 16, offset, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        let mut padded = [0; 48];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        bytes.extend(padded);
        bytes
    }

    fn file(header: [u32; 6], rest: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        for word in header {
            file.write_all(&word.to_ne_bytes()).unwrap();
        }
        file.write_all(rest).unwrap();
        file
    }

    #[test]
    fn counters_are_found_by_name_wherever_they_are() {
        let mut rest = descriptor("guest_mode", 1, 0);
        rest.extend(descriptor("halt_exits", 0, 16));
        rest.extend(descriptor("exits", 0, 8));
        rest.extend([0_u64, 41, 42].map(u64::to_ne_bytes).concat());
        let file = file([0, 48, 3, 0, 24, 24 + 3 * 64], &rest);
        let stats = StatsFile::new(file).unwrap();
        assert_eq!(stats.read().unwrap(), BTreeMap::from([("exits", 41), ("halt_exits", 42)]));
    }

    #[test]
    fn wake_ups_are_read_whole_or_not_at_all_and_are_no_exits() {
        let stats = |names: &[&str]| {
            let offsets = (0..).step_by(8);
            let mut rest: Vec<u8> = names.iter().zip(offsets).flat_map(|(name, at)| descriptor(name, 0, at)).collect();
            let count = u32::try_from(names.len()).unwrap();
            rest.extend((1..=u64::from(count)).flat_map(u64::to_ne_bytes));
            StatsFile::new(file([0, 48, count, 0, 24, 24 + count * 64], &rest)).unwrap()
        };
        let all = stats(&OF_HALTS);
        let wakeups = all.wakeups().unwrap();
        assert_eq!((wakeups.polled, wakeups.attempted, wakeups.blocked, wakeups.wait_ns), (1, 2, 4, 7));
        assert_eq!(all.read().unwrap(), BTreeMap::new());
        assert_eq!(stats(&OF_HALTS[..6]).wakeups(), None, "an older KVM");
    }

    #[test]
    fn a_malformed_file_is_an_error_not_a_large_allocation() {
        assert!(matches!(offsets(&file([0, u32::MAX, u32::MAX, 0, 24, 24], &[])), Err(Error::Malformed(_))));
        assert!(matches!(offsets(&file([0, 48, 3, 0, 24, 24], &[])), Err(Error::Read(_))));
    }
}
