//! INIT and SIPI meet a vCPU that has left the guest by any kind of exit: it has to start as if the exit's instruction had never
//! been. And a machine that is saved goes on in another. On a host without KVM, or one that keeps the MSRs to itself, there is
//! nothing to test, which is said.

use kipi_apic::ipi::{Delivery, Destination, Ipi};
use kipi_apic::processor::Activity;
use kipi_kvm_apic::{Builder, Ended, Error, Exit, Kick, Machine, Operation, Request, Signal, Vcpu};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VmFd};
use std::arch::global_asm;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Guest memory, from address 0 on. The local APIC's page is moved behind it.
const MEMORY: usize = 0xE000;

/// The page of the processor's code, and so the SIPI's vector.
const PAGE: u8 = 8;
/// What the processor saves at its start: EAX, EBX, ECX, EDX, ESI, EDI, EBP, ESP, EFLAGS, CS.
const SAVED: u64 = 0x600;
/// How often it has started, what it is to do then, and how often it has done so.
const STARTS: GuestAddress = GuestAddress(0x500);
const TASK: GuestAddress = GuestAddress(0x504);
const DONE: GuestAddress = GuestAddress(0x508);
/// #GP's vector of the real-mode table.
const IVT_GP: GuestAddress = GuestAddress(13 * 4);

unsafe extern "C" {
    static ap_code: u8;
    static ap_fault: u8;
    static ap_interrupt: u8;
    static ap_code_end: u8;
}

global_asm!(
    ".pushsection .rodata",
    ".code16",
    "ap_code:",
    "mov [0x600], eax",
    "mov [0x604], ebx",
    "mov [0x608], ecx",
    "mov [0x60C], edx",
    "mov [0x610], esi",
    "mov [0x614], edi",
    "mov [0x618], ebp",
    "mov [0x61C], esp",
    "mov sp, 0x7000",
    "pushfd",
    "pop eax",
    "mov [0x620], eax",
    "xor eax, eax",
    "mov ax, cs",
    "mov [0x624], eax",
    // Garbage that the next start must not see.
    "mov ebx, 0x0BADBAD1",
    "mov esi, 0x100",
    "mov edi, 0x2000",
    "mov ebp, 0x0BADBAD4",
    "mov dword ptr [0x508], 0",
    "inc dword ptr [0x500]",
    "mov ax, [0x504]",
    "cmp ax, 0",
    "je 20f",
    "cmp ax, 1",
    "je 21f",
    "cmp ax, 2",
    "je 22f",
    "cmp ax, 3",
    "je 23f",
    "cmp ax, 4",
    "je 24f",
    "cmp ax, 5",
    "je 25f",
    "cmp ax, 6",
    "je 26f",
    "cmp ax, 7",
    "je 27f",
    "cmp ax, 8",
    "je 28f",
    "cmp ax, 9",
    "je 29f",
    "cmp ax, 10",
    "je 30f",
    "cmp ax, 11",
    "je 31f",
    "cmp ax, 12",
    "je 32f",
    "cmp ax, 14",
    "je 34f",
    "cmp ax, 15",
    "je 35f",
    // 13: nothing.
    "40: inc dword ptr [0x508]",
    "jmp 40b",
    // 0: RDMSR of the local APIC's id, in x2APIC mode.
    "20: call 90f",
    "41: mov ecx, 0x802",
    "rdmsr",
    "inc dword ptr [0x508]",
    "jmp 41b",
    // 1: WRMSR of the TPR.
    "21: call 90f",
    "42: mov ecx, 0x808",
    "xor edx, edx",
    "mov eax, 0x10",
    "wrmsr",
    "inc dword ptr [0x508]",
    "jmp 42b",
    // 2: RDMSR that faults.
    "22: call 90f",
    "43: mov ecx, 0x83F",
    "rdmsr",
    "inc dword ptr [0x508]",
    "jmp 43b",
    // 3, 4: ports.
    "23: mov dx, 0x3F8",
    "44: out dx, al",
    "inc dword ptr [0x508]",
    "jmp 44b",
    "24: mov dx, 0x3F8",
    "45: in eax, dx",
    "inc dword ptr [0x508]",
    "jmp 45b",
    // 5, 6: strings to and from ports.
    "25: mov dx, 0x3F8",
    "46: mov cx, 0x40",
    "mov si, 0x2000",
    "rep outsb",
    "inc dword ptr [0x508]",
    "jmp 46b",
    "26: mov dx, 0x3F8",
    "47: mov cx, 0x40",
    "mov di, 0x2000",
    "rep insb",
    "inc dword ptr [0x508]",
    "jmp 47b",
    // 7, 8: the local APIC's page, moved below 64 KiB.
    "27: call 91f",
    "48: mov eax, [0xE020]",
    "inc dword ptr [0x508]",
    "jmp 48b",
    "28: call 91f",
    "mov eax, 0x10",
    "49: mov [0xE080], eax",
    "inc dword ptr [0x508]",
    "jmp 49b",
    // 9: HLT, for ever.
    "29: inc dword ptr [0x508]",
    "cli",
    "50: hlt",
    "jmp 50b",
    // 10: IA32_APIC_BASE as it is.
    "30: mov ecx, 0x1B",
    "51: rdmsr",
    "wrmsr",
    "inc dword ptr [0x508]",
    "jmp 51b",
    // 11: IA32_TSC_ADJUST, zero or not there.
    "31: mov ecx, 0x3B",
    "xor eax, eax",
    "xor edx, edx",
    "52: wrmsr",
    "inc dword ptr [0x508]",
    "jmp 52b",
    // 12: INIT to itself, in x2APIC mode: nothing comes after it.
    "32: call 90f",
    "mov ecx, 0x802",
    "rdmsr",
    "mov edx, eax",
    "mov ecx, 0x830",
    "mov eax, 0x4500",
    "inc dword ptr [0x508]",
    "wrmsr",
    "mov dword ptr [0x50C], 1",
    "53: jmp 53b",
    // 14: RDMSR that faults, with interrupts, whose handler counts.
    "34: call 90f",
    "mov ecx, 0x80F",
    "xor edx, edx",
    "mov eax, 0x1FF",
    "wrmsr",
    "sti",
    "54: mov ecx, 0x83F",
    "rdmsr",
    "inc dword ptr [0x508]",
    "jmp 54b",
    // 15: a read of the local APIC's page by MOVS, whose write then lies beyond the segment, with the same.
    "35: call 91f",
    "mov eax, 0x1FF",
    "mov [0xE0F0], eax",
    "sti",
    "55: mov si, 0xE020",
    "mov di, 0xFFFE",
    "movsd",
    "inc dword ptr [0x508]",
    "jmp 55b",
    // To x2APIC mode.
    "90: mov ecx, 0x1B",
    "rdmsr",
    "or eax, 0xC00",
    "wrmsr",
    "ret",
    // To xAPIC mode, from any, at a page below 64 KiB.
    "91: mov ecx, 0x1B",
    "xor edx, edx",
    "mov eax, 0xE000",
    "wrmsr",
    "mov eax, 0xE800",
    "wrmsr",
    "ret",
    // #GP: goes on behind the instruction, which has two bytes.
    "ap_fault:",
    "push bp",
    "mov bp, sp",
    "add word ptr [bp + 2], 2",
    "pop bp",
    "iret",
    "ap_interrupt:",
    "push ecx",
    "push eax",
    "push edx",
    "inc dword ptr [0x510]",
    // EOI: one of the two is refused, or lost.
    "mov ecx, 0x80B",
    "xor eax, eax",
    "xor edx, edx",
    "wrmsr",
    "mov [0xE0B0], eax",
    "pop edx",
    "pop eax",
    "pop ecx",
    "iret",
    "ap_code_end:",
    ".code64",
    ".popsection",
);

/// The vector that is counted, its place in the real-mode table, and how often it was taken.
const VECTOR: u8 = 0x40;
const IVT_VECTOR: GuestAddress = GuestAddress(VECTOR as u64 * 4);
const TAKEN: GuestAddress = GuestAddress(0x510);
/// Tasks with interrupts.
const REFUSED_MSR: u32 = 14;
const FAULTING_READ: u32 = 15;
/// After an instruction that nothing may follow.
const FOLLOWED: GuestAddress = GuestAddress(0x50C);
const INIT_TO_ITSELF: &str = "INIT to itself";
const TASKS: [&str; 14] = [
    "RDMSR",
    "WRMSR",
    "RDMSR with #GP",
    "OUT",
    "IN",
    "REP OUTS",
    "REP INS",
    "an MMIO read",
    "an MMIO write",
    "HLT",
    "IA32_APIC_BASE",
    "IA32_TSC_ADJUST",
    INIT_TO_ITSELF,
    "no exit",
];

fn guest() -> GuestMemoryMmap {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("memory");
    // SAFETY: the labels lie in the code above, in this order.
    let (code, fault, interrupt) = unsafe {
        let start = &raw const ap_code;
        let offset = |label: *const u8| label.offset_from_unsigned(start);
        let code = std::slice::from_raw_parts(start, offset(&raw const ap_code_end));
        (code, offset(&raw const ap_fault), offset(&raw const ap_interrupt))
    };
    memory.write_slice(code, GuestAddress(u64::from(PAGE) << 12)).expect("within memory");
    for (entry, handler) in [(IVT_GP, fault), (IVT_VECTOR, interrupt)] {
        let handler = u16::try_from(handler).expect("small");
        memory.write_obj([handler, u16::from(PAGE) << 8], entry).expect("within memory");
    }
    memory
}

/// A machine of one processor that waits for its SIPI, and one that does nothing; `None` where the host cannot.
fn machine(memory: &GuestMemoryMmap) -> Option<(Kvm, VmFd, Machine)> {
    let unable = |reason: &dyn std::fmt::Display| eprintln!("skipped: {reason}");
    let kvm = Kvm::new().inspect_err(|error| unable(error)).ok()?;
    let vm = kvm.create_vm().inspect_err(|error| unable(error)).ok()?;
    let region = kvm_userspace_memory_region {
        memory_size: MEMORY as u64,
        userspace_addr: memory.get_host_address(GuestAddress(0)).expect("it begins there") as u64,
        ..Default::default()
    };
    // SAFETY: the region is `memory`, and its owner ends the machine's threads before it drops it.
    unsafe { vm.set_user_memory_region(region) }.expect("memory");
    match Builder::new([0, 1]).build(&kvm, &vm) {
        Ok(machine) => Some((kvm, vm, machine)),
        // Linux before 5.10.
        Err(error @ Error { operation: Operation::EnableUserSpaceMsr | Operation::SetMsrFilter, .. }) => {
            unable(&error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs the vCPU until it is told to end; ports read as all ones, and writes are lost.
fn run(vcpu: &mut Vcpu) -> Result<Ended<String>, Error> {
    vcpu.run(|exit| match exit {
        Exit::Kvm(VcpuExit::IoOut(..) | VcpuExit::MmioWrite(..)) | Exit::EndOfInterrupt(_) => ControlFlow::Continue(()),
        Exit::Kvm(VcpuExit::IoIn(_, data)) => {
            data.fill(0xFF);
            ControlFlow::Continue(())
        }
        Exit::Kvm(VcpuExit::X86Wrmsr(write)) => {
            *write.error = 1;
            ControlFlow::Continue(())
        }
        Exit::Kvm(other) => ControlFlow::Break(format!("{other:?}")),
    })
}

/// Ends a vCPU's thread, also when the test fails.
struct End<'a>(&'a Kick);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ask(Request::End);
    }
}

/// Waits until `is_so`, for as long as only a hang takes.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

fn read(memory: &GuestMemoryMmap, address: GuestAddress) -> u32 {
    memory.load(address, Ordering::SeqCst).expect("within memory")
}

/// What the processor must have found at its start.
fn expect_start(memory: &GuestMemoryMmap, signature: u32, task: &str) {
    let saved: [u32; 10] = std::array::from_fn(|nth| read(memory, GuestAddress(SAVED + nth as u64 * 4)));
    let [eax, ebx, ecx, edx, esi, edi, ebp, esp, eflags, cs] = saved;
    assert_eq!([eax, ebx, ecx, esi, edi, ebp, esp], [0; 7], "after {task}: {saved:x?}");
    assert_eq!((edx, eflags, cs), (signature, 2, u32::from(PAGE) << 8), "after {task}: {saved:x?}");
}

#[test]
fn a_processor_starts_out_of_every_kind_of_exit() {
    const STARTS_EACH: u32 = 100;
    let memory = guest();
    let Some((kvm, vm, Machine { irqchip, mut vcpus })) = machine(&memory) else { return };
    let mut processor = vcpus.pop().expect("the second");
    let kick = processor.kick().clone();
    let cpuid = processor.fd().get_cpuid2(KVM_MAX_CPUID_ENTRIES).expect("CPUID");
    let signature = cpuid.as_slice().iter().find(|leaf| leaf.function == 1).expect("leaf 1").eax;
    let send = |delivery| irqchip.send(Ipi::new(delivery, Destination::Physical(1)));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| run(&mut processor));
        let end = End(&kick);
        let (mut starts, mut before) = (0, "wait-for-SIPI");
        for (task, name) in (0..).zip(TASKS) {
            for round in 0..STARTS_EACH {
                memory.store(task, TASK, Ordering::SeqCst).expect("within memory");
                send(Delivery::Init);
                send(Delivery::Sipi(PAGE));
                starts += 1;
                wait_until(&format!("start {round} before {name}"), || {
                    assert!(!thread.is_finished(), "the processor has stopped");
                    // Its own INIT may come after this SIPI.
                    if before == INIT_TO_ITSELF {
                        send(Delivery::Sipi(PAGE));
                    }
                    read(&memory, STARTS) >= starts
                });
                expect_start(&memory, signature, before);
                before = name;
                wait_until(&format!("{name}, round {round}"), || read(&memory, DONE) > 0);
                std::thread::sleep(Duration::from_micros(u64::from(round) * 7 % 50));
            }
            // INIT to itself: the next start is what tells; nothing has run behind it.
            assert_eq!(read(&memory, FOLLOWED), 0, "an instruction after {name}");
        }
        assert_eq!(read(&memory, STARTS), starts, "each SIPI is one start");
        drop(end);
        let ended = thread.join().expect("no panic");
        assert_eq!(ended, Ok(Ended::Ended));
    });
    drop((irqchip, vcpus, vm, kvm));
}

/// Interrupts come while the processor does what ends in #GP after the exit: KVM raises that at the next entry. An interrupt that it
/// was given before would go with the exception.
fn expect_interrupts_beside_faults(task: u32) {
    const INTERRUPTS: u32 = 20;
    let memory = guest();
    let Some((kvm, vm, Machine { irqchip, mut vcpus })) = machine(&memory) else { return };
    let mut processor = vcpus.pop().expect("the second");
    let kick = processor.kick().clone();
    let send = |delivery| irqchip.send(Ipi::new(delivery, Destination::Physical(1)));
    memory.store(task, TASK, Ordering::SeqCst).expect("within memory");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| run(&mut processor));
        let end = End(&kick);
        send(Delivery::Init);
        send(Delivery::Sipi(PAGE));
        wait_until("a start", || read(&memory, DONE) > 0);
        for sent in 1..=INTERRUPTS {
            send(Delivery::Fixed(VECTOR));
            wait_until(&format!("interrupt {sent}"), || read(&memory, TAKEN) == sent);
        }
        drop(end);
        assert_eq!(thread.join().expect("no panic"), Ok(Ended::Ended));
    });
    drop((irqchip, vcpus, vm, kvm));
}

#[test]
fn an_interrupt_survives_an_msr_that_is_refused() {
    expect_interrupts_beside_faults(REFUSED_MSR);
}

#[test]
fn an_interrupt_survives_a_read_whose_instruction_faults() {
    expect_interrupts_beside_faults(FAULTING_READ);
}

/// What waits for a processor waits for it in another machine.
#[test]
fn what_is_saved_of_a_processor_is_restored_in_another_machine() {
    let memories = [guest(), guest()];
    let [Some(mut from), Some(mut to)] = memories.each_ref().map(machine) else { return };
    from.2.irqchip.send(Ipi::new(Delivery::Nmi, Destination::Physical(1)));
    let saved = from.2.vcpus[1].save().expect("saved");
    assert_ne!(to.2.vcpus[1].save(), Ok(saved), "an NMI waits in the first");
    to.2.vcpus[1].restore(&saved).expect("restored");
    assert_eq!(to.2.vcpus[1].save(), Ok(saved));
}

#[test]
fn any_processor_may_be_the_bootstrap_processor_and_any_signal_the_kick() {
    const IDS: [u32; 3] = [9, 0x123, 4];
    let (Ok(kvm), Some(_)) = (Kvm::new(), machine(&guest())) else { return };
    let vm = kvm.create_vm().expect("a second machine");
    let signal = Signal::install(libc::SIGRTMIN() + 3).expect("a signal");
    let machine = Builder::new(IDS).bootstrap(2).signal(signal).build(&kvm, &vm).expect("a machine");
    let states: Vec<Activity> = machine.vcpus.iter().map(|vcpu| vcpu.processor().activity()).collect();
    assert_eq!(states, [Activity::WaitForSipi, Activity::WaitForSipi, Activity::Running]);
    for mut vcpu in machine.vcpus {
        let kick = vcpu.kick().clone();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || vcpu.run(|_| ControlFlow::<()>::Continue(())));
            kick.ask(Request::End);
            assert_eq!(thread.join().expect("no panic"), Ok(Ended::Ended));
        });
    }
    assert!(Signal::install(0).is_err() && Builder::new([]).build(&kvm, &vm).is_err());
}
