//! What a send costs in the broadcast service, against its floor: the atomic additions to the targets' IRRs that no
//! implementation can do without, and one signal for each target that is in the guest.
//!
//! `outside`: the targets' threads are in user space and look by themselves. `in-guest`: each has to be fetched by a signal;
//! here that is a real tgkill, to a thread that has it blocked, so that sending is measured and not what it sets off.
//!
//! Each send sets a bit that was clear, as the first interrupt on a vector does. Bits are cleared, and places taken again,
//! outside the measured time.

use criterion::{BenchmarkId, Criterion};
use kipi_apic::addressing::{Addressing, Mode};
use kipi_apic::ipi::{Delivery, Destination, Ipi};
use kipi_apic::presence::Place;
use kipi_apic::service::{Fetch, Service};
use serde_json::Value;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SIZES: [usize; 5] = [2, 8, 64, 255, 1024];
const VECTORS: std::ops::RangeInclusive<u8> = 16..=255;

/// A thread that takes no signals.
static SLEEPER: AtomicI32 = AtomicI32::new(0);
const SIGNAL: i32 = libc::SIGUSR1;

fn start_sleeper() {
    // SAFETY: the set is initialised by sigemptyset before it is used; threads inherit what is blocked.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, SIGNAL);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    std::thread::spawn(|| {
        // SAFETY: has no arguments and no effect.
        SLEEPER.store(unsafe { libc::gettid() }, Ordering::Release);
        loop {
            std::thread::park();
        }
    });
    while SLEEPER.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
}

fn signal() {
    // SAFETY: tgkill touches no memory, and the thread runs for ever, with the signal blocked.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), SLEEPER.load(Ordering::Relaxed), SIGNAL) };
}

/// A vCPU's thread that is fetched by a signal.
struct Thread;

impl Fetch for Thread {
    fn interrupt(&self) {
        signal();
    }

    fn wake(&self) {}
}

/// APIC ids with gaps: none is found at its own index.
fn id(vcpu: usize) -> u32 {
    u32::try_from(vcpu).expect("small") * 3 + 1
}

fn service(vcpus: usize) -> Service<Thread> {
    let service = Service::new((0..vcpus).map(|vcpu| (id(vcpu), Thread)));
    for vcpu in 0..vcpus {
        let addressing = Addressing { id: id(vcpu), enabled: true, mode: Mode::X2Apic, ..Addressing::default() };
        service.inbox(vcpu).publish(addressing.to_bits());
    }
    service
}

/// The floor's vCPU: as many bits, on a line of its own, as the service's.
#[repr(align(64))]
#[derive(Default)]
struct Line([AtomicU32; 8]);

impl Line {
    fn set(&self, vector: u8) {
        self.0[usize::from(vector) / 32].fetch_or(1 << (vector % 32), Ordering::SeqCst);
    }

    fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

/// Measures `iterations` sends, of which `clear` has to undo what at most one for each vector has done.
fn over_vectors(iterations: u64, mut send: impl FnMut(u8) -> Duration, clear: impl Fn()) -> Duration {
    let mut vectors = VECTORS;
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let vector = vectors.next().unwrap_or_else(|| {
            clear();
            vectors = VECTORS;
            vectors.next().expect("there are some")
        });
        total += send(vector);
    }
    clear();
    total
}

/// Whole batches at once: the clock is read twice for 240 sends.
fn in_batches(iterations: u64, send: impl Fn(u8), clear: impl Fn()) -> Duration {
    let batch = VECTORS.count() as u64;
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let now = left.min(batch);
        let start = Instant::now();
        VECTORS.take(usize::try_from(now).unwrap_or(0)).for_each(&send);
        total += start.elapsed();
        clear();
        left -= now;
    }
    total
}

/// Takes the place in the guest of every vCPU from `vcpu` on, then calls `inner`.
fn with_all_in_guest<T>(service: &Service<Thread>, vcpu: usize, inner: &mut dyn FnMut() -> T) -> T {
    if vcpu == service.vcpus() {
        return inner();
    }
    let stay = |(): &mut ()| with_all_in_guest(service, vcpu + 1, inner);
    service.inbox(vcpu).presence().go(Place::Guest, &mut (), |()| true, stay).expect("nobody keeps it from it")
}

fn ipi(vector: u8, destination: Destination) -> Ipi {
    Ipi::new(Delivery::Fixed(vector), destination)
}

fn bench(criterion: &mut Criterion) {
    for (name, unicast) in [("all-but-self", false), ("unicast", true)] {
        let destination = |vcpus: usize| {
            if unicast { Destination::Physical(id(vcpus - 1)) } else { Destination::AllButSelf }
        };
        for vcpus in SIZES {
            let service = service(vcpus);
            let lines: Vec<Line> = (0..vcpus).map(|_| Line::default()).collect();
            let targets = if unicast { &lines[vcpus - 1..] } else { &lines[1..] };
            let send = |vector| service.send(Some(0), black_box(ipi(vector, destination(vcpus))));
            let clear = || (0..vcpus).for_each(|vcpu| service.inbox(vcpu).irr().clear());
            let clear_lines = || lines.iter().for_each(Line::clear);

            let mut group = criterion.benchmark_group(format!("{name}/outside"));
            group.bench_function(BenchmarkId::new("floor", vcpus), |bencher| {
                let floor = |vector| black_box(targets).iter().for_each(|line| line.set(vector));
                bencher.iter_custom(|iterations| in_batches(iterations, floor, clear_lines));
            });
            group.bench_function(BenchmarkId::new("service", vcpus), |bencher| {
                bencher.iter_custom(|iterations| in_batches(iterations, |vector| _ = black_box(send(vector)), clear));
            });
            group.finish();

            let mut group = criterion.benchmark_group(format!("{name}/in-guest"));
            group.bench_function(BenchmarkId::new("floor", vcpus), |bencher| {
                let floor = |vector| {
                    let start = Instant::now();
                    for line in black_box(targets) {
                        line.set(vector);
                        signal();
                    }
                    start.elapsed()
                };
                bencher.iter_custom(|iterations| over_vectors(iterations, floor, clear_lines));
            });
            group.bench_function(BenchmarkId::new("service", vcpus), |bencher| {
                let timed = |vector| {
                    let mut measured = || {
                        let start = Instant::now();
                        let result = send(vector);
                        let elapsed = start.elapsed();
                        assert_eq!(result.fetched as usize, targets.len(), "everybody was in the guest");
                        elapsed
                    };
                    // Of the targets alone: whoever touches all lines before a unicast has the cache's misses measured.
                    with_all_in_guest(&service, vcpus - targets.len(), &mut measured)
                };
                bencher.iter_custom(|iterations| over_vectors(iterations, timed, clear));
            });
            group.finish();
        }
    }
}

/// The median of a benchmark, ns, and its 95 % interval.
fn median(results: &Path, group: &str, function: &str, vcpus: usize) -> Option<[f64; 3]> {
    let directory = results.join(group.replace('/', "_")).join(function).join(vcpus.to_string());
    let text = std::fs::read_to_string(directory.join("new/estimates.json")).ok()?;
    let estimates: Value = serde_json::from_str(&text).ok()?;
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    Some([median["point_estimate"].as_f64()?, interval["lower_bound"].as_f64()?, interval["upper_bound"].as_f64()?])
}

/// One line for each size: floor, service, and their ratio.
fn print_table(results: &Path) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["send", "targets are", "vCPUs", "floor ns", "95 %", "service ns", "95 %", "ratio"]);
    for destination in ["all-but-self", "unicast"] {
        for place in ["outside", "in-guest"] {
            for vcpus in SIZES {
                let group = format!("{destination}/{place}");
                let of = |function| median(results, &group, function, vcpus);
                let (Some(floor), Some(service)) = (of("floor"), of("service")) else { continue };
                let interval = |[_, low, high]: [f64; 3]| format!("{low:.1}–{high:.1}");
                table.add_row([
                    destination.to_owned(),
                    place.to_owned(),
                    vcpus.to_string(),
                    format!("{:.1}", floor[0]),
                    interval(floor),
                    format!("{:.1}", service[0]),
                    interval(service),
                    format!("{:.2}", service[0] / floor[0]),
                ]);
            }
        }
    }
    println!("{table}");
}

fn main() {
    start_sleeper();
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots()
        .configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    print_table(&target.join("criterion"));
}
