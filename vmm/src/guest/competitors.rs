//! State `preempted`: threads that compete with the targets' for their CPUs, and what shows that a target had to wait for one.
//!
//! A competitor is pinned to the one CPU that the target's thread may use, and never sleeps. While it runs, the target's thread does
//! not; and that thread has no reason to sleep either, since the guest is in a loop at CPL3. So each of the competitor's turns on
//! the CPU is a time for which the target was preempted, as long as the kernel's own account of the thread's waits agrees.

use super::block_spec::{BlockSpec, Part};
use super::session::{Error, Session};
use crate::events::absences::Absence;
use crate::events::clock::host_tsc;
use crate::events::cpu_time;
use crate::host::watch::{self, Planned};
use crate::native::pinning::pin_this_thread;
use crate::native::switches;
use crate::sandbox::{self, ThreadKind};
use crate::vcpu::away::Away;
use crate::vm;
use guest_stub::abi::TargetState;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Within this time after a competitor has said that it runs, the initiator believes that it does.
const FRESH: Duration = Duration::from_micros(10);
/// A competitor that finds so much time between two looks at the clock may have left its CPU: two context switches take longer.
const GAP: Duration = Duration::from_micros(1);

/// The competitors of one block, which run; dropping ends them.
pub(super) struct Competitors {
    threads: Vec<Competitor>,
    stop: Arc<AtomicBool>,
}

/// One of them.
struct Competitor {
    /// Whom it competes with, and for which CPU.
    vcpu: usize,
    cpu: usize,
    /// For how long the vCPU's thread had waited for its CPU before.
    waited_ns: Option<u64>,
    thread: JoinHandle<Turns>,
}

/// What a competitor has done.
#[derive(Default)]
struct Turns {
    /// Its turns on the CPU, in host TSC cycles.
    taken: Vec<Absence>,
    ran_ns: u64,
    /// Why it has not competed.
    not_pinned: Option<Errno>,
}

/// What came of all of them.
pub(super) struct Competed {
    /// When each vCPU's thread was off its CPU, on the common clock.
    pub(super) absences: Vec<Vec<Absence>>,
    /// For how long each one's thread was ready to run and waited, where the kernel says so: no absence may be longer.
    pub(super) waited: Vec<Option<Duration>>,
    /// What the competitors have taken of the CPUs.
    pub(super) planned: Vec<Planned>,
}

impl Competitors {
    /// Starts one for each target of a block in state `preempted`, and none of others. A vCPU that is not pinned has none.
    pub(super) fn start(session: &Session<'_>, spec: &BlockSpec) -> Result<Self, Error> {
        let mut competitors = Self { threads: Vec::new(), stop: Arc::default() };
        if spec.cell.target_state != TargetState::Preempted {
            return Ok(competitors);
        }
        let vm = session.vm();
        let clock = Arc::new(vm.tsc().clock.clone());
        let (fresh, gap) = (session.cycles(FRESH), session.cycles(GAP));
        for vcpu in (0..session.vcpus()).filter(|&vcpu| spec.part_of(vcpu) == Some(Part::IsCalled)) {
            let Some(cpu) = vm.cpu_of(vcpu) else { continue };
            let stop = competitors.stop.clone();
            let away = Away::of(vcpu, vm.memory().clone(), clock.clone());
            let thread = Builder::new().name(format!("competitor{vcpu}")).spawn(move || {
                sandbox::confine(ThreadKind::Competitor);
                compete(cpu, &away, fresh, gap, &stop)
            });
            let thread = thread.map_err(|source| vm::Error::System {
                operation: "starting a thread that competes with a vCPU",
                source,
            })?;
            competitors.threads.push(Competitor { vcpu, cpu, waited_ns: waited_ns(session, vcpu), thread });
        }
        Ok(competitors)
    }

    /// Ends them.
    ///
    /// # Errors
    /// [`vm::Error::NotPinned`], of one that could not be kept on its target's CPU.
    pub(super) fn end(mut self, session: &Session<'_>) -> Result<Competed, Error> {
        let vcpus = session.vcpus();
        let mut competed =
            Competed { absences: vec![Vec::new(); vcpus], waited: vec![None; vcpus], planned: Vec::new() };
        self.stop.store(true, Ordering::Relaxed);
        for Competitor { vcpu, cpu, waited_ns: before, thread } in self.threads.drain(..) {
            // A panic has been printed by its thread, and shows no absence.
            let Turns { taken, ran_ns, not_pinned } = thread.join().unwrap_or_default();
            if let Some(errno) = not_pinned {
                return Err(vm::Error::NotPinned { vcpu, cpu, source: errno.into() }.into());
            }
            let slices = taken.len() as u64;
            let waited_ns = before.zip(waited_ns(session, vcpu)).map(|(before, after)| after.saturating_sub(before));
            competed.planned.push(Planned { cpu, ran_ns, slices });
            competed.waited[vcpu] = waited_ns.map(Duration::from_nanos);
            let clock = &session.vm().tsc().clock;
            competed.absences[vcpu] = taken.into_iter().map(|turn| turn.of_host(clock)).collect();
        }
        Ok(competed)
    }
}

impl Drop for Competitors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for competitor in self.threads.drain(..) {
            // As above.
            let _ = competitor.thread.join();
        }
    }
}

fn waited_ns(session: &Session<'_>, vcpu: usize) -> Option<u64> {
    watch::waited_ns(session.vm().thread_id(vcpu)?)
}

/// Runs on `cpu` whenever the scheduler lets it, until it is told to stop, and tells the guest so. The kernel's count of context
/// switches says where a turn ends; times are in TSC cycles.
fn compete(cpu: usize, away: &Away, fresh: u64, gap: u64, stop: &AtomicBool) -> Turns {
    if let Err(errno) = pin_this_thread(cpu) {
        return Turns { not_pinned: Some(errno), ..Turns::default() };
    }
    let mut turns = Vec::new();
    let mut switches = switches::of_this_thread();
    let mut turn = Absence { since: host_tsc(), until: 0 };
    turn.until = turn.since;
    away.begin(turn.since, turn.until + fresh);
    while !stop.load(Ordering::Relaxed) {
        let now = host_tsc();
        let has_left = now - turn.until > gap && {
            let before = std::mem::replace(&mut switches, switches::of_this_thread());
            switches != before
        };
        if has_left {
            turns.push(turn);
            let since = host_tsc();
            turn = Absence { since, until: since };
            away.begin(since, since + fresh);
        } else {
            turn.until = now;
            away.extend(now + fresh);
        }
    }
    away.end();
    turns.push(turn);
    Turns { taken: turns, ran_ns: cpu_time::of_this_thread(), not_pinned: None }
}
