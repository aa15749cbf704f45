//! A vCPU's thread, KVM_RUN, and senders, over a copy of the inbox.

/// A mistake in what is around the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The signal goes out before `immediate_exit` is set.
    SignalFirst,
    /// `immediate_exit` is cleared after the look into the inbox.
    ClearedAfterLook,
    /// `immediate_exit` is not used.
    SignalOnly,
}

/// What a sender leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deposit {
    Vector(u8),
    Nmi,
}

/// The model of a vCPU over `$copy`, a module with the inbox's modules.
macro_rules! vcpu {
    ($copy:ident) => {
        use crate::atomics::{AtomicU32, Ordering};
        use crate::machine::{Deposit, Fault};
        use loom::sync::Arc;
        use loom::thread;
        use $copy::inbox::Inbox;
        use $copy::presence::Place;

        #[derive(Default)]
        struct Vcpu {
            inbox: Inbox,
            immediate_exit: AtomicU32,
            signal: AtomicU32,
        }

        impl Vcpu {
            fn send(&self, left: Deposit, fault: Fault) {
                let place = match left {
                    Deposit::Vector(vector) => self.inbox.put_vector(vector),
                    Deposit::Nmi => self.inbox.put_nmi(),
                };
                // A sleeper looks by itself here, as often as it likes.
                if place == Some(Place::Guest) {
                    self.interrupt(fault);
                }
            }

            fn interrupt(&self, fault: Fault) {
                let prevent = || self.immediate_exit.store(1, Ordering::SeqCst);
                if fault != Fault::SignalFirst && fault != Fault::SignalOnly {
                    prevent();
                }
                // A read-modify-write, as all that is done to this word: a plain store the model checker may put before
                // those that have been.
                self.signal.swap(1, Ordering::SeqCst);
                if fault == Fault::SignalFirst {
                    prevent();
                }
            }

            /// KVM_RUN, with a guest that never exits by itself.
            fn kvm_run(&self, fault: Fault) {
                // A signal that has come by now has run its handler, and is gone.
                self.signal.swap(0, Ordering::SeqCst);
                if fault == Fault::ClearedAfterLook {
                    self.immediate_exit.store(0, Ordering::SeqCst);
                }
                if self.immediate_exit.load(Ordering::SeqCst) != 0 {
                    return;
                }
                while self.signal.swap(0, Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
            }

            fn sleep(&self) {
                while !self.inbox.presence().is_kicked() {
                    thread::yield_now();
                }
            }

            /// The thread, until it has had `expected` things.
            fn run(&self, expected: usize, asleep: bool, fault: Fault) {
                let mut had = 0;
                loop {
                    if fault != Fault::ClearedAfterLook {
                        self.immediate_exit.store(0, Ordering::SeqCst);
                    }
                    while let Some(vector) = self.inbox.irr().highest() {
                        assert!(self.inbox.irr().take(vector), "nobody else takes it");
                        had += 1;
                    }
                    had += usize::from(self.inbox.take_events().nmis);
                    if had == expected {
                        return;
                    }
                    let place = if asleep { Place::Parked } else { Place::Guest };
                    self.inbox.presence().go(
                        place,
                        &mut (),
                        |()| self.inbox.irr().highest().is_none() && !self.inbox.has_events(),
                        |()| if asleep { self.sleep() } else { self.kvm_run(fault) },
                    );
                }
            }
        }

        /// The addressing of a local APIC that software has enabled.
        const ENABLED: u64 = 1;

        /// A vCPU is reset and enabled again, while a sender that takes it for enabled sends. Whatever was sent to what is enabled is there
        /// in the end.
        pub(crate) fn check_enable() {
            loom::model(|| {
                let inbox = Arc::new(Inbox::new());
                let sender = {
                    let inbox = inbox.clone();
                    thread::spawn(move || {
                        let is_enabled = inbox.published() == ENABLED;
                        if is_enabled {
                            inbox.put_vector(0xE1);
                        }
                        is_enabled
                    })
                };
                inbox.reset(0);
                inbox.enable(ENABLED);
                let was_sent = sender.join().unwrap();
                assert_eq!(inbox.irr().contains(0xE1), was_sent, "an interrupt is lost");
            });
        }

        /// A sender leaves an NMI, then an interrupt; the vCPU's thread takes events, and then gives the interrupt that it finds, if
        /// it `looks_again` whether events have come (`kipi_apic::entry`).
        pub(crate) fn check_order(looks_again: bool) {
            loom::model(move || {
                let inbox = Arc::new(Inbox::new());
                let sender = {
                    let inbox = inbox.clone();
                    thread::spawn(move || {
                        inbox.put_nmi();
                        inbox.put_vector(0xE1);
                    })
                };
                let nmis = inbox.take_events().nmis;
                if let Some(vector) = inbox.irr().highest()
                    && !(looks_again && inbox.has_events())
                {
                    assert!(inbox.irr().take(vector), "nobody else takes it");
                    assert_eq!(nmis, 1, "an interrupt overtakes an NMI");
                }
                sender.join().unwrap();
            });
        }

        /// A sender leaves an interrupt for a vCPU whose TPR holds it back until the guest lowers that, without an exit. A thread that
        /// has found such an interrupt before it enters the guest is fetched a little later, by a clock. It must not go in, if it
        /// `looks_for_held` once more, where one has come since (`kipi_apic::entry`, `Wait::LowerTpr`).
        pub(crate) fn check_held(looks_for_held: bool) {
            loom::model(move || {
                let vcpu = Arc::new(Vcpu::default());
                let sender = {
                    let vcpu = vcpu.clone();
                    thread::spawn(move || vcpu.send(Deposit::Vector(0x51), Fault::None))
                };
                let mut is_lowered = false;
                loop {
                    vcpu.immediate_exit.store(0, Ordering::SeqCst);
                    let is_held = vcpu.inbox.irr().highest().is_some();
                    if is_held && is_lowered {
                        break;
                    }
                    vcpu.inbox.presence().go(
                        Place::Guest,
                        &mut is_lowered,
                        |is_lowered| {
                            let has_come = vcpu.inbox.irr().highest().is_some();
                            !(has_come && (*is_lowered || looks_for_held && !is_held))
                        },
                        |is_lowered| {
                            *is_lowered = true;
                            if !is_held {
                                vcpu.kvm_run(Fault::None);
                            }
                        },
                    );
                }
                sender.join().unwrap();
            });
        }

        /// A sender for each of `left`, and a vCPU's thread, which is in the guest between them, or asleep.
        pub(crate) fn check(fault: Fault, asleep: bool, left: &'static [Deposit]) {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(3).max(3));
            builder.max_branches = 20_000;
            builder.check(move || {
                let vcpu = Arc::new(Vcpu::default());
                let senders: Vec<_> = left
                    .iter()
                    .map(|&left| {
                        let vcpu = vcpu.clone();
                        thread::spawn(move || vcpu.send(left, fault))
                    })
                    .collect();
                vcpu.run(left.len(), asleep, fault);
                for sender in senders {
                    sender.join().unwrap();
                }
            });
        }
    };
}

pub(crate) use vcpu;
