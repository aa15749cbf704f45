//! Blocks of rounds: vCPU 0 hears what is to be done, one processor calls, the others are called.

use crate::apic;
use crate::calibrate;
use crate::calls;
use crate::fault;
use crate::hostile;
use crate::ipi::{self, Call, Failed, Participants};
use crate::mem;
use crate::port;
use crate::processor::{self, GENERATIONS, HOST_PACKETS, Private, SLOTS, UserWords};
use crate::state;
use crate::tables;
use crate::tsc;
use crate::user;
use crate::workers;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{
    self, Destination, Fault, GuestRoute as Route, HostCalls, MASK_WORDS, MAX_VCPUS, Mask, Operation, RING_SAMPLES,
    Report, Sample, Set, Status, Tally, TargetState, VECTOR_WAKE, Worker, command, command::Command, sample_flags,
};
use guest_stub::icr::{self, To};
use guest_stub::mask;
use guest_stub::rendezvous::Generation;

/// Counts the activities that vCPU 0 has announced. The command page says what the current one is.
static ACTIVITY: AtomicU32 = AtomicU32::new(0);

/// The activity that each processor has finished; those that follow start at the first one when they are up.
static FINISHED: [AtomicU32; MAX_VCPUS] = [const { AtomicU32::new(NOT_STARTED) }; MAX_VCPUS];
const NOT_STARTED: u32 = u32::MAX;

/// `ready` of a processor that is not in its state yet.
const NOT_IN_STATE: u32 = u32::MAX;

/// A command that has been found valid.
pub(crate) struct Block {
    operation: Operation,
    pub(crate) route: Route,
    pub(crate) destination: Destination,
    pub(crate) state: TargetState,
    pub(crate) worker: Worker,
    pub(crate) set: Set,
    pub(crate) fault: Fault,
    /// The numbers of [`Operation::Calls`], and those that other operations have in common with it.
    pub(crate) calls: command::Calls,
    initiator: usize,
    settle: u64,
    argument: u64,
}

impl Block {
    fn parse(command: &Command) -> Option<Self> {
        let operation = command.operation()?;
        let (calls, initiator, settle, argument) = match operation {
            Operation::Block => {
                let block: command::Block = command.payload()?;
                let calls = command::Calls {
                    route: block.route,
                    destination: block.destination,
                    target_state: block.target_state,
                    worker: block.worker,
                    observe: block.observe,
                    calls: block.rounds,
                    set: Set::Everybody as u32,
                    deadline: block.deadline,
                    ..command::Calls::default()
                };
                (calls, block.initiator as usize, block.settle, block.argument)
            }
            Operation::Calls => (command.payload()?, 0, 0, 0),
            Operation::Serve => {
                let serve: command::Serve = command.payload()?;
                let calls = command::Calls {
                    route: Route::Host as u32,
                    destination: Destination::AllButSelf as u32,
                    target_state: serve.target_state,
                    worker: Worker::Stamp as u32,
                    observe: serve.observe,
                    set: Set::Everybody as u32,
                    fault: serve.fault,
                    last_generation: serve.last_generation,
                    timer_period: serve.timer_period,
                    timer_deadline: serve.timer_deadline,
                    deadline: serve.deadline,
                    ..command::Calls::default()
                };
                (calls, 0, 0, 0)
            }
            Operation::Spray => {
                let spray: command::Spray = command.payload()?;
                let calls = command::Calls {
                    route: spray.route,
                    destination: Destination::AllButSelf as u32,
                    target_state: TargetState::Halt as u32,
                    worker: Worker::Stamp as u32,
                    set: Set::Everybody as u32,
                    seed: spray.seed,
                    ..command::Calls::default()
                };
                (calls, 0, spray.duration, 0)
            }
            Operation::Calibrate | Operation::ClockExchange => return None,
        };
        Some(Self {
            operation,
            route: Route::from_wire(calls.route)?,
            destination: Destination::from_wire(calls.destination)?,
            state: TargetState::from_wire(calls.target_state)?,
            worker: Worker::from_wire(calls.worker)?,
            set: Set::from_wire(calls.set)?,
            fault: Fault::from_wire(calls.fault)?,
            calls,
            initiator,
            settle,
            argument,
        })
        .filter(|block| block.makes_calls() || block.calls.calls as usize <= RING_SAMPLES)
        .filter(|block| block.route != Route::Host || block.is_for_host())
    }

    fn makes_calls(&self) -> bool {
        self.operation == Operation::Calls
    }

    fn is_for_host(&self) -> bool {
        matches!(self.operation, Operation::Serve | Operation::Spray)
    }

    /// Whether processor `index` makes calls of its own.
    fn has_initiator(&self, index: usize) -> bool {
        self.makes_calls() && mask::contains(&self.calls.initiators, index)
    }

    /// Whether processor `index` makes the calls of this block of rounds.
    fn is_led_by(&self, index: usize) -> bool {
        self.operation == Operation::Block && self.initiator == index
    }

    /// The APIC mode that the block needs, if it needs one.
    fn x2apic(&self) -> Option<bool> {
        match self.route {
            Route::XApic => Some(false),
            Route::X2Apic => Some(true),
            Route::Nmi | Route::Msi | Route::Host => Some(mem::boot().x2apic != 0),
            Route::Memory => None,
        }
    }
}

/// What vCPU 0 does for ever: start the others, then run what the VMM asks for.
pub(crate) fn lead(private: &'static Private) -> ! {
    // SAFETY: the tables are loaded.
    unsafe { asm!("sti", options(nostack)) };
    let boot = mem::boot();
    let processors = (boot.vcpus as usize).clamp(1, MAX_VCPUS);
    if boot.yield_cpu != 0 {
        tsc::yield_while_waiting();
    }
    apic::set_mode(private, boot.x2apic != 0);
    private.touch_ring();
    mem::tell_host(&HostCalls {
        slots: SLOTS.as_ptr() as u64,
        packets: HOST_PACKETS.as_ptr() as u64,
        generations: &raw const GENERATIONS as u64,
        reserved: 0,
        workers: workers::addresses(false),
        observed_workers: workers::addresses(true),
    });
    mem::report(start_others(private, processors, boot.deadline));
    loop {
        port::write(abi::PORT_DOORBELL, 0);
        let command = mem::command();
        let report = match command.operation() {
            Some(Operation::Block | Operation::Calls) => match Block::parse(&command) {
                Some(block) if block.makes_calls() => run_calls(private, processors, &block),
                Some(block) if block.initiator < processors => run_block(private, processors, &block),
                _ => report(Status::BadCommand),
            },
            Some(Operation::Serve) => match Block::parse(&command) {
                Some(block) => serve_host(private, processors, &block),
                None => report(Status::BadCommand),
            },
            Some(Operation::Spray) => match Block::parse(&command) {
                Some(block) => {
                    // SAFETY: vCPU 0 alone does this.
                    unsafe { tables::accept_any_vector() };
                    announce(private, processors);
                    rave(private, &block);
                    report(Status::Done)
                }
                None => report(Status::BadCommand),
            },
            Some(Operation::Calibrate) => match command.payload::<command::Calibrate>() {
                Some(command::Calibrate { samples }) => {
                    calibrate::instruments(private, (samples as usize).min(RING_SAMPLES));
                    Report { rounds: samples, ..report(Status::Done) }
                }
                None => report(Status::BadCommand),
            },
            Some(Operation::ClockExchange) => match command.payload::<command::ClockExchange>() {
                Some(exchange) if (1..processors).contains(&(exchange.partner as usize)) => {
                    exchange_clocks(private, processors, &exchange)
                }
                _ => report(Status::BadCommand),
            },
            None => report(Status::BadCommand),
        };
        mem::report(report);
    }
}

fn report(status: Status) -> Report {
    Report {
        status: status as u32,
        rounds: 0,
        generation: 0,
        resent: 0,
        duplicate: 0,
        late: 0,
        missing: [0; MASK_WORDS],
    }
}

/// INIT–SIPI–SIPI (SDM Vol. 3A 10.4.4.1), to all others at once. A virtual INIT needs none of the 10 ms that the
/// manual asks for; the second SIPI goes out when the first has not brought everybody up.
fn start_others(private: &'static Private, processors: usize, deadline: u64) -> Report {
    if processors == 1 {
        return report(Status::Done);
    }
    let start = tsc::now();
    let everybody_is_up = || (1..processors).all(|other| FINISHED[other].load(Ordering::Acquire) == 0);
    apic::send(private, icr::init(To::AllButSelf), To::AllButSelf);
    apic::send(private, icr::startup(To::AllButSelf), To::AllButSelf);
    if tsc::poll_until(start.wrapping_add(deadline / 4), everybody_is_up) {
        return report(Status::Done);
    }
    apic::send(private, icr::startup(To::AllButSelf), To::AllButSelf);
    if tsc::poll_until(start.wrapping_add(deadline), everybody_is_up) {
        return report(Status::Done);
    }
    Report {
        missing: others(0, processors, |other| FINISHED[other].load(Ordering::Acquire) != 0),
        ..report(Status::NotResponding)
    }
}

/// Those of the processors but `me` that `is_in` holds for.
fn others(me: usize, processors: usize, is_in: impl Fn(usize) -> bool) -> Mask {
    let mut others = [0; MASK_WORDS];
    (0..processors).filter(|&other| other != me && is_in(other)).for_each(|other| mask::insert(&mut others, other));
    others
}

/// What the other processors do for ever.
pub(crate) fn follow(private: &'static Private) -> ! {
    apic::set_mode(private, mem::boot().x2apic != 0);
    private.touch_ring();
    let mut activity = 0;
    loop {
        // Release pairs with vCPU 0's look: all that this processor did for the activity comes first.
        FINISHED[private.index].store(activity, Ordering::Release);
        activity = state::sleep_until_changed(&ACTIVITY, activity);
        let command = mem::command();
        if let Some(exchange) = command.payload::<command::ClockExchange>() {
            if exchange.partner as usize == private.index {
                user::answer(private);
            }
        } else if let Some(block) = Block::parse(&command) {
            prepare(private, &block);
            if block.operation == Operation::Spray {
                rave(private, &block);
                continue;
            }
            if block.is_led_by(private.index) {
                lead_block(private, &block);
                clean_up(private, &block);
                continue;
            }
            if block.has_initiator(private.index) {
                private.user_page().ready().store(0, Ordering::Release);
                wait_for_start(activity);
                calls::initiate(private, &block, mem::boot().vcpus as usize);
            }
            state::stay(private, block.route, block.destination, block.state);
            clean_up(private, &block);
            if block.calls.observe != 0 {
                // An exit: a device's interrupt that is pending now comes before the tally is read, on any host.
                port::write(abi::PORT_YIELD, 0);
            }
        }
    }
}

/// Gets this processor ready for a block.
fn prepare(private: &'static Private, block: &Block) {
    if let Some(x2apic) = block.x2apic() {
        apic::set_mode(private, x2apic);
    }
    private.touch_ring();
    private.handled.store(0, Ordering::Relaxed);
    private.duplicate.store(0, Ordering::Relaxed);
    private.late.store(0, Ordering::Relaxed);
    private.user_page().handled().store(0, Ordering::Relaxed);
    private.user_page().last_run().store(0, Ordering::Relaxed);
    private.user_page().last_setup().store(0, Ordering::Relaxed);
    // SAFETY: this processor's own tally.
    unsafe { private.tally().write(Tally::default()) };
    let command::Calls { timer_period, timer_deadline, .. } = block.calls;
    if timer_deadline != 0 {
        apic::start_deadline_timer(private, abi::VECTOR_DEVICE, tsc::now().wrapping_add(timer_deadline));
    } else if timer_period != 0 {
        apic::start_timer(private, abi::VECTOR_DEVICE, timer_period);
    }
}

/// Undoes what a block has started that goes on by itself.
fn clean_up(private: &'static Private, block: &Block) {
    if block.calls.timer_period != 0 || block.calls.timer_deadline != 0 {
        apic::stop_timer(private);
    }
}

/// Announces an activity to the other processors. The command page and their words are as they should be.
fn announce(private: &'static Private, processors: usize) -> u32 {
    let activity = ACTIVITY.load(Ordering::Relaxed).wrapping_add(1) & !(1 << 31);
    // Release pairs with `sleep_until_changed`.
    ACTIVITY.store(activity, Ordering::Release);
    wake(private, processors);
    activity
}

/// Announces a block to processors whose words say that they are not in their state yet.
fn begin(private: &'static Private, processors: usize) -> u32 {
    for index in 0..processors {
        let words = UserWords::of(index);
        words.stop().store(0, Ordering::Relaxed);
        words.ready().store(NOT_IN_STATE, Ordering::Relaxed);
        words.asked().store(0, Ordering::Relaxed);
    }
    announce(private, processors)
}

fn wake(private: &'static Private, processors: usize) {
    if processors > 1 {
        apic::send(private, icr::fixed(VECTOR_WAKE, To::AllButSelf), To::AllButSelf);
    }
}

/// Tells the other processors to leave their state, and waits until they have.
fn dismiss(private: &'static Private, processors: usize, activity: u32, deadline: u64) -> Result<(), Mask> {
    for other in 1..processors {
        UserWords::of(other).stop().store(1, Ordering::Release);
    }
    wake(private, processors);
    let has_left = |other: usize| FINISHED[other].load(Ordering::Acquire) == activity;
    if tsc::poll_until(tsc::now().wrapping_add(deadline), || (1..processors).all(has_left)) {
        Ok(())
    } else {
        Err(others(0, processors, |other| !has_left(other)))
    }
}

fn run_block(private: &'static Private, processors: usize, block: &Block) -> Report {
    let deadline = block.calls.deadline;
    let activity = begin(private, processors);
    let leader = block.initiator;
    let is_idle = |other: usize| other != leader && other != private.index && !is_ready(other, 0);
    let until = tsc::now().wrapping_add(deadline);
    let all_are_ready = tsc::poll_until(until, || !(0..processors).any(is_idle));
    // Only now: the wake-up went out in the mode that the others were in.
    prepare(private, block);
    let report = if leader != private.index {
        // Whoever calls sees, and says, who is not ready.
        state::stay(private, block.route, block.destination, block.state);
        mem::last_report()
    } else if all_are_ready {
        run_rounds(private, processors, block)
    } else {
        not_ready(private.index, processors, 0)
    };
    if report.status != Status::Done as u32 {
        // The others stay where they are: the VMM looks at them there.
        return report;
    }
    match dismiss(private, processors, activity, deadline) {
        Ok(()) => count_idle_entries(processors, report),
        Err(missing) => Report { status: Status::NotResponding as u32, missing, ..report },
    }
}

/// Makes a block's calls on another processor than vCPU 0, and lets that one go on.
fn lead_block(private: &'static Private, block: &Block) {
    let processors = (mem::boot().vcpus as usize).clamp(1, MAX_VCPUS);
    mem::report(run_rounds(private, processors, block));
    // Release: the report comes first. vCPU 0 leaves its state for it.
    UserWords::of(0).stop().store(1, Ordering::Release);
    wake(private, processors);
}

/// Stays in the target state with all others, for the host to call, until the host says stop.
fn serve_host(private: &'static Private, processors: usize, block: &Block) -> Report {
    let deadline = block.calls.deadline;
    fault::set(block.fault);
    if block.calls.last_generation != 0 {
        GENERATIONS.restart_after(Generation::from_stored(block.calls.last_generation));
    }
    let activity = begin(private, processors);
    if !wait_ready(private.index, processors, 0, deadline) {
        return not_ready(private.index, processors, 0);
    }
    prepare(private, block);
    state::stay(private, block.route, block.destination, block.state);
    clean_up(private, block);
    if block.calls.observe != 0 {
        // As in `follow`.
        port::write(abi::PORT_YIELD, 0);
    }
    fault::set(Fault::Nothing);
    match dismiss(private, processors, activity, deadline) {
        Ok(()) => count_idle_entries(processors, report(Status::Done)),
        Err(missing) => Report { missing, ..report(Status::NotResponding) },
    }
}

/// Does random things for a while.
fn rave(private: &'static Private, block: &Block) {
    if let Some(x2apic) = block.x2apic() {
        apic::set_mode(private, x2apic);
    }
    let until = tsc::now().wrapping_add(block.settle);
    hostile::spray(private, block.route, block.calls.seed, until);
}

/// Adds up the interrupts that had nothing to do. Every processor has finished the block.
fn count_idle_entries(processors: usize, mut report: Report) -> Report {
    for index in 0..processors {
        // SAFETY: every processor is up, and so has initialised its page.
        let private = unsafe { processor::of(index) };
        report.duplicate += private.duplicate.load(Ordering::Relaxed);
        report.late += private.late.load(Ordering::Relaxed);
    }
    report
}

/// The activity whose initiators may begin.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Waits until everybody is ready for the calls of `activity`. vCPU 0 says so, or that there are none.
fn wait_for_start(activity: u32) {
    // Acquire pairs with the Release in `run_calls`.
    tsc::poll_until(u64::MAX, || STARTED.load(Ordering::Acquire) == activity);
}

/// Lets the initiators make their calls, and waits until all have.
fn run_calls(private: &'static Private, processors: usize, block: &Block) -> Report {
    // Not that of the calls, which may be short on purpose.
    let deadline = block.calls.deadline.max(mem::boot().deadline);
    fault::set(block.fault);
    if block.calls.last_generation != 0 {
        GENERATIONS.restart_after(Generation::from_stored(block.calls.last_generation));
    }
    calls::MADE.store(0, Ordering::Relaxed);
    calls::FINISHED.store(0, Ordering::Relaxed);
    let activity = begin(private, processors);
    if !wait_ready(private.index, processors, 0, deadline) {
        return not_ready(private.index, processors, 0);
    }
    prepare(private, block);
    // Release pairs with `wait_for_start`.
    STARTED.store(activity, Ordering::Release);
    if block.has_initiator(private.index) {
        calls::initiate(private, block, processors);
    }
    let initiators = mask::indices(&block.calls.initiators).filter(|&index| index < processors).count() as u32;
    // The VMM's watchdog sees to an end.
    while calls::FINISHED.load(Ordering::Acquire) < initiators {
        private.user_page().handled().store(calls::MADE.load(Ordering::Relaxed), Ordering::Relaxed);
        tsc::poll_until(tsc::now(), || calls::FINISHED.load(Ordering::Acquire) == initiators);
    }
    clean_up(private, block);
    fault::set(Fault::Nothing);
    let rounds = calls::MADE.load(Ordering::Relaxed);
    match dismiss(private, processors, activity, deadline) {
        Ok(()) => count_idle_entries(processors, Report { rounds, ..report(Status::Done) }),
        Err(missing) => Report { rounds, missing, ..report(Status::NotResponding) },
    }
}

fn is_ready(processor: usize, round: u32) -> bool {
    UserWords::of(processor).ready().load(Ordering::Acquire) == round
}

/// Waits until every processor but `me` is in its state, ready for `round`.
fn wait_ready(me: usize, processors: usize, round: u32, deadline: u64) -> bool {
    let until = tsc::now().wrapping_add(deadline);
    tsc::poll_until(until, || {
        (0..me).all(|other| is_ready(other, round)) && (me + 1..processors).all(|other| is_ready(other, round))
    })
}

fn not_ready(me: usize, processors: usize, round: u32) -> Report {
    let missing = others(me, processors, |other| !is_ready(other, round));
    Report { rounds: round, missing, ..report(Status::NotReady) }
}

fn run_rounds(private: &'static Private, processors: usize, block: &Block) -> Report {
    let command = &block.calls;
    let call = Call {
        route: block.route,
        destination: block.destination,
        worker: workers::function(block.worker, command.observe != 0),
        argument: block.argument as usize,
        participants: Participants::Everybody(processors),
        deadline: command.deadline,
        stepped: false,
        fault: Fault::Nothing,
    };
    let mut resent = 0;
    for round in 0..command.calls {
        if !wait_ready(private.index, processors, round, command.deadline) {
            return not_ready(private.index, processors, round);
        }
        tsc::wait(block.settle);
        match ipi::broadcast(private, &call, |_, _| ()) {
            Ok(done) => {
                resent += u32::from(done.resent);
                private.user_page().handled().store(round + 1, Ordering::Relaxed);
                let flags = sample_flags::INITIATOR | if done.resent { sample_flags::RESENT } else { 0 };
                private.record(
                    round,
                    Sample {
                        generation: done.generation.get(),
                        flags,
                        t0: done.t0,
                        t1: done.t1,
                        a: done.a,
                        w: done.w,
                        x: done.x,
                        t2: done.t2,
                        result: done.result as u64,
                    },
                );
            }
            Err(Failed::Aborted { generation, missing, resent: again }) => {
                return Report {
                    rounds: round,
                    generation: generation.get(),
                    resent: resent + u32::from(again),
                    missing,
                    ..report(Status::Aborted)
                };
            }
            // `lead` runs at IRQL 0 with interrupts on.
            Err(Failed::NotAllowedHere) => panic!("broadcast at IRQL {}", crate::irql::current()),
        }
    }
    Report { rounds: command.calls, resent, ..report(Status::Done) }
}

/// Exchanges time stamps with one processor. The others look at the command and go back to sleep.
fn exchange_clocks(private: &'static Private, processors: usize, command: &command::ClockExchange) -> Report {
    let partner = UserWords::of(command.partner as usize);
    partner.stop().store(0, Ordering::Relaxed);
    partner.ping().store(0, Ordering::Relaxed);
    partner.pong().store(0, Ordering::Relaxed);
    private.touch_ring();
    let activity = announce(private, processors);
    let until = tsc::now().wrapping_add(command.duration);
    let rounds = user::exchange(private, partner, until);
    match dismiss(private, processors, activity, command.deadline) {
        Ok(()) => Report { rounds, ..report(Status::Done) },
        Err(missing) => Report { rounds, missing, ..report(Status::NotResponding) },
    }
}
