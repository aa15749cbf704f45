//! GDT, TSS and IDT (SDM Vol. 3A 3.4.5, 6.11, 8.7).

use core::arch::asm;
use core::cell::UnsafeCell;
use guest_stub::abi::{self, area};
use guest_stub::descriptors;

/// The stack of interrupts (SDM Vol. 3A 7.14.5).
pub(crate) const IST_IPI: u8 = 1;
/// The stack of NMIs.
pub(crate) const IST_NMI: u8 = 2;
/// The stack of faults.
pub(crate) const IST_FAULT: u8 = 3;

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

/// Builds the GDT and the TSS of processor `index` and loads them, with the IDT that all share.
///
/// # Safety
/// Called once, on that processor, after the IDT has been filled in. `gdt` and `tss` are valid for writes for as long as the
/// guest lives, and nothing else uses them.
pub(crate) unsafe fn load(index: usize, gdt: *mut Gdt, tss: *mut Tss) {
    let area_base = abi::vcpu_area(index);
    let stacks = [
        (Tss::RSP0, area::KERNEL_STACK_TOP),
        (Tss::IST + 8 * (IST_IPI as usize - 1), area::PRIVATE),
        (Tss::IST + 8 * (IST_NMI as usize - 1), area::NMI_STACK_TOP),
        (Tss::IST + 8 * (IST_FAULT as usize - 1), area::FAULT_STACK_TOP),
    ];
    for (offset, top) in stacks {
        // SAFETY: the caller's promise about `tss`.
        unsafe { Tss::write(tss, offset, area_base + top) };
    }
    // SAFETY: as above; the I/O map base lies in the last word of the TSS. At the TSS's limit: no map.
    unsafe { tss.byte_add(Tss::IO_MAP_BASE).cast::<u16>().write(size_of::<Tss>() as u16) };

    // SAFETY: the caller's promise about `gdt`.
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

// SAFETY: written by `set_gate` and `fill_gates` alone, whose callers see to it that one processor does at a time; read by
// hardware.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

/// An entry that the processor jumps to.
pub(crate) type Entry = unsafe extern "C" fn();

/// Gives `vector` a gate to `entry` on stack `ist`. A vector without one ends in #NP, whose error code names it.
///
/// # Safety
/// No other processor takes anything on that vector meanwhile, or writes the IDT, and `entry` handles what comes on it.
pub(crate) unsafe fn set_gate(vector: u8, entry: Entry, ist: u8) {
    // SAFETY: nobody else uses the gate meanwhile (the caller's promise).
    unsafe { (*IDT.0.get())[usize::from(vector)] = descriptors::interrupt_gate(entry as usize as u64, ist) };
}

/// Gives `vector`, which has a gate on stack `ist`, another entry. Whatever comes on it meanwhile finds one entry or the other: both lie
/// in the image, so that they differ in the gate's lower word alone.
///
/// # Safety
/// No other processor writes the IDT, and both entries handle what comes on the vector.
pub(crate) unsafe fn replace_entry(vector: u8, entry: Entry, ist: u8) {
    let [low, _] = descriptors::interrupt_gate(entry as usize as u64, ist);
    // SAFETY: within the table, which this processor alone writes (the caller's promise), and hardware reads.
    unsafe { (&raw mut (*IDT.0.get())[usize::from(vector)]).cast::<u64>().write_volatile(low) };
}

/// Gives every interrupt vector without a gate one to `entry`.
///
/// # Safety
/// No other processor writes the IDT. That one of them may take an interrupt meanwhile is no matter: a gate is written with its
/// present bit last.
pub(crate) unsafe fn fill_gates(entry: Entry) {
    const FIRST_INTERRUPT: usize = 32;
    let [low, high] = descriptors::interrupt_gate(entry as usize as u64, IST_IPI);
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
