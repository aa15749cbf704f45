//! GDT, TSS and IDT (SDM Vol. 3A 3.4.5, 6.11, 8.7).

use crate::hostile;
use crate::interrupt;
use crate::nmi;
use crate::pageable;
use crate::processor::Private;
use core::arch::asm;
use core::cell::UnsafeCell;
use guest_stub::abi::{self, area};
use guest_stub::descriptors;

const IST_IPI: u8 = 1;
const IST_NMI: u8 = 2;
const IST_FAULT: u8 = 3;

/// A processor's GDT.
#[repr(C)]
pub(crate) struct Gdt([u64; 7]);

/// The 64-bit TSS (SDM Vol. 3A figure 8-11), in 32-bit words for its odd alignment.
#[repr(C)]
pub(crate) struct Tss([u32; 26]);

impl Tss {
    const RSP0: usize = 4;
    const IST: usize = 36;
    const IO_MAP_BASE: usize = 102;

    /// # Safety
    /// `tss` points to a TSS that is valid for writes, and `offset` is one of a 64-bit field in it.
    unsafe fn write(tss: *mut Self, offset: usize, value: u64) {
        // SAFETY: the caller's promise; the fields are not 8-byte aligned.
        unsafe { tss.byte_add(offset).cast::<u64>().write_unaligned(value) };
    }
}

#[repr(C, packed)]
struct Pseudo {
    limit: u16,
    base: u64,
}

impl Pseudo {
    fn of<T>(table: *const T) -> Self {
        Self { limit: (size_of::<T>() - 1) as u16, base: table as u64 }
    }
}

/// Builds this processor's GDT and TSS and loads them, with the IDT that all share.
///
/// # Safety
/// Called once on the processor that `private` belongs to, after [`initialise_idt`].
pub(crate) unsafe fn load(private: &'static Private) {
    let area_base = abi::vcpu_area(private.index);
    let tss = (&raw const private.tss).cast_mut();
    let stacks = [
        (Tss::RSP0, area::KERNEL_STACK_TOP),
        (Tss::IST + 8 * (IST_IPI as usize - 1), area::PRIVATE),
        (Tss::IST + 8 * (IST_NMI as usize - 1), area::NMI_STACK_TOP),
        (Tss::IST + 8 * (IST_FAULT as usize - 1), area::FAULT_STACK_TOP),
    ];
    for (offset, top) in stacks {
        // SAFETY: the TSS lies in the private page, which only this processor uses.
        unsafe { Tss::write(tss, offset, area_base + top) };
    }
    // SAFETY: as above; the I/O map base lies in the last word of the TSS. At the TSS's limit: no map.
    unsafe { tss.byte_add(Tss::IO_MAP_BASE).cast::<u16>().write(size_of::<Tss>() as u16) };

    let gdt = (&raw const private.gdt).cast_mut();
    // SAFETY: the GDT lies in the private page too.
    unsafe { gdt.write_volatile(Gdt(descriptors::gdt(tss as u64, size_of::<Tss>() as u64))) };

    let gdt_pseudo = Pseudo::of(gdt);
    let idt_pseudo = Pseudo::of(IDT.0.get());
    // SAFETY: the GDT holds at KERNEL_CODE what the processor runs on now; the IDT is filled in (caller's promise).
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "mov {scratch:e}, {data}",
            "mov ds, {scratch:e}",
            "mov es, {scratch:e}",
            "mov ss, {scratch:e}",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov {scratch:e}, {tss}",
            "ltr {scratch:x}",
            gdt = in(reg) &raw const gdt_pseudo,
            idt = in(reg) &raw const idt_pseudo,
            scratch = out(reg) _,
            data = const descriptors::KERNEL_DATA,
            code = const descriptors::KERNEL_CODE,
            tss = const descriptors::TASK,
        );
    }
}

#[repr(C, align(16))]
struct Idt(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written by vCPU 0 alone in `initialise_idt`, before any other processor runs; read by hardware after that.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

/// Gives every vector without a gate one that returns at once.
///
/// # Safety
/// No other processor writes the IDT. That one of them may take an interrupt meanwhile is no matter: a gate is written with its
/// present bit last.
pub(crate) unsafe fn accept_any_vector() {
    const FIRST_INTERRUPT: usize = 32;
    let [low, high] = descriptors::interrupt_gate(hostile::hostile_entry as *const () as u64, IST_IPI);
    for vector in FIRST_INTERRUPT..256 {
        // SAFETY: within the table, which is written here alone (the caller's promise), and read by hardware.
        unsafe {
            let gate = (&raw mut (*IDT.0.get())[vector]).cast::<u64>();
            if gate.read_volatile() == 0 {
                gate.add(1).write_volatile(high);
                gate.write_volatile(low);
            }
        }
    }
}

/// Fills in the IDT. A vector that nobody uses has no gate: it ends in #NP, whose error code names the vector.
///
/// # Safety
/// Called once, on vCPU 0, before any processor has loaded the IDT.
pub(crate) unsafe fn initialise_idt() {
    const NMI: usize = 2;
    const INVALID_OPCODE: usize = 6;
    const GENERAL_PROTECTION: usize = 13;
    const PAGE_FAULT: usize = 14;
    let idt = IDT.0.get();
    let set = |vector: usize, handler: unsafe extern "C" fn(), ist: u8| {
        // SAFETY: nobody else uses the IDT yet (caller's promise).
        unsafe { (*idt)[vector] = descriptors::interrupt_gate(handler as usize as u64, ist) };
    };
    for (vector, &handler) in interrupt::EXCEPTIONS.iter().enumerate() {
        set(vector, handler, IST_FAULT);
    }
    set(INVALID_OPCODE, interrupt::invalid_opcode_entry, IST_FAULT);
    set(GENERAL_PROTECTION, hostile::general_protection_entry, IST_FAULT);
    set(PAGE_FAULT, pageable::page_fault_entry, IST_FAULT);
    set(NMI, nmi::nmi_entry, IST_NMI);
    set(abi::VECTOR_IPI.into(), interrupt::ipi_entry, IST_IPI);
    set(abi::VECTOR_IPI_STEPPED.into(), interrupt::stepped_entry, IST_IPI);
    set(abi::VECTOR_DEVICE.into(), interrupt::device_entry, IST_IPI);
    set(abi::VECTOR_SENDER.into(), interrupt::sender_entry, IST_IPI);
    set(abi::VECTOR_MASKER.into(), interrupt::masker_entry, IST_IPI);
    set(abi::VECTOR_WAKE.into(), interrupt::wake_entry, IST_IPI);
    set(abi::VECTOR_SPURIOUS.into(), interrupt::spurious_entry, IST_IPI);
}
