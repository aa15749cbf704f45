//! A soak: everything that can be disturbed at once, at random.

use super::traps::but_for_duplicates;
use super::{DEADLINE, Detail, Suite, Verdict};
use crate::config::routes::{self, Route};
use crate::guest::calls::CallsSpec;
use crate::results::count::count;
use crate::vcpu::interrupt::Injection;
use crate::vm::Vm;
use guest_stub::abi::{Set, TargetState, VECTOR_DEVICE, VECTOR_IPI};
use guest_stub::random::SplitMix64;
use std::time::{Duration, Instant};

/// A minute of calls by random initiators to random sets over random routes, while vCPUs stall and interrupts that nobody
/// asked for come in.
pub(super) fn check(suite: &Suite<'_>, minute: u32) -> Result<Detail, Verdict> {
    const MINUTE: Duration = Duration::from_mins(1);
    let start = Instant::now();
    let mut random = SplitMix64(suite.seed.wrapping_add(u64::from(minute).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let (mut made, mut injected, mut machines) = (0_u64, 0_u64, 0_u64);
    while start.elapsed() < MINUTE {
        let vcpus = 2 + random.below(5);
        let spec = random_spec(suite, &mut random, vcpus);
        let mut disturbances = SplitMix64(random.next());
        let mut disturb = |vm: &Vm| {
            let injection = match disturbances.below(6) {
                0 => Injection::Fixed(VECTOR_IPI),
                1 => Injection::Nmi,
                2 => Injection::Fixed(VECTOR_DEVICE),
                3 => {
                    vm.stall(disturbances.below(vcpus), Duration::from_millis(disturbances.below(20) as u64));
                    return;
                }
                _ => return,
            };
            injected += u64::from(vm.inject(disturbances.below(vcpus), injection).is_ok());
        };
        let in_spec = |verdict: Verdict| verdict.map_reason(|reason| format!("{reason}: {spec:?}"));
        let calls = suite.disturbed_calls(vcpus, &spec, &mut disturb).map_err(|error| in_spec(error.into()))?;
        but_for_duplicates(&calls, &spec).map_err(in_spec)?;
        let early = calls.sum(|tally| tally.device_in_worker);
        if early > 0 {
            return Err(Verdict::Failed(format!(
                "{} came while a worker ran: {spec:?}",
                count(early, "device interrupt")
            )));
        }
        made += u64::from(calls.made);
        machines += 1;
    }
    Ok(format!("{}, {}, {} injected", count(made, "call"), count(machines, "machine"), count(injected, "interrupt")))
}

fn random_spec(suite: &Suite<'_>, random: &mut SplitMix64, vcpus: usize) -> CallsSpec {
    let offers = suite.kvm().offers();
    let routes: Vec<Route> = routes::those(|route| route.interrupts() && route.lacks(offers).is_none()).collect();
    let sets = [Set::Everybody, Set::Random, Set::Disjoint, Set::Overlapping];
    let states = [TargetState::Spin, TargetState::User, TargetState::Halt];
    let initiators = 1 + random.below(vcpus.min(4));
    CallsSpec {
        route: routes[random.below(routes.len())],
        set: sets[random.below(sets.len())],
        target_state: states[random.below(states.len())],
        initiators: (0..initiators).collect(),
        phases: random.below(4) == 0,
        calls: 50,
        pause: Duration::from_micros(random.below(500) as u64),
        work: Duration::from_micros(random.below(50) as u64),
        seed: u32::try_from(random.next() >> 32).unwrap_or(1),
        deadline: DEADLINE,
        ..CallsSpec::default()
    }
}
