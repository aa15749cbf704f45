//! Enumerations whose numbers cross the ABI.

/// Declares an enumeration whose numbers cross the ABI, with the check that a received number is one of them, and the
/// name that people read and type.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $value:literal $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant = $value),+ }

        impl $name {
            /// Every variant, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The variant that `value` stands for, or `None` for a number that the ABI does not know.
            pub const fn from_wire(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// The variant's name in output and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

pub(super) use wire_enum;

wire_enum! {
    /// What the VMM asks vCPU 0 to do.
    Operation {
        /// Run a block of rounds.
        Block = 1 "block",
        /// Measure the instruments: time-stamp reads and observed exits, on vCPU 0.
        Calibrate = 2 "calibrate",
        /// Exchange time stamps with one other vCPU.
        ClockExchange = 3 "clock-exchange",
        /// Let several vCPUs make calls of their own, and keep a tally.
        Calls = 4 "calls",
        /// All processors, vCPU 0 too, stay in the target state, where the host calls them, until vCPU 0 is told to stop.
        Serve = 5 "serve",
        /// Every processor does random things for a while. The machine is of no more use afterwards.
        Spray = 6 "spray",
        /// vCPU 0 tests what vCPU 1 does with INIT, SIPI, NMI and the like. The machine is of no more use afterwards.
        Processor = 7 "processor",
        /// Run a block of pings.
        Pings = 8 "pings",
        /// Do one thing again and again on vCPU 0, with a time stamp before it and one after it.
        Acts = 9 "acts",
    }
}

wire_enum! {
    /// What the guest does to get an interrupt to the targets: several routes of the VMM have it in common.
    GuestRoute {
        /// A write to the memory-mapped ICR.
        XApic = 1 "xapic",
        /// A write to the ICR's MSR.
        X2Apic = 2 "x2apic",
        /// No interrupt: the targets poll a cache line.
        Memory = 3 "memory",
        /// A write to the ICR with delivery mode NMI, in x2APIC mode where there is one.
        Nmi = 4 "nmi",
        /// An interrupt message that the VMM sends, asked for at the doorbell
        /// ([`PORT_MSI`](super::PORT_MSI)).
        Msi = 5 "msi",
        /// The host calls, and no processor does.
        Host = 6 "host",
        /// A hypercall of KVM's interface.
        KvmPv = 7 "kvm-pv",
        /// A hypercall of Hyper-V's interface, on a machine that has it.
        HyperV = 8 "hyperv",
    }
}

wire_enum! {
    /// How the targets are addressed. The last three are a ping's alone; a ping has no other but `unicast`.
    Destination {
        /// The shorthand that leaves out the sender.
        AllButSelf = 1 "all-but-self",
        /// The shorthand that includes the sender.
        All = 2 "all",
        /// One send for each target, by its APIC id.
        Unicast = 3 "unicast",
        /// One send for each cluster of local APICs that has a target, by their logical ids.
        Logical = 4 "logical",
        /// The sender itself, by shorthand.
        Itself = 5 "self",
        /// The sender itself, by the x2APIC's self-IPI register.
        SelfIpi = 6 "self-ipi",
        /// Every processor pings the next one, all at once.
        Mesh = 7 "mesh",
    }
}

wire_enum! {
    /// What a target does when the interrupt arrives.
    TargetState {
        /// A busy loop at CPL0.
        Spin = 1 "spin",
        /// A busy loop at CPL3.
        User = 2 "user",
        /// HLT.
        Halt = 3 "halt",
        /// A busy loop at CPL0 with IF clear: only an NMI gets through.
        Masked = 4 "masked",
        /// A busy loop at CPL3 whose thread is runnable and off its CPU: the VMM has another thread compete for it.
        Preempted = 5 "preempted",
        /// Out of the guest, in an exit that the VMM serves for a while ([`PORT_OUT`](super::PORT_OUT)).
        Out = 6 "out",
    }
}

wire_enum! {
    /// How participants of a broadcast call wait for each other.
    Wait {
        /// They poll. Where vCPUs share CPUs, one that has to wait for long gives its CPU away.
        Spin = 1 "spin",
        /// They leave the guest, and their threads sleep in the VMM until they are woken.
        Park = 2 "park",
    }
}

#[expect(clippy::derivable_impls, reason = "a wire_enum derives none")]
impl Default for Wait {
    fn default() -> Self {
        Self::Spin
    }
}

wire_enum! {
    /// The worker of a broadcast call.
    Worker {
        /// Returns at once: `argument + vcpu index`.
        Stamp = 1 "stamp",
        /// Busy for `argument` TSC cycles, then as [`Worker::Stamp`].
        Spin = 2 "spin",
        /// Executes UD2 on the last vCPU: what a faulting worker looks like.
        Fault = 3 "fault",
        /// Never returns on the last vCPU: what an overstaying worker looks like.
        Hang = 4 "hang",
        /// Never returns on vCPU 0.
        HangFirst = 5 "hang-first",
        /// Writes to memory that may be paged out, on the last vCPU.
        TouchPageable = 6 "touch-pageable",
        /// Sets IF on the last vCPU.
        EnableInterrupts = 7 "enable-interrupts",
        /// Lowers IRQL on the last vCPU.
        LowerIrql = 8 "lower-irql",
        /// Takes a lock of DISPATCH_LEVEL on the last vCPU.
        TakeLock = 9 "take-lock",
        /// Makes a broadcast call on the last vCPU.
        CallAgain = 10 "call-again",
        /// Looks at the contract while it runs, and keeps a tally.
        Verify = 11 "verify",
    }
}

wire_enum! {
    /// How an operation ended.
    Status {
        /// As asked.
        Done = 1 "done",
        /// A broadcast call was aborted: [`Report::missing`](super::Report::missing) names the vCPUs that never arrived.
        Aborted = 2 "call aborted",
        /// A vCPU did not get ready for the next round in time; `missing` names them.
        NotReady = 3 "target not ready",
        /// A vCPU did not start, or did not come back at the end of a block; `missing` names them.
        NotResponding = 4 "vCPU not responding",
        /// The guest does not know what it was asked.
        BadCommand = 5 "bad command",
    }
}

wire_enum! {
    /// The rule that was broken when the guest stopped with a bug check.
    Rule {
        /// An exception that nobody expected.
        Exception = 1 "exception",
        /// A Rust panic in the guest.
        Panic = 2 "guest panic",
        /// A worker ran past the call's deadline.
        WorkerOverstayed = 3 "worker overstayed its deadline",
        /// An interrupt on a vector that nobody uses.
        UnexpectedInterrupt = 4 "unexpected interrupt",
        /// Memory that may be paged out was touched at DISPATCH_LEVEL or above.
        PageableMemory = 5 "pageable memory touched at raised IRQL",
        /// A worker set IF.
        InterruptsEnabled = 6 "worker enabled interrupts",
        /// A worker lowered IRQL.
        IrqlLowered = 7 "worker lowered IRQL",
        /// A lock was taken above its IRQL.
        LockAboveItsLevel = 8 "lock taken above its IRQL",
        /// A worker made a broadcast call.
        NestedCall = 9 "worker made a broadcast call",
        /// A hypercall that sends has answered something else than that all its targets take the interrupt.
        HypercallRefused = 10 "hypercall refused",
    }
}

wire_enum! {
    /// Which processors each initiator of [`Operation::Calls`] calls.
    Set {
        /// All of them.
        Everybody = 1 "everybody",
        /// Those of [`Calls::members`](super::command::Calls::members).
        Mask = 2 "mask",
        /// Another random set for each call.
        Random = 3 "random",
        /// Those whose number is the initiator's, modulo the number of initiators: nobody shares one.
        Disjoint = 4 "disjoint",
        /// The initiator, and the two after it.
        Overlapping = 5 "overlapping",
        /// Nobody.
        Nobody = 6 "nobody",
        /// The initiator alone.
        Itself = 7 "itself",
    }
}

wire_enum! {
    /// What the guest is to do wrong, to see whether somebody notices.
    Fault {
        /// Nothing.
        Nothing = 0 "nothing",
        /// The first send of a call leaves out the last target.
        DropIpi = 1 "drop-ipi",
        /// The last target is interrupted once more while it works.
        DuplicateIpi = 2 "duplicate-ipi",
        /// The first send of a call goes to a processor that is not asked, instead of the last target.
        WrongTarget = 3 "wrong-target",
        /// The last vCPU runs the worker twice.
        WorkerTwice = 4 "worker-twice",
        /// The last vCPU returns another one's result.
        SwapResult = 5 "swap-result",
        /// The gate opens when the interrupt is sent.
        EarlyGate = 6 "early-gate",
        /// The first INIT of a processor test is not sent.
        LostInit = 7 "lost-init",
        /// The first SIPI of a processor test is not sent.
        LostSipi = 8 "lost-sipi",
        /// A call begins with a hypercall that KVM refuses.
        RefusedHypercall = 9 "refused-hypercall",
    }
}

wire_enum! {
    /// The steps of a stepped call, each named by what has just been done. The first six are a target's, in the order of
    /// [`rendezvous::Step`](crate::rendezvous::Step).
    CallStep {
        /// The interrupt is taken.
        Entered = 0 "target: interrupt taken",
        /// The request is claimed.
        Claimed = 1 "target: request claimed",
        /// The arrival is announced.
        Arrived = 2 "target: arrived",
        /// The gate is open.
        Released = 3 "target: released",
        /// The worker has returned.
        Worked = 4 "target: worker returned",
        /// The done bit is set.
        Completed = 5 "target: done",
        /// The initiator is about to send.
        Sending = 6 "initiator: about to send",
        /// The initiator has sent.
        Sent = 7 "initiator: sent",
        /// The initiator runs the worker.
        Working = 8 "initiator: working",
        /// Everybody is done, and the initiator has not let them go yet.
        Finished = 9 "initiator: everybody done",
    }
}
