//! The processor tests: what they ask, what vCPU 1 does meanwhile, and what they may find.

use super::numbers::wire_enum;

wire_enum! {
    /// What a processor test asks. vCPU 0 asks it, of vCPU 1.
    Question {
        /// INIT and SIPI start it, whatever it does.
        Start = 1 "start",
        /// INIT leaves the registers as SDM Vol. 3A table 11-1 says.
        State = 2 "state",
        /// An NMI that was sent before INIT does not come after it.
        NmiBeforeInit = 3 "nmi-before-init",
        /// Nor does one that was pending behind another, whose handler INIT ends.
        NmiBehindNmi = 4 "nmi-behind-nmi",
        /// Of two NMIs, with none in service, both are taken.
        NmiPair = 5 "nmi-pair",
        /// Of those that come while one is in service, one is taken.
        NmisInService = 6 "nmis-in-service",
        /// HLT in an NMI's handler is not ended by the next NMI.
        HaltInNmi = 7 "hlt-in-nmi",
        /// An NMI is taken before an interrupt that was sent after it.
        NmiFirst = 8 "nmi-first",
        /// An NMI in wait-for-SIPI is taken after the start, once.
        NmiBeforeSipi = 9 "nmi-before-sipi",
        /// Of two SIPIs, the first starts the processor.
        TwoSipis = 10 "two-sipis",
        /// A processor that runs, or is halted, ignores SIPI.
        SipiWhileRunning = 11 "sipi-while-running",
        /// A local APIC that is switched off is not there; on again, it has its registers.
        BaseOffAndOn = 12 "base-off-and-on",
        /// A message to one that is switched off is lost, though nothing else has left the guest meanwhile.
        BaseBrieflyOff = 13 "base-briefly-off",
        /// In x2APIC mode it is reached by its new logical id at once.
        BaseToX2Apic = 14 "base-to-x2apic",
        /// Steps and values of IA32_APIC_BASE that raise #GP change nothing.
        BaseRefused = 15 "base-refused",
        /// A TSC that IA32_TSC moves past the deadline interrupts at once.
        TscForward = 16 "tsc-forward",
        /// One that it moves back does not interrupt before it reaches the deadline.
        TscBack = 17 "tsc-back",
        /// The same, by IA32_TSC_ADJUST.
        TscAdjustForward = 18 "tsc-adjust-forward",
        /// The same, by IA32_TSC_ADJUST.
        TscAdjustBack = 19 "tsc-adjust-back",
        /// Stores of one and two bytes to the ICR send nothing.
        NarrowStores = 20 "narrow-stores",
        /// Of two destinations, the one with the lower TPR takes a message of lowest priority.
        LowestPriority = 21 "lowest-priority",
        /// A message to one cluster is none to another.
        OtherCluster = 22 "other-cluster",
    }
}

wire_enum! {
    /// What vCPU 1 does when INIT comes: each has another exit under way, or none.
    Job {
        /// Counts.
        Spin = 1 "spin",
        /// RDMSR of a register of the local APIC in x2APIC mode.
        ReadMsr = 2 "rdmsr",
        /// WRMSR to such a register: the TPR.
        WriteMsr = 3 "wrmsr",
        /// RDMSR of a register that cannot be read, so that #GP is pending behind the exit.
        FaultingMsr = 4 "rdmsr-gp",
        /// A read of a register of the local APIC's page.
        ReadPage = 5 "mmio-read",
        /// A write to such a register: the TPR.
        WritePage = 6 "mmio-write",
        /// A read and a write of such a register, by one instruction.
        ModifyPage = 7 "mmio-modify",
        /// REP MOVSD out of the local APIC's page: an exit for each double word.
        ReadPageString = 8 "mmio-string",
        /// OUT to a port.
        Out = 9 "out",
        /// REP OUTSB to a port: an exit for each byte.
        OutString = 10 "rep-outs",
        /// HLT with IF set.
        Halt = 11 "hlt",
        /// HLT with IF clear.
        HaltMasked = 12 "hlt-masked",
        /// MOV to CR8, up and down.
        TaskPriority = 13 "cr8",
        /// RDMSR and WRMSR of IA32_APIC_BASE, with the value that it has.
        ApicBase = 14 "apic-base",
        /// WRMSR of IA32_TSC_ADJUST with the value that it has; #GP where there is none.
        TscAdjust = 15 "tsc-adjust",
        /// Interrupts itself with IF clear, then sets IF.
        Window = 16 "interrupt-window",
        /// Sends itself INIT.
        InitItself = 17 "init-itself",
        /// Everything that INIT has to reset holds something else.
        Garbage = 18 "garbage",
        /// What vCPU 0 asks it for, one access after the other.
        Puppet = 19 "puppet",
    }
}

wire_enum! {
    /// What a processor test compares.
    #[allow(missing_docs, reason = "each has a text that says it")]
    Observation {
        /// INIT did something.
        Resets = 1 "resets of vCPU 1 by INIT",
        /// SIPI did something, after INIT.
        Starts = 2 "starts of vCPU 1 by SIPI after INIT",
        /// Starts in all.
        StartCount = 3 "starts of vCPU 1 so far",
        /// The processor got from the real-mode code to its job, or from one phase of it to the next.
        Progress = 4 "steps of vCPU 1's program",
        /// The first instruction behind a SIPI is at offset zero of the page.
        Offset = 5 "starts behind the page's first instruction",
        /// Instructions of the old program that ran after INIT.
        OldProgram = 6 "instructions of the old program after INIT",
        RealModeNmis = 7 "NMIs after the start",
        NmisTaken = 8 "NMIs taken",
        NmiEndedHalt = 9 "ends of HLT by a blocked NMI",
        InterruptBeforeNmi = 10 "interrupts that began before an earlier NMI was taken",
        InterruptsTaken = 11 "interrupts taken",
        Faults = 12 "#GP of an access that has to work",
        Refusals = 13 "#GP of a write that has to be refused",
        ApicFeature = 14 "CPUID.01H:EDX[9]",
        AbsentPage = 15 "a read of the page without a local APIC",
        /// A register in real mode, right after the start.
        Eax = 16 "EAX after the start",
        Ecx = 17 "ECX after the start",
        Edx = 18 "EDX after the start",
        Ebx = 19 "EBX after the start",
        Esp = 20 "ESP after the start",
        Ebp = 21 "EBP after the start",
        Esi = 22 "ESI after the start",
        Edi = 23 "EDI after the start",
        Eflags = 24 "EFLAGS after the start",
        Cs = 25 "CS after the start",
        Ds = 26 "DS after the start",
        Es = 27 "ES after the start",
        Ss = 28 "SS after the start",
        Fs = 29 "FS after the start",
        Gs = 30 "GS after the start",
        Cr0 = 31 "CR0 after the start",
        Cr2 = 32 "CR2 after the start",
        Cr3 = 33 "CR3 after the start",
        Cr4 = 34 "CR4 after the start",
        Dr0 = 35 "DR0 after the start",
        Dr1 = 36 "DR1 after the start",
        Dr2 = 37 "DR2 after the start",
        Dr3 = 38 "DR3 after the start",
        Dr6 = 39 "DR6 after the start",
        Dr7 = 40 "DR7 after the start",
        Efer = 41 "IA32_EFER after the start",
        IdtrLimit = 42 "IDTR's limit after the start, in bits 31:16",
        IdtrBase = 43 "IDTR's base after the start",
        GdtrLimit = 44 "GDTR's limit after the start, in bits 31:16",
        GdtrBase = 45 "GDTR's base after the start",
        Pat = 46 "IA32_PAT after the start",
        Star = 47 "IA32_STAR after the start",
        TscBack = 48 "the TSC's way back by INIT",
        ApicBase = 49 "IA32_APIC_BASE after the start",
        SpuriousVector = 50 "SVR after the start",
        TaskPriority = 51 "TPR after the start",
        LvtTimer = 52 "the LVT's timer entry after the start",
        LvtLint0 = 53 "the LVT's LINT0 entry after the start",
        LogicalDestination = 54 "LDR after the start",
        DestinationFormat = 55 "DFR after the start",
        KeptTaskPriority = 56 "TPR after off and on",
        KeptLvtLint0 = 57 "the LVT's LINT0 entry after off and on",
        KeptSpuriousVector = 58 "SVR after off and on",
        KeptApicBase = 59 "IA32_APIC_BASE after a refused write",
        InterruptsWhileOff = 60 "interrupts taken, but for one sent to a local APIC that was off",
        X2ApicLogicalId = 61 "LDR in x2APIC mode",
        EarlyCycles = 62 "TSC cycles from the timer's interrupt to its deadline",
        ArmedDeadline = 63 "the deadline that is armed",
        InTime = 64 "rounds in which the TSC was moved back before the deadline",
        InterruptsOfIdle = 65 "interrupts of the vCPU whose TPR is low",
        InterruptsOfBusy = 66 "interrupts of the vCPU whose TPR is high",
    }
}
