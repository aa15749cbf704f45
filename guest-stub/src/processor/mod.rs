//! A processor's private page, and how code on any of its stacks finds it.

mod record;
mod words;

pub(crate) use record::Record;
pub(crate) use words::UserWords;

use crate::cpu::apic::LocalApic;
use crate::cpu::tables::{self, Gdt, Tss};
use crate::ping;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use guest_stub::abi::{self, Report, Sample, Tally, area};
use guest_stub::hyperv;
use guest_stub::kvm_pv::{self, Batch};
use guest_stub::rendezvous::{Decision, Generation, Generations, Packet, Slot};

/// A processor's private page. The interrupt entry knows it as the top of its stack.
///
/// Interrupt handlers of this processor and its own code both use it; of other processors, vCPU 0 reads counts and `outcome`. The
/// atomics are for the handlers, and relaxed.
#[repr(C)]
pub(crate) struct Private {
    /// Where the next sample of an interrupt's call lies in the ring, in bytes. The ring has as many as 16 bits can count.
    pub(crate) sample: AtomicU32,
    /// When the last interrupt came that no call of another processor had asked for.
    pub(crate) a: AtomicU64,
    /// IRQL that the interrupt found.
    pub(crate) interrupted_irql: AtomicU64,
    pub(crate) slot: &'static Slot,
    /// The packet of this processor's own calls.
    pub(crate) packet: &'static Packet,
    pub(crate) index: usize,
    pub(crate) apic: LocalApic,
    /// Where this processor is pinged.
    pub(crate) line: &'static ping::Line,
    /// The ping that has arrived last.
    pub(crate) pinged: AtomicU32,
    /// This processor sends an IPI to itself, too, in the calls that it makes.
    pub(crate) expects_self: AtomicBool,
    /// This processor owns its participants, and makes calls.
    pub(crate) calling: AtomicBool,
    /// Interrupts that nobody had asked for, and that came when their call had been given up.
    pub(crate) duplicate: AtomicU32,
    pub(crate) late: AtomicU32,
    /// What has become of the pings that this processor has sent, where vCPU 0 sends, too: for vCPU 0.
    pub(crate) outcome: UnsafeCell<Report>,
    /// The hypercalls of a call that this processor makes, for [`Self::batches`].
    batches: [UnsafeCell<Batch>; BATCHES],
    /// The parameters of Hyper-V's hypercalls that this processor makes.
    hyperv_input: UnsafeCell<hyperv::Input>,
    /// The stack pointer of what runs CPL3 code, to come back to.
    pub(crate) kernel_rsp: AtomicU64,
    tss: Tss,
    gdt: Gdt,
}

const _: () = assert!(size_of::<Private>() as u64 <= abi::PAGE);

/// The most hypercalls of a call: each begins as many ids after the one before, at least, as one reaches.
const BATCHES: usize = (abi::APIC_IDS_END / kvm_pv::IDS) as usize;

/// Room for a batch in a processor's page.
pub(crate) struct BatchRoom(&'static UnsafeCell<Batch>);

impl BatchRoom {
    /// Writes it there, and tells the address.
    pub(crate) fn put(self, batch: Batch) -> u32 {
        // SAFETY: `batches` is called by this processor's own code, which has no reference to one that it wrote for an earlier call;
        // handlers have nothing to do with them.
        unsafe { self.0.get().write(batch) };
        self.0.get() as u32
    }
}

/// The packets of every processor's own calls.
static PACKETS: [Packet; abi::MAX_VCPUS] = [const { Packet::new() }; abi::MAX_VCPUS];
/// The packets of the host's calls.
pub(crate) static HOST_PACKETS: [Packet; abi::HOST_CALLERS] = [const { Packet::new() }; abi::HOST_CALLERS];
/// The source of all calls' generations.
pub(crate) static GENERATIONS: Generations = Generations::new(Generation::from_stored(0));
/// Every processor's side of the rendezvous.
pub(crate) static SLOTS: [Slot; abi::MAX_VCPUS] = [const { Slot::new() }; abi::MAX_VCPUS];

/// Fills in the private page of processor `index` and returns it.
///
/// # Safety
/// Called once for each index, on that processor, before anything else uses the page.
pub(crate) unsafe fn initialise(index: usize) -> &'static Private {
    let base = abi::vcpu_area(index);
    let private = (base + area::PRIVATE) as *mut Private;
    // SAFETY: the VMM maps the page for every processor, zeroed, which is valid for each of these types but the
    // references, which are written first; nobody else uses it yet (the caller's promise).
    unsafe {
        (&raw mut (*private).slot).write(&SLOTS[index]);
        (&raw mut (*private).packet).write(&PACKETS[index]);
        (&raw mut (*private).line).write(&ping::LINES[index]);
        (&raw mut (*private).index).write(index);
        touch_stacks(index);
        &*private
    }
}

/// Touches the pages of the stacks that interrupts, faults and NMIs enter on, and of the user page. A first touch by
/// the delivery of an interrupt would be an exit within a round; and an emulated processor may lose the place of a
/// guest that it cannot deliver an interrupt to (QEMU's SVM does).
fn touch_stacks(index: usize) {
    let stacks = [
        area::IPI_STACK..area::PRIVATE,
        area::FAULT_STACK..area::FAULT_STACK_TOP,
        area::NMI_STACK..area::NMI_STACK_TOP,
        area::USER..area::USER + abi::PAGE,
        area::TALLY..area::TALLY + abi::PAGE,
    ];
    for page in stacks.into_iter().flat_map(|stack| stack.step_by(abi::PAGE as usize)) {
        let word = (abi::vcpu_area(index) + page) as *mut u64;
        // SAFETY: the area is this processor's and mapped; no interrupt has been enabled yet, so that nothing else
        // writes between the two accesses, and what is there stays.
        unsafe { word.write_volatile(word.read_volatile()) };
    }
}

/// The private page of the processor that this runs on, found through the stack pointer.
#[inline]
pub(crate) fn current() -> &'static Private {
    let stack: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    let area = stack & !(abi::VCPU_STRIDE - 1);
    // SAFETY: every stack that Rust code runs on lies in a vCPU area (layout in abi.rs), whose private page
    // `initialise` has filled in before the first use.
    unsafe { &*((area + area::PRIVATE) as *const Private) }
}

/// The private page of processor `index`.
///
/// # Safety
/// That processor has been initialised.
pub(crate) unsafe fn of(index: usize) -> &'static Private {
    // SAFETY: the caller's promise; other processors only touch the atomics, and vCPU 0 the outcome.
    unsafe { &*((abi::vcpu_area(index) + area::PRIVATE) as *const Private) }
}

impl Private {
    /// The processor's line of communication with its state loop and vCPU 0.
    pub(crate) fn user_page(&self) -> UserWords {
        UserWords(self.beside(area::USER))
    }

    /// The ring of samples.
    pub(crate) fn ring(&self) -> *mut Sample {
        self.beside(area::RING)
    }

    /// What lies at `offset` in this processor's area, at a fixed distance from this page.
    #[inline]
    fn beside<T>(&self, offset: u64) -> *mut T {
        (&raw const *self as u64 - area::PRIVATE + offset) as *mut T
    }

    /// Builds this processor's descriptor tables and loads them.
    ///
    /// # Safety
    /// Called once, on this processor, after the IDT has been filled in.
    pub(crate) unsafe fn load_tables(&'static self) {
        // SAFETY: the caller's promise; the two lie in this page, and nothing else uses them.
        unsafe { tables::load(self.index, (&raw const self.gdt).cast_mut(), (&raw const self.tss).cast_mut()) };
    }

    /// Whether a call's worker is running on this processor: as target, or as initiator.
    pub(crate) fn in_worker(&self) -> bool {
        let as_initiator =
            || self.calling.load(Ordering::Relaxed) && self.packet.decision(self.packet.generation()) == Decision::Go;
        as_initiator() || self.slot.is_working()
    }

    /// Generation of the call that this processor had to do with last.
    pub(crate) fn generation(&self) -> Generation {
        self.slot.packet().map_or(Generation::from_stored(0), Packet::generation)
    }

    /// What this processor sends in a call of all processors, encoded.
    pub(crate) fn sends(&self) -> &'static [AtomicU32; abi::MAX_VCPUS] {
        // SAFETY: the page is mapped for the guest's life, and its words are only accessed atomically.
        unsafe { &*self.beside(area::SENDS) }
    }

    /// Room for the hypercalls of a call that this processor makes: those of the call before are lost. For its own code.
    pub(crate) fn batches(&'static self) -> impl Iterator<Item = BatchRoom> {
        self.batches.iter().map(BatchRoom)
    }

    /// The parameters of Hyper-V's hypercalls: for this processor's own code. Zero at first.
    pub(crate) fn hyperv_input(&'static self) -> *mut hyperv::Input {
        self.hyperv_input.get()
    }

    /// What this processor counts.
    pub(crate) fn tally(&self) -> *mut Tally {
        self.beside(area::TALLY)
    }

    /// Counts an interrupt that came when its call had been given up.
    pub(crate) fn count_late(&self) {
        self.late.store(self.late.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts an interrupt that nobody had asked for.
    pub(crate) fn count_duplicate(&self) {
        self.duplicate.store(self.duplicate.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Adds one to a field of the tally.
    pub(crate) fn count(&self, field: impl FnOnce(&mut Tally) -> &mut u32) {
        // SAFETY: the page is mapped for the guest's life, and this processor's alone. An NMI's handler may count between
        // the two accesses of what it interrupts: of another field, since it runs another worker or none.
        let field = field(unsafe { &mut *self.tally() });
        *field = field.wrapping_add(1);
    }

    /// The place of the sample of round `round` of this block.
    #[inline]
    pub(crate) fn place(&self, round: u32) -> Record {
        // SAFETY: the ring is mapped for the guest's life, has RING_SAMPLES entries, and is this processor's alone.
        unsafe { Record::at(self.ring().add(round as usize % abi::RING_SAMPLES)) }
    }

    /// Stores the sample of round `round` of this block.
    #[inline]
    pub(crate) fn record(&self, round: u32, sample: Sample) {
        self.place(round).set(sample);
    }

    /// Whether a handler of this processor has served round `round` of this block, and stored its sample.
    #[inline]
    pub(crate) fn has_served(&self, round: u32) -> bool {
        // A handler runs from its entry to its IRETQ between two instructions of what it interrupts, so that the count tells of a
        // whole sample. Acquire keeps the compiler from reading the sample before the count.
        self.user_page().handled().load(Ordering::Acquire) > round
    }

    /// The sample of round `round` of this block, as this processor has stored it: its own code, or a handler that
    /// [`Self::has_served`] the round.
    pub(crate) fn recorded(&self, round: u32) -> Sample {
        self.place(round).get()
    }

    /// Stores a target's sample of the call `generation`, with its stamps `a`, `w` and `x`, and counts the round as served.
    #[inline]
    pub(crate) fn record_served(&self, generation: Generation, [a, w, x]: [u64; 3], result: usize, flags: u32) {
        let generation = generation.get();
        // The last HLT's, as `Sample::halted` has it if this interrupt has ended one.
        let t0 = self.user_page().halted().load(Ordering::Relaxed);
        self.record_handled(Sample { generation, flags, t0, a, w, x, result: result as u64, ..Sample::default() });
    }

    /// Stores a target's sample, and counts the round as served.
    #[inline]
    pub(crate) fn record_handled(&self, sample: Sample) {
        const RING: u32 = (abi::RING_SAMPLES * size_of::<Sample>()) as u32;
        let (place, handled) = (self.sample.load(Ordering::Relaxed), self.user_page().handled());
        // SAFETY: as in `place`; the number is below RING, and a multiple of a sample's size.
        unsafe { Record::at(self.ring().byte_add(place as usize)) }.set(sample);
        self.sample.store((place + size_of::<Sample>() as u32) % RING, Ordering::Relaxed);
        handled.store(handled.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Starts this processor's counts anew, for another operation.
    pub(crate) fn reset_counts(&self) {
        let words = self.user_page();
        let counts = [&self.sample, &self.duplicate, &self.late];
        for count in counts.into_iter().chain([words.handled(), words.last_run(), words.last_setup()]) {
            count.store(0, Ordering::Relaxed);
        }
        // SAFETY: this processor's own tally.
        unsafe { self.tally().write(Tally::default()) };
    }

    /// Touches the ring's pages, so that no first-touch fault falls into a round.
    pub(crate) fn touch_ring(&self) {
        const SAMPLES_A_PAGE: usize = abi::PAGE as usize / size_of::<Sample>();
        for slot in (0..abi::RING_SAMPLES).step_by(SAMPLES_A_PAGE) {
            // SAFETY: as in `place`.
            unsafe { (&raw mut (*self.ring().add(slot)).generation).write_volatile(0) };
        }
    }
}
