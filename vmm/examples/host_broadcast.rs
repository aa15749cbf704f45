//! Embeds kipi: makes a virtual machine whose local APICs are kipi's own, calls its vCPUs from two threads of this program,
//! and prints what came back.
//!
//! ```console
//! $ cargo run --release --example host_broadcast
//! ```

use anyhow::Context;
use guest_stub::abi::{TargetState, Worker};
use kipi::config::{Interface, LocalApics};
use kipi::guest::host_call::{Callees, HostCall, HostResults};
use kipi::guest::serve::{Waiting, serve};
use kipi::guest::session::{Limits, Session};
use kipi::vm::image;
use kipi::vm::{ApicIds, Hypervisor, VmConfig};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const VCPUS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let hypervisor = Hypervisor::open(Path::new("/dev/kvm"))?;

    // `LocalApics::User` is the local APIC in user space with its broadcast service; `LocalApics::Kernel` is KVM's.
    let config = VmConfig {
        vcpus: VCPUS,
        ids: ApicIds::Consecutive,
        local_apics: LocalApics::User,
        interface: Interface::Kvm,
        pin: &[],
        cpus: 1,
        image: image::EMBEDDED,
        halt_poll_ns: None,
        tsc_shifts: &[],
    };
    let limits = Limits { deadline: DEADLINE, settle: Duration::ZERO };
    // Set it from a handler of Ctrl-C to stop early.
    let interrupted = AtomicBool::new(false);
    let mut session = Session::boot(&hypervisor, &config, limits, &interrupted)?;
    println!("{} vCPUs are up after {:?}", session.vcpus(), session.boot_time());

    // The vCPUs halt, and serve calls, for as long as the closure runs.
    let waiting = Waiting { target_state: TargetState::Halt, deadline: DEADLINE };
    let calls = serve(&mut session, waiting, call_from_two_threads)??;

    for (thread, results) in calls.into_iter().enumerate() {
        let micros = results.t2.wrapping_sub(results.t0) as f64 * 1000.0 / session.tsc_khz() as f64;
        println!("thread {thread}: the call of generation {} took {micros:.0} µs", results.generation);
        for (vcpu, value) in results.values {
            println!("  vCPU {vcpu} returned {value}");
        }
    }
    Ok(())
}

/// One thread calls everybody, the other only vCPUs 1 and 2: on those, one call runs after the other.
fn call_from_two_threads(session: &Session<'_>) -> anyhow::Result<Vec<HostResults>> {
    let some: &[usize] = &[1, 2];
    let targets = [Callees::All, Callees::These(some)];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(targets)
            .map(|(thread, targets)| {
                // The worker `stamp` returns its argument plus its vCPU's index.
                let argument = 1000 * (thread + 1);
                let call = HostCall { worker: Worker::Stamp, argument, targets, observe: false, deadline: DEADLINE };
                scope.spawn(move || session.broadcast(&call))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the thread does not panic").context("broadcasting"))
            .collect()
    })
}
