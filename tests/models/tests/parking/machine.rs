//! Words that threads sleep for, an initiator and its targets, over a copy of the algorithm.

/// A mistake below the algorithm, or in its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// To look at the word and to fall asleep are two steps.
    LooksBeforeItSleeps,
    /// The gate is opened, and nobody is woken.
    NobodyIsWoken,
}

/// The model of calls over `$copy`, a module with the algorithm.
macro_rules! parking {
    ($copy:ident) => {
        use crate::atomics::{AtomicU32, Ordering};
        use crate::machine::Fault;
        use loom::cell::UnsafeCell;
        use loom::sync::{Arc, Mutex};
        use loom::thread;
        use $copy::{Decision, Delivery, Generation, Packet, Sleeper, Slot, Work};

        /// A futex: whoever changes a word, and then wakes, has the lock before a sleeper's look, or after it, when it counts as asleep.
        #[derive(Default)]
        struct Bed {
            lock: Mutex<()>,
            wakes: AtomicU32,
        }

        struct Asleep<'a>(&'a Bed, Fault);

        impl Sleeper for Asleep<'_> {
            fn sleep(&self, word: &AtomicU32, value: u32) {
                let Self(bed, fault) = self;
                let looked = word.load(Ordering::Relaxed) == value;
                let (is_so, wakes) = {
                    let _guard = bed.lock.lock().unwrap();
                    let looks = || word.load(Ordering::Relaxed) == value;
                    let is_so = if *fault == Fault::LooksBeforeItSleeps { looked } else { looks() };
                    (is_so, bed.wakes.load(Ordering::Relaxed))
                };
                let mut turns = 0;
                while is_so && bed.wakes.load(Ordering::Relaxed) == wakes {
                    // To look in vain changes nothing: one such turn stands for more.
                    turns += 1;
                    if turns > 1 {
                        loom::skip_branch();
                    }
                    thread::yield_now();
                }
            }

            fn wake(&self, _: &AtomicU32) {
                let _guard = self.0.lock.lock().unwrap();
                self.0.wakes.fetch_add(1, Ordering::Relaxed);
            }

            fn is_late(&self, _: u64) -> bool {
                false
            }
        }

        struct Target {
            slot: Slot,
            /// Written before it arrives, read by every worker.
            ready: UnsafeCell<u32>,
            /// Written by its worker, read by the initiator.
            output: UnsafeCell<u32>,
        }

        struct Machine {
            packet: Packet,
            gate: Bed,
            initiator: Bed,
            targets: Vec<Target>,
            fault: Fault,
        }

        impl Machine {
            fn read(cell: &UnsafeCell<u32>) -> u32 {
                // SAFETY: the model checker fails if somebody else may write it meanwhile.
                cell.with(|value| unsafe { *value })
            }

            fn write(cell: &UnsafeCell<u32>, new: u32) {
                // SAFETY: the model checker fails if somebody else may access it meanwhile.
                cell.with_mut(|value| unsafe { *value = new });
            }

            /// A target's side of the call `generation`, from its interrupt on.
            fn serve(&self, number: usize, generation: Generation) {
                let target = &self.targets[number];
                let (gate, initiator) = (Asleep(&self.gate, self.fault), Asleep(&self.initiator, self.fault));
                assert_eq!(target.slot.claim(Delivery::Interrupt), Some(generation));
                Self::write(&target.ready, generation.get());
                target.slot.arrive(generation);
                self.packet.arrivals().come_and_wake(generation, &initiator);
                assert!(self.packet.sleep_until_decided(generation, &gate));
                assert_eq!(self.packet.decision(generation), Decision::Go);
                for other in &self.targets {
                    assert_eq!(Self::read(&other.ready), generation.get(), "a target had not arrived");
                }
                Self::write(&target.output, generation.get());
                target.slot.complete(generation, 0);
                self.packet.ends().come_and_wake(generation, &initiator);
                self.packet.sleep_until_closed(generation, &gate);
            }

            /// The initiator's side, with an interrupt that is a new thread.
            fn call(machine: &Arc<Self>, generation: Generation) {
                let (gate, initiator) =
                    (Asleep(&machine.gate, machine.fault), Asleep(&machine.initiator, machine.fault));
                let targets = u32::try_from(machine.targets.len()).unwrap();
                machine.packet.count_targets(generation, targets);
                machine.packet.publish(generation, Work { worker: 0, argument: 0, participants: targets, deadline: 0 });
                let interrupted: Vec<_> = (0..machine.targets.len())
                    .map(|number| {
                        machine.targets[number].slot.request_again(generation, Delivery::Interrupt);
                        let machine = machine.clone();
                        thread::spawn(move || machine.serve(number, generation))
                    })
                    .collect();
                assert!(machine.packet.arrivals().sleep_until_complete(generation, 0, &initiator));
                for target in &machine.targets {
                    assert_eq!(Self::read(&target.ready), generation.get(), "a target had not arrived");
                }
                assert!(machine.packet.go(generation));
                if machine.fault != Fault::NobodyIsWoken {
                    gate.wake(machine.packet.gate());
                }
                assert!(machine.packet.ends().sleep_until_complete(generation, 0, &initiator));
                for target in &machine.targets {
                    assert_eq!(Self::read(&target.output), generation.get(), "a worker had not ended");
                }
                machine.packet.close(generation);
                gate.wake(machine.packet.gate());
                for target in interrupted {
                    target.join().unwrap();
                }
            }
        }

        /// An initiator's calls, one after the other, of so many targets.
        pub(crate) fn check(fault: Fault, targets: usize, calls: u32) {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = builder.preemption_bound.max(Some(2));
            builder.check(move || {
                let target = |_| Target { slot: Slot::new(), ready: UnsafeCell::new(0), output: UnsafeCell::new(0) };
                let machine = Arc::new(Machine {
                    packet: Packet::new(),
                    gate: Bed::default(),
                    initiator: Bed::default(),
                    targets: (0..targets).map(target).collect(),
                    fault,
                });
                for call in 1..=calls {
                    Machine::call(&machine, Generation::from_stored(4 * call));
                }
            });
        }
    };
}

pub(crate) use parking;
