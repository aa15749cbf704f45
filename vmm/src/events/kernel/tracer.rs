//! The tracer: a trace buffer of our own, switched on for one block at a time, and read when the block is done.

use super::Error;
use super::format::{Field, Format};
use super::page::Layout;
use super::tracefs::{Instance, failed};
use super::tracepoints::{Description, OF_STAGES, POINTS, Point};
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// One record of a tracepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The host's TSC.
    pub tsc: u64,
    /// The thread that it happened in.
    pub thread: u32,
    /// What happened.
    pub point: Point,
    /// The fields that [`Point`] names, in that order; zero where this kernel has no such field.
    pub values: [u64; 3],
}

/// How a point's records are read.
#[derive(Debug)]
struct Decoder {
    point: Point,
    fields: [Option<Field>; 3],
}

/// How much is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every [`Point`] that this kernel has.
    Full,
    /// Where this KVM shows exits, those, entries, and what a call's stages need besides: each event takes time on the way
    /// that is measured. Everything where it does not.
    Stages,
}

/// The kernel's record of what KVM does in some threads.
#[derive(Debug)]
pub struct Tracer {
    instance: Instance,
    layout: Layout,
    thread: Field,
    number: Field,
    decoders: BTreeMap<u64, Decoder>,
    exit: Option<Format>,
    cpus: Vec<String>,
    detail: Detail,
    /// Whose events are recorded.
    threads: Mutex<BTreeSet<u32>>,
    /// Events that the detail does not ask for are off.
    is_reduced: AtomicBool,
}

/// What a block has left in the trace buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture {
    /// The records, by time.
    pub records: Vec<Record>,
    /// Records that found no room.
    pub lost: u64,
}

impl Tracer {
    /// Makes a trace buffer, which stays off.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`].
    pub fn open(detail: Detail) -> Result<Self, Error> {
        let instance = Instance::make()?;
        let format = |name: &str| {
            let text = instance.read(&format!("events/{name}/format")).ok()?;
            Format::parse(&text).ok()
        };
        if !instance.path("events/kvm").is_dir() {
            return Err(Error::NoKvm);
        }
        let clocks = instance.read("trace_clock")?;
        if !clocks.split_whitespace().any(|clock| clock.trim_matches(['[', ']']) == "x86-tsc") {
            return Err(Error::NoTsc);
        }
        instance.write("tracing_on", "0")?;
        instance.write("trace_clock", "x86-tsc")?;
        // What does not fit is lost, not what came before it: the rounds that are complete stay so.
        instance.write("options/overwrite", "0")?;
        let mut decoders = BTreeMap::new();
        let mut common = None;
        let mut exit = None;
        for Description { point, name, fields } in &POINTS {
            let Some(format) = format(name) else { continue };
            instance.write(&format!("events/{name}/enable"), "1")?;
            let field = |names: &str| names.split('|').find_map(|name| format.field(name));
            decoders.insert(u64::from(format.id), Decoder { point: *point, fields: fields.map(field) });
            common = common.or_else(|| format.field("common_pid").zip(format.field("common_type")));
            if *point == Point::Exit {
                exit = Some(format);
            }
        }
        let (thread, number) = common.ok_or(Error::NoKvm)?;
        let layout = layout(&instance)?;
        let cpus = cpus(&instance)?;
        let (threads, is_reduced) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { instance, layout, thread, number, decoders, exit, cpus, detail, threads, is_reduced })
    }

    /// Empties the buffer, gives it room for `events` of these threads, and switches it on.
    ///
    /// # Errors
    /// [`Error::Tracefs`].
    pub fn start(&self, threads: &[u32], events: usize) -> Result<(), Error> {
        // Records of these tracepoints, with their headers.
        const BYTES: usize = 72;
        const LEAST: usize = 512 << 10;
        // Over all CPUs: each has a buffer of its own, and any of them may be the one that all vCPUs run on.
        const MOST: usize = 512 << 20;
        let bytes = (events * BYTES).clamp(LEAST, (MOST / self.cpus.len().max(1)).max(LEAST));
        self.instance.write("buffer_size_kb", &(bytes >> 10).to_string())?;
        self.choose(threads)?;
        self.instance.write("trace", "")?;
        self.instance.write("tracing_on", "1")?;
        Ok(())
    }

    /// Has these threads' events recorded, and as few others as can be. By filters, and not by `set_event_pid`: that follows
    /// every change of threads on every CPU, and takes several times as long.
    fn choose(&self, threads: &[u32]) -> Result<(), Error> {
        let mut chosen = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let new: BTreeSet<u32> = threads.iter().copied().collect();
        if *chosen == new {
            return Ok(());
        }
        // Threads of one machine are made one after the other.
        let range = new.first().zip(new.last());
        let within =
            |field: &str| range.map_or("0".to_owned(), |(first, last)| format!("{field}>={first}&&{field}<={last}"));
        self.instance.write("events/kvm/filter", &within("common_pid"))?;
        self.instance.write("events/sched/sched_waking/filter", &within("pid"))?;
        let either = format!("({})||({})", within("prev_pid"), within("next_pid"));
        self.instance.write("events/sched/sched_switch/filter", &either)?;
        *chosen = new;
        Ok(())
    }

    /// Whether a record is one of those that were asked for.
    fn is_asked_for(chosen: &BTreeSet<u32>, record: &Record) -> bool {
        let is_chosen = |id: u64| u32::try_from(id).is_ok_and(|id| chosen.contains(&id));
        match record.point {
            Point::Waking => is_chosen(record.values[0]),
            Point::Switch => is_chosen(record.values[0]) || is_chosen(record.values[1]),
            _ => chosen.contains(&record.thread),
        }
    }

    /// Switches it off, and takes what it holds.
    ///
    /// # Errors
    /// [`Error::Tracefs`], [`Error::Page`].
    pub fn stop(&self) -> Result<Capture, Error> {
        self.instance.write("tracing_on", "0")?;
        let mut capture = Capture::default();
        let mut missed = 0;
        for cpu in &self.cpus {
            missed += read_cpu(&self.instance, &self.layout, cpu, |tsc, record| {
                capture.records.extend(self.decode(tsc, record));
            })?;
            capture.lost += lost_of(&self.instance, cpu)?;
        }
        capture.lost = capture.lost.max(missed);
        let chosen = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        capture.records.retain(|record| Self::is_asked_for(&chosen, record));
        capture.records.sort_by_key(|record| record.tsc);
        if self.detail == Detail::Stages && capture.records.iter().any(|record| record.point == Point::Exit) {
            self.reduce()?;
        }
        Ok(capture)
    }

    /// Switches off what the stages do not need.
    fn reduce(&self) -> Result<(), Error> {
        // Relaxed: there is no other thread's work to see.
        if self.is_reduced.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let has = |point: Point| self.decoders.values().any(|decoder| decoder.point == point);
        for Description { point, name, .. } in &POINTS {
            if has(*point) && !OF_STAGES.contains(point) {
                self.instance.write(&format!("events/{name}/enable"), "0")?;
            }
        }
        Ok(())
    }

    fn decode(&self, tsc: u64, record: &[u8]) -> Option<Record> {
        let Decoder { point, fields } = self.decoders.get(&self.number.read(record)?)?;
        let value = |field: Option<Field>| field.and_then(|field| field.read(record)).unwrap_or(0);
        let thread = u32::try_from(self.thread.read(record)?).ok()?;
        Some(Record { tsc, thread, point: *point, values: fields.map(value) })
    }

    /// The name of an exit, as this kernel prints it.
    pub fn exit_name(&self, reason: u64, isa: u64) -> String {
        // SDM Vol. 3D appendix C: the basic exit reason is 16 bits wide. KVM_ISA_VMX is 1, KVM_ISA_SVM 2.
        const VMX: u64 = 1;
        let (table, number) = if isa == VMX { (0, reason & 0xFFFF) } else { (1, reason) };
        let name = self.exit.as_ref().and_then(|format| format.symbol(table, number));
        name.map_or_else(|| format!("exit {number:#x}"), ToOwned::to_owned)
    }
}

/// How the buffer's pages are read.
pub(super) fn layout(instance: &Instance) -> Result<Layout, Error> {
    // The header is the same for every buffer, and told only where the first one is.
    let header = instance.read("events/header_page").or_else(|_| instance.read("../../events/header_page"))?;
    Ok(Layout::parse(&header)?)
}

/// Hands each of one CPU's records, with its time, to `take`. How many records are missing among them.
pub(super) fn read_cpu(
    instance: &Instance,
    layout: &Layout,
    cpu: &str,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<u64, Error> {
    let file = format!("per_cpu/{cpu}/trace_pipe_raw");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = rustix::fs::open(instance.path(&file), flags, Mode::empty());
    let pipe = pipe.map_err(|errno| failed("open", &file)(errno.into()))?;
    let mut page = vec![0; layout.size];
    let mut missed = 0;
    loop {
        let length = match rustix::io::read(&pipe, &mut page) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(missed),
            Ok(length) => length,
            Err(errno) => return Err(failed("read", &file)(io::Error::from(errno)).into()),
        };
        missed += layout.records(&page[..length], &mut take)?.unwrap_or(1);
    }
}

/// The CPUs that have a trace buffer, as tracefs names them.
pub(super) fn cpus(instance: &Instance) -> Result<Vec<String>, Error> {
    let read = |directory: fs::ReadDir| directory.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
    let names: io::Result<Vec<String>> =
        fs::read_dir(instance.path("per_cpu")).and_then(|entries| read(entries).collect());
    let names = names.map_err(failed("list", "per_cpu"))?;
    Ok(names.into_iter().filter(|name| name.starts_with("cpu")).collect())
}

/// One CPU's events that found no room.
pub(super) fn lost_of(instance: &Instance, cpu: &str) -> Result<u64, Error> {
    Ok(lost(&instance.read(&format!("per_cpu/{cpu}/stats"))?))
}

/// Those of its `stats` file.
fn lost(stats: &str) -> u64 {
    let count = |line: &str| {
        let (name, count) = line.split_once(':')?;
        let counts = matches!(name.trim(), "overrun" | "commit overrun" | "dropped events");
        counts.then(|| count.trim().parse::<u64>().ok()).flatten()
    };
    stats.lines().filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_lose_events_counts() {
        let stats = "entries: 7\noverrun: 1\ncommit overrun: 2\nbytes: 9\noldest event ts: 5.0\ndropped events: 4\nread events: 3\n";
        assert_eq!(lost(stats), 7);
        assert_eq!(lost(""), 0);
    }
}
