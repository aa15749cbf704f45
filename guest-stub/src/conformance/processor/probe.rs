//! The real-mode code that a SIPI starts vCPU 1 at: it takes down what the processor looks like, and goes on through the
//! trampoline.

use core::arch::global_asm;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use guest_stub::abi::{self, Observation, PROBE_RECORD, PROBES, SIPI_VECTOR};

/// What the real-mode code says, and is told. Registers are as the code found them.
#[repr(C)]
pub(super) struct Record {
    /// Starts so far. Counted when the rest has been taken down.
    pub(super) starts: AtomicU32,
    /// Not zero: the processor began behind the page's first instruction.
    pub(super) late: AtomicU8,
    /// NMIs taken in real mode.
    pub(super) nmis: AtomicU32,
    /// Turns of the loop in real mode.
    pub(super) turns: AtomicU32,
    /// While it is not zero, the processor stays in real mode.
    pub(super) stay: AtomicU32,
    /// CS.
    pub(super) selector: AtomicU32,
    /// The other registers, in the order of [`NAMES`].
    registers: [AtomicU32; REGISTERS],
}

const _: () = assert!(size_of::<Record>() as u64 <= abi::PAGE);

/// The record. One processor is started at a time.
pub(super) fn record() -> &'static Record {
    // SAFETY: the VMM maps the page for the guest's life, zeroed; it holds this alone, and atomics only.
    unsafe { &*(PROBE_RECORD as *const Record) }
}

/// The vectors of SIPIs that start a processor at the code below.
pub(super) const VECTORS: [u8; 2] = [(PROBES >> 12) as u8, (PROBES >> 12) as u8 + 1];
const _: () = assert!(VECTORS.len() as u64 == abi::PROBE_PAGES);

/// How many registers there are, or halves of them.
const REGISTERS: usize = 29;

/// What each of [`Registers`] is.
const NAMES: [Observation; REGISTERS] = [
    Observation::Eax,
    Observation::Ecx,
    Observation::Edx,
    Observation::Ebx,
    Observation::Esp,
    Observation::Ebp,
    Observation::Esi,
    Observation::Edi,
    Observation::Eflags,
    Observation::Ds,
    Observation::Es,
    Observation::Ss,
    Observation::Fs,
    Observation::Gs,
    Observation::Cr0,
    Observation::Cr2,
    Observation::Cr3,
    Observation::Cr4,
    Observation::Dr0,
    Observation::Dr1,
    Observation::Dr2,
    Observation::Dr3,
    Observation::Dr6,
    Observation::Dr7,
    Observation::Efer,
    Observation::IdtrLimit,
    Observation::IdtrBase,
    Observation::GdtrLimit,
    Observation::GdtrBase,
];

/// Where a register's word stands.
const fn place(name: Observation) -> u32 {
    let mut index = 0;
    while NAMES[index] as u32 != name as u32 {
        index += 1;
    }
    field(offset_of!(Record, registers) + 4 * index)
}

/// The registers that a start has left, CS excepted.
#[derive(Clone, Copy)]
pub(super) struct Registers([u32; REGISTERS]);

impl Registers {
    /// With a register's word changed.
    pub(super) fn with(mut self, name: Observation, value: u32) -> Self {
        for (word, _) in self.0.iter_mut().zip(NAMES).filter(|(_, other)| *other == name) {
            *word = value;
        }
        self
    }

    /// None but zeroes.
    pub(super) const ZERO: Self = Self([0; REGISTERS]);
}

impl Record {
    /// The registers of the last start.
    pub(super) fn registers(&self) -> Registers {
        let mut registers = Registers::ZERO;
        for (register, word) in registers.0.iter_mut().zip(&self.registers) {
            *register = word.load(Ordering::Relaxed);
        }
        registers
    }

    /// The first register that is not as `expected`: which, its value there, and its value here. Short: it runs a thousand times
    /// where each instruction may be emulated.
    #[inline]
    pub(super) fn first_difference(&self, expected: &Registers) -> Option<(Observation, u32, u32)> {
        for (index, (word, &expected)) in self.registers.iter().zip(&expected.0).enumerate() {
            let seen = word.load(Ordering::Relaxed);
            if seen != expected {
                return Some((NAMES[index], expected, seen));
            }
        }
        None
    }
}

const fn field(offset: usize) -> u32 {
    PROBE_RECORD as u32 + offset as u32
}

/// CR4 bit 6. kvm_amd keeps it as the host's, and an emulated processor may show it to the guest.
const CR4_MCE: u8 = 1 << 6;

// A processor that the old instruction's completion moves on begins a few bytes behind the start: there lie NOPs, and code that
// says so. The second byte of the first instruction, alone, is PUSH SS.
//
// IDTR and GDTR lie across two words each, the limit in the upper half of the first.
//
// The stack is what INIT leaves: it begins at the end of the first 64 KiB, where nothing else lies. NMIs come by the real-mode
// vector table at address zero.
global_asm!(
    ".pushsection .probes, \"ax\", @progbits",
    ".code16",
    ".rept {pages}",
    ".balign {page}, 0x90",
    ".byte 0xeb, 0x16", // JMP to 3f
    ".rept 15",
    "nop",
    ".endr",
    ".byte 0xc6, 0x06", // MOV byte ptr [late], 1
    ".word {late}",
    ".byte 1",
    "nop",
    "nop",
    "3:",
    "mov dword ptr [{eax}], eax",
    "mov dword ptr [{ecx}], ecx",
    "mov dword ptr [{edx}], edx",
    "mov dword ptr [{ebx}], ebx",
    "mov dword ptr [{esp}], esp",
    "mov dword ptr [{ebp}], ebp",
    "mov dword ptr [{esi}], esi",
    "mov dword ptr [{edi}], edi",
    "pushfd",
    "pop dword ptr [{eflags}]",
    "mov word ptr [{cs}], cs",
    "mov word ptr [{ds}], ds",
    "mov word ptr [{es}], es",
    "mov word ptr [{ss}], ss",
    "mov word ptr [{fs}], fs",
    "mov word ptr [{gs}], gs",
    "mov eax, cr0",
    "mov dword ptr [{cr0}], eax",
    "mov eax, cr2",
    "mov dword ptr [{cr2}], eax",
    "mov eax, cr3",
    "mov dword ptr [{cr3}], eax",
    "mov eax, cr4",
    "and al, {not_mce}",
    "mov dword ptr [{cr4}], eax",
    "mov eax, dr0",
    "mov dword ptr [{dr0}], eax",
    "mov eax, dr1",
    "mov dword ptr [{dr1}], eax",
    "mov eax, dr2",
    "mov dword ptr [{dr2}], eax",
    "mov eax, dr3",
    "mov dword ptr [{dr3}], eax",
    "mov eax, dr6",
    "mov dword ptr [{dr6}], eax",
    "mov eax, dr7",
    "mov dword ptr [{dr7}], eax",
    "mov ecx, {ia32_efer}",
    "rdmsr",
    "mov dword ptr [{efer}], eax",
    "data32 sidt [{idtr_limit} + 2]",
    "data32 sgdt [{gdtr_limit} + 2]",
    "mov dword ptr [{nmi_vector}], offset probe_nmi",
    "inc dword ptr [{starts}]",
    // Bochs keeps its host's interrupts out of a guest that has them off, and so what its hypervisor has for it: hence an exit.
    "mov dx, {yield_port}",
    "4:",
    "inc dword ptr [{turns}]",
    "cmp dword ptr [{stay}], 0",
    "je 5f",
    "out dx, al",
    "jmp 4b",
    "5:",
    ".byte 0xea", // JMP ptr16:16
    ".word 0",
    ".word {trampoline}",
    ".endr",
    "probe_nmi:",
    "inc dword ptr [{nmis}]",
    "iret",
    ".code64",
    ".popsection",
    pages = const abi::PROBE_PAGES,
    page = const abi::PAGE,
    late = const field(offset_of!(Record, late)),
    cs = const field(offset_of!(Record, selector)),
    eax = const place(Observation::Eax),
    ecx = const place(Observation::Ecx),
    edx = const place(Observation::Edx),
    ebx = const place(Observation::Ebx),
    esp = const place(Observation::Esp),
    ebp = const place(Observation::Ebp),
    esi = const place(Observation::Esi),
    edi = const place(Observation::Edi),
    eflags = const place(Observation::Eflags),
    ds = const place(Observation::Ds),
    es = const place(Observation::Es),
    ss = const place(Observation::Ss),
    fs = const place(Observation::Fs),
    gs = const place(Observation::Gs),
    cr0 = const place(Observation::Cr0),
    cr2 = const place(Observation::Cr2),
    cr3 = const place(Observation::Cr3),
    cr4 = const place(Observation::Cr4),
    dr0 = const place(Observation::Dr0),
    dr1 = const place(Observation::Dr1),
    dr2 = const place(Observation::Dr2),
    dr3 = const place(Observation::Dr3),
    dr6 = const place(Observation::Dr6),
    dr7 = const place(Observation::Dr7),
    efer = const place(Observation::Efer),
    idtr_limit = const place(Observation::IdtrLimit),
    gdtr_limit = const place(Observation::GdtrLimit),
    starts = const field(offset_of!(Record, starts)),
    turns = const field(offset_of!(Record, turns)),
    stay = const field(offset_of!(Record, stay)),
    yield_port = const abi::PORT_YIELD,
    nmis = const field(offset_of!(Record, nmis)),
    ia32_efer = const 0xC000_0080_u32,
    not_mce = const !CR4_MCE,
    nmi_vector = const 4 * 2,
    trampoline = const (SIPI_VECTOR as u32) << 8,
);
