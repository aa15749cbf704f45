//! How far the vCPUs' clocks may still be apart when all that is known of their TSC offsets is subtracted.
//!
//! Two things can set them apart: the TSCs of the CPUs that they run on, which exchanges of stamps bound, and the error of
//! offsets that KVM does not tell.

use crate::config;
use crate::events::clock::{CommonClock, Exchange};
use crate::guest::clock_exchange;
use crate::guest::session::{self, Session};
use crate::results::count::count;
use crate::statistics::clock_error::{self, Ahead, ClockError, Comparisons};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use std::time::Duration;

/// Exchanges of stamps between vCPU 0 and another vCPU, which compare the TSCs of two CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Comparison {
    partner: usize,
    /// The CPUs that vCPU 0 and the partner are kept on meanwhile; `None`: each is pinned already.
    keep_on: Option<[usize; 2]>,
}

/// Who exchanges stamps with vCPU 0, so that every CPU that a vCPU may run on is compared.
pub(super) struct ClockPartners {
    comparisons: Vec<Comparison>,
    /// For each vCPU, the one whose exchanges tell of the CPUs that it runs on: itself, or one to compare the offset with.
    references: Vec<usize>,
}

impl ClockPartners {
    /// Of a machine whose vCPUs are pinned to `pin` in turn, or, if that is empty, run wherever the scheduler puts them
    /// among `cpus`.
    pub(super) fn choose(vcpus: usize, pin: &[usize], cpus: &[usize]) -> Self {
        if pin.is_empty() && vcpus > 1 {
            let comparison = |&cpu| Comparison { partner: 1, keep_on: Some([cpus[0], cpu]) };
            return Self { comparisons: cpus.iter().skip(1).map(comparison).collect(), references: vec![1; vcpus] };
        }
        let cpu = |vcpu| config::cpu_of(pin, vcpu);
        let first_on_its_cpu = |vcpu: usize| (0..vcpu).find(|&other| cpu(other) == cpu(vcpu)).unwrap_or(vcpu);
        let references: Vec<usize> = (0..vcpus).map(first_on_its_cpu).collect();
        let partners = (1..vcpus).filter(|&vcpu| references[vcpu] == vcpu);
        Self { comparisons: partners.map(|partner| Comparison { partner, keep_on: None }).collect(), references }
    }

    /// Compares the clocks, and bounds their error by that and by what is known of them already.
    pub(super) fn clock_error(
        &self,
        session: &mut Session<'_>,
        earlier: &Comparisons,
    ) -> Result<ClockError, session::Error> {
        let clock = session.vm().tsc().clock.clone();
        self.compare(&clock, earlier, |comparison| exchange(session, comparison))
    }

    fn compare<E>(
        &self,
        clock: &CommonClock,
        earlier: &Comparisons,
        mut exchange: impl FnMut(Comparison) -> Result<Vec<Exchange>, E>,
    ) -> Result<ClockError, E> {
        // vCPU 0's CPU is compared with nothing; its own TSC there is the common clock.
        let mut of_cpus = vec![Some(clock.apart(0, self.references[0]))];
        let mut silent = Vec::new();
        let mut comparisons =
            Comparisons { ahead: Vec::new(), exchanges: earlier.exchanges, is_of_every_boot: clock.is_exact() };
        for (index, &comparison) in self.comparisons.iter().enumerate() {
            let made = exchange(comparison)?;
            let looks = [earlier.ahead.get(index).copied().flatten(), Ahead::of(&made)];
            let ahead = looks.into_iter().flatten().reduce(Ahead::and);
            comparisons.exchanges += made.len();
            comparisons.ahead.push(ahead);
            of_cpus.push(ahead.map(Ahead::bound));
            silent.extend(ahead.is_none().then_some(comparison.partner));
        }
        let unknown = self.references.iter().filter(|reference| silent.contains(reference)).count();
        let of_offsets = self.references.iter().enumerate().map(|(vcpu, &reference)| clock.apart(reference, vcpu));
        let of_offsets = clock_error::skew_error(of_offsets.collect());
        let of_cpus: Option<Vec<u64>> = of_cpus.into_iter().collect();
        let method =
            [self.without_bound(unknown), Some(of_offsets_text(clock)), Some(self.text(comparisons.exchanges))];
        Ok(ClockError {
            vcpus: of_cpus.map(|bounds| clock_error::skew_error(bounds).saturating_add(of_offsets)),
            host: clock.host_error(),
            subtracted: clock.subtracted().to_vec(),
            comparisons,
            method: method.into_iter().flatten().collect::<Vec<_>>().join("; "),
        })
    }

    fn without_bound(&self, unknown: usize) -> Option<String> {
        let vcpus = self.references.len();
        (unknown > 0).then(|| format!("{unknown} of {vcpus} vCPUs exchanged no stamps with vCPU 0"))
    }

    fn text(&self, exchanges: usize) -> String {
        let made = format!("{} of stamps", count(exchanges, "exchange"));
        match self.comparisons.as_slice() {
            [] if self.references.len() == 1 => "one vCPU".to_owned(),
            [] => "all vCPUs run on one CPU".to_owned(),
            [Comparison { keep_on: Some(_), .. }, ..] => {
                format!("{made} between {} CPUs", self.comparisons.len() + 1)
            }
            [_] => format!("{made} with a vCPU on another CPU"),
            several => format!("{made} with {} vCPUs on other CPUs", several.len()),
        }
    }
}

/// What is known of the offsets.
fn of_offsets_text(clock: &CommonClock) -> String {
    const ESTIMATED: &str = "estimated by reading IA32_TSC between two host stamps";
    let subtracted = || clock.subtracted().iter().copied();
    let spread = subtracted().max().unwrap_or(0).abs_diff(subtracted().min().unwrap_or(0));
    match (clock.is_exact(), spread) {
        (true, 0) => "all vCPUs have one TSC offset (KVM_VCPU_TSC_OFFSET)".to_owned(),
        (true, _) => {
            format!("TSC offsets differ by up to {} and are subtracted (KVM_VCPU_TSC_OFFSET)", count(spread, "cycle"))
        }
        (false, 0) => format!("TSC offsets, {ESTIMATED}, differ by no more than the estimates' error"),
        (false, _) => {
            format!("TSC offsets differ by up to {} and are subtracted ({ESTIMATED})", count(spread, "cycle"))
        }
    }
}

/// What two vCPUs exchange; nothing where one of them gets no turn, or may not run on its CPU.
fn exchange(session: &mut Session<'_>, comparison: Comparison) -> Result<Vec<Exchange>, session::Error> {
    // The ring of exchanges is full long before, unless the partner does not get its CPU.
    const TIME: Duration = Duration::from_millis(50);
    let Comparison { partner, keep_on } = comparison;
    let _kept = match keep_on {
        None => None,
        Some([first, other]) => match (KeptOnCpu::keep(session, 0, first), KeptOnCpu::keep(session, partner, other)) {
            (Some(one), Some(two)) => Some([one, two]),
            _ => return Ok(Vec::new()),
        },
    };
    clock_exchange::exchange(session, partner, TIME)
}

/// A vCPU's thread that stays on one CPU until this is dropped.
struct KeptOnCpu {
    thread: Pid,
    before: CpuSet,
}

impl KeptOnCpu {
    /// `None`: the kernel does not allow it.
    fn keep(session: &Session<'_>, vcpu: usize, cpu: usize) -> Option<Self> {
        let thread = Pid::from_raw(session.vm().thread_id(vcpu)?.cast_signed())?;
        let before = sched_getaffinity(Some(thread)).ok()?;
        let mut only = CpuSet::new();
        (cpu < CpuSet::MAX_CPU).then(|| only.set(cpu))?;
        sched_setaffinity(Some(thread), &only).ok()?;
        Some(Self { thread, before })
    }
}

impl Drop for KeptOnCpu {
    fn drop(&mut self) {
        // Where it fails, the CPUs of before are gone, and the kernel has chosen others.
        let _ = sched_setaffinity(Some(self.thread), &self.before);
    }
}

#[cfg(test)]
mod tests;
