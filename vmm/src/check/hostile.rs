//! Guests that do random things: none of them may make the VMM panic, hang or grow, or reach another machine.
//!
//! Machine after machine runs a hostile guest for a moment and is thrown away. A bystander is there all the time: another
//! machine of this process, idle meanwhile, whose memory must not change, and whose calls must work afterwards.

use super::contract::first_broken;
use super::{Detail, Suite, Verdict};
use crate::config::routes::{self, Route};
use crate::guest::calls::{self, CallsSpec};
use crate::guest::host_call::{Callees, HostCall};
use crate::guest::hostile::{self, Ended};
use crate::guest::session::{Error, Session};
use crate::host;
use crate::results::count::count;
use crate::vm::ApicIds;
use guest_stub::abi::{self, Worker};
use guest_stub::random::SplitMix64;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

/// For how long each route is tried.
const TIME: Duration = Duration::from_secs(10);
/// How long one hostile guest runs.
const LIFETIME: Duration = Duration::from_millis(100);
/// vCPUs of a hostile machine: more than it often gets CPUs, so that they are preempted in every order.
const VCPUS: usize = 4;
/// A machine that takes longer from boot to end hangs.
const LONGEST: Duration = Duration::from_secs(5);
/// Longer than a vCPU that can run waits for its CPU.
const PAUSE: Duration = Duration::from_millis(100);
/// How much the process may grow in all that time: room for the allocator, not for a leak of one machine in a hundred.
const GROWTH_KIB: u64 = 32 << 10;

/// Runs hostile guests over `route`.
pub(super) fn check(suite: &Suite<'_>, route: Route) -> Result<Detail, Verdict> {
    let mut bystander = Bystander::boot(suite, route)?;
    let mut random = SplitMix64(suite.seed ^ route as u64);
    let mut endings: BTreeMap<&'static str, u32> = BTreeMap::new();
    let (mut machines, mut ignored) = (0_u64, 0_u64);
    let mut memory = None;
    let start = Instant::now();
    while start.elapsed() < TIME {
        let began = Instant::now();
        let mut machine = boot(suite, route, VCPUS)?;
        let seed = u32::try_from(random.next() >> 32).unwrap_or(0);
        let ended = hostile::spray(&mut machine, route, seed, LIFETIME, &mut |session| disturb(session, route));
        ignored += machine.vm().ignored_messages();
        let name = match ended {
            Ok(Ended::Returned) => "returned",
            Ok(Ended::Silent) => "fell silent",
            Err(Error::BugCheck(_)) => "stopped by a bug check",
            Err(Error::Stopped { .. }) => "stopped",
            Err(Error::Interrupted) => return Err(Verdict::Interrupted),
            Err(Error::BadReport(_) | Error::Memory(_)) => "ended with a bad report",
            Err(error) => return Err(error.into()),
        };
        *endings.entry(name).or_default() += 1;
        machines += 1;
        let panicked = machine.end();
        if panicked > 0 {
            return Err(Verdict::Failed(format!(
                "{} panicked, seed {seed:#x}: {name}",
                count(panicked, "vCPU thread")
            )));
        }
        if began.elapsed() > LONGEST {
            let time = began.elapsed();
            let reason = format!("a machine took {time:?} to boot, run and end, seed {seed:#x}");
            return Err(Verdict::overdue(LONGEST, reason));
        }
        // The first machines fill the allocator's pools.
        if machines == 10 {
            memory = host::resident_kib();
        }
    }
    let grown = memory.zip(host::resident_kib()).map(|(before, after)| after.saturating_sub(before));
    if let Some(grown) = grown.filter(|&grown| grown > GROWTH_KIB) {
        return Err(Verdict::Failed(format!("the process grew by {grown} KiB over {}", count(machines, "machine"))));
    }
    bystander.check_unharmed()?;
    let endings: Vec<String> = endings.into_iter().map(|(name, times)| format!("{times} {name}")).collect();
    let grown = grown.map_or_else(|| "growth unknown".to_owned(), |grown| format!("grown by {grown} KiB"));
    Ok(format!(
        "{}: {}; {} ignored; {grown}",
        count(machines, "machine"),
        endings.join(", "),
        count(ignored, "message")
    ))
}

fn boot<'a>(suite: &Suite<'a>, route: Route, vcpus: usize) -> Result<Session<'a>, Error> {
    suite.boot_with_deadline(route, vcpus, ApicIds::Consecutive, Duration::from_secs(2))
}

/// Makes a call of the host into the hostile guest, where that is the route; it must end by its deadline.
fn disturb(session: &Session<'_>, route: Route) {
    if routes::of(route).is_host() {
        let deadline = Duration::from_millis(5);
        let call = HostCall { worker: Worker::Stamp, argument: 0, targets: Callees::All, observe: false, deadline };
        // A hostile guest may not answer.
        let _ = session.broadcast(&call);
    }
}

/// A machine that has nothing to do with the hostile ones.
struct Bystander<'a> {
    machine: Session<'a>,
    route: Route,
    /// While it is idle.
    memory: Vec<u8>,
}

impl<'a> Bystander<'a> {
    const VCPUS: usize = 2;

    fn boot(suite: &Suite<'a>, route: Route) -> Result<Self, Verdict> {
        let mut bystander = Self { machine: boot(suite, route, Self::VCPUS)?, route, memory: Vec::new() };
        bystander.make_calls()?;
        bystander.memory = bystander.memory_at_rest()?;
        Ok(bystander)
    }

    fn make_calls(&mut self) -> Result<(), Verdict> {
        let spec = CallsSpec { route: self.route, calls: 10, ..CallsSpec::default() };
        let calls = calls::run(&mut self.machine, &spec, &mut |_| ())?;
        first_broken(&calls, &spec)
            .map_err(|verdict| verdict.map_reason(|reason| format!("another machine of the process: {reason}")))
    }

    fn read_memory(&self) -> Result<Vec<u8>, Verdict> {
        let mut bytes = vec![0; usize::try_from(abi::memory_size(Self::VCPUS)).unwrap_or(0)];
        let read = self.machine.vm().memory().read_slice(&mut bytes, GuestAddress(0));
        read.map_err(|error| Verdict::Failed(format!("reading the bystander's memory: {error}")))?;
        Ok(bytes)
    }

    /// Its memory at rest: a vCPU that lost its CPU may still be on its way to idle when the report of the calls is there.
    fn memory_at_rest(&self) -> Result<Vec<u8>, Verdict> {
        const TRIES: usize = 20;
        let mut before = self.read_memory()?;
        for _ in 0..TRIES {
            std::thread::sleep(PAUSE);
            let now = self.read_memory()?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
        let reason = "the memory of an idle machine of the process does not come to rest";
        Err(Verdict::overdue(PAUSE, reason))
    }

    fn check_unharmed(&mut self) -> Result<(), Verdict> {
        let now = self.read_memory()?;
        if let Some(address) = self.memory.iter().zip(&now).position(|(before, now)| before != now) {
            let reason = format!("the memory of another machine of the process has changed, first at {address:#x}");
            // Where it was taken for idle too early.
            return Err(Verdict::overdue(PAUSE, reason));
        }
        self.make_calls()
    }
}
