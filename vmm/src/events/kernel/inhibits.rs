//! Why KVM does not accelerate a virtual machine's local APICs, as it says when its reasons change: the tracepoint
//! `kvm_apicv_inhibit_changed` (arch/x86/kvm/trace.h; Linux 5.18).
//!
//! KVM gives a virtual machine a first reason when it is made (`kvm_apicv_init`), so that one which says nothing was not seen.

use super::Error;
use super::format::{Field, Format};
use super::page::Layout;
use super::tracefs::Instance;
use super::tracer::{cpus, layout, lost_of, read_cpu};

const TRACEPOINT: &str = "kvm/kvm_apicv_inhibit_changed";

/// A recording of the reasons, of all virtual machines on this host.
#[derive(Debug)]
pub struct Inhibits {
    instance: Instance,
    layout: Layout,
    decoder: Decoder,
}

/// How records are read, and what the reasons are called.
#[derive(Debug)]
struct Decoder {
    number: Field,
    id: u64,
    thread: Field,
    /// All reasons that hold, one bit each.
    inhibits: Field,
    names: Vec<String>,
}

/// What holds after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    time: u64,
    thread: u64,
    inhibits: u64,
}

impl Inhibits {
    /// Begins to record, on a kernel of this release.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`] but [`Error::NoTsc`].
    pub fn record(release: &str) -> Result<Self, Error> {
        Self::on(Instance::make()?, release)
    }

    fn on(instance: Instance, release: &str) -> Result<Self, Error> {
        instance.write("tracing_on", "0")?;
        // The last change counts, on whichever CPU it was made. Times of the default clock do not compare across CPUs; those of
        // this one do, and every kernel has it (Documentation/trace/ftrace.rst, "trace_clock").
        instance.write("trace_clock", "global")?;
        let format = instance.read(&format!("events/{TRACEPOINT}/format")).map_err(|_| Error::NoInhibits)?;
        let decoder = Decoder::parse(&format, release).ok_or(Error::NoInhibits)?;
        let layout = layout(&instance)?;
        instance.write("buffer_size_kb", "64")?;
        instance.write(&format!("events/{TRACEPOINT}/enable"), "1")?;
        instance.write("tracing_on", "1")?;
        Ok(Self { instance, layout, decoder })
    }

    /// Ends it. The reasons that held at last for the virtual machine that these threads have made and run; `None`: it was not seen.
    ///
    /// # Errors
    /// [`Error::Tracefs`], [`Error::Page`]; [`Error::Incomplete`]: the last change may be among what is missing.
    pub fn stop(self, threads: &[u32]) -> Result<Option<Vec<String>>, Error> {
        self.instance.write("tracing_on", "0")?;
        let mut changes = Vec::new();
        let mut missing = 0;
        for cpu in cpus(&self.instance)? {
            let missed = read_cpu(&self.instance, &self.layout, &cpu, |time, record| {
                changes.extend(self.decoder.decode(time, record));
            })?;
            // A page tells of those missing before it, `stats` of those before the next page as well.
            missing += missed.max(lost_of(&self.instance, &cpu)?);
        }
        if missing > 0 {
            return Err(Error::Incomplete(missing));
        }
        Ok(last(changes, threads).map(|inhibits| self.decoder.reasons(inhibits)))
    }
}

impl Decoder {
    fn parse(text: &str, release: &str) -> Option<Self> {
        let format = Format::parse(text).ok()?;
        Some(Self {
            number: format.field("common_type")?,
            id: format.id.into(),
            thread: format.field("common_pid")?,
            inhibits: format.field("inhibits")?,
            names: names(text, release),
        })
    }

    fn decode(&self, time: u64, record: &[u8]) -> Option<Change> {
        let is_change = self.number.read(record)? == self.id;
        let (thread, inhibits) = (self.thread.read(record)?, self.inhibits.read(record)?);
        is_change.then_some(Change { time, thread, inhibits })
    }

    /// The names of the bits that are set.
    fn reasons(&self, inhibits: u64) -> Vec<String> {
        let name = |bit: usize| self.names.get(bit).cloned().unwrap_or_else(|| format!("reason {bit}"));
        (0..64).filter(|bit| inhibits & (1 << bit) != 0).map(name).collect()
    }
}

/// What holds after the last of these threads' changes.
fn last(mut changes: Vec<Change>, threads: &[u32]) -> Option<u64> {
    changes.retain(|change| threads.iter().any(|&thread| u64::from(thread) == change.thread));
    changes.sort_by_key(|change| change.time);
    changes.last().map(|change| change.inhibits)
}

/// The reasons' names by their bit, in the kernel of this release. The numbers have changed from release to release. From Linux 6.10
/// on, the print format has a name for each, in their order (`APICV_INHIBIT_REASONS` in arch/x86/include/asm/kvm_host.h). Before, they
/// are those of the release, as far as its stable versions have left them alone.
fn names(format: &str, release: &str) -> Vec<String> {
    let print = format.lines().find(|line| line.starts_with("print fmt:")).unwrap_or_default();
    let flags = print.split_once("__print_flags(").map_or("", |(_, flags)| flags);
    let quoted = flags.split('{').skip(1).filter_map(|entry| entry.split_once('}')?.0.split('"').nth(1));
    let printed: Vec<String> = quoted.map(str::to_owned).collect();
    if printed.is_empty() { of_release(release).iter().map(|&name| name.to_owned()).collect() } else { printed }
}

/// `enum kvm_apicv_inhibit` of Linux 5.18, 6.0 and 6.3.
fn of_release(release: &str) -> &'static [&'static str] {
    const FROM_5_18: &[&str] =
        &["DISABLED", "HYPERV", "NESTED", "IRQWIN", "PIT_REINJ", "X2APIC", "BLOCKIRQ", "ABSENT", "SEV"];
    const FROM_6_0: &[&str] = &["DISABLED", "HYPERV", "ABSENT", "BLOCKIRQ"];
    const FROM_6_3: &[&str] = &[
        "DISABLED",
        "HYPERV",
        "ABSENT",
        "BLOCKIRQ",
        "PHYSICAL_ID_ALIASED",
        "APIC_ID_MODIFIED",
        "APIC_BASE_MODIFIED",
        "NESTED",
        "IRQWIN",
        "PIT_REINJ",
        "SEV",
        "LOGICAL_ID_ALIASED",
    ];
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
        (0..5, _) | (5, 0..18) => &[],
        (5, _) => FROM_5_18,
        // What follows in it moved in stable versions.
        (6, 0..3) => FROM_6_0,
        _ => FROM_6_3,
    }
}

#[cfg(test)]
mod tests;
