//! The parts of a virtual machine before it runs: local APICs, memory with the guest in it, and vCPUs.

use super::error::{Error, kvm_error};
use super::offers::WIDE_APIC_IDS;
use super::{Hypervisor, TscFacts, VmConfig};
use super::{hyperv, image, paging, registers};
use crate::config::{Interface, LocalApics};
use crate::events::clock::CommonClock;
use crate::vcpu::run::Vcpu;
use guest_stub::abi::{self, PAGE_TABLES, UserPage, area};
use kipi_kvm_apic::{Irqchip, Kick, Signal, cpuid, tsc};
use kvm_bindings::{
    KVM_CAP_HALT_POLL, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, kvm_enable_cap, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// The local APICs in the kernel, and nothing else where that can be had: kipi has no use for a PIC or an I/O APIC.
pub(super) fn create_irqchip(fd: &VmFd) -> Result<(), Error> {
    const IO_APIC_PINS: u64 = 24;
    let split = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, args: [IO_APIC_PINS, 0, 0, 0], ..Default::default() };
    if !fd.check_extension(Cap::SplitIrqchip) || fd.enable_cap(&split).is_err() {
        fd.create_irq_chip().map_err(kvm_error("KVM_CREATE_IRQCHIP"))?;
    }
    Ok(())
}

/// The local APICs, where they are KVM's.
pub(super) fn create_local_apics(fd: &VmFd, config: &VmConfig<'_>) -> Result<(), Error> {
    if config.local_apics == LocalApics::User {
        return Ok(());
    }
    create_irqchip(fd)?;
    if !config.ids.fit_xapic(config.vcpus) {
        let args = [WIDE_APIC_IDS.into(), 0, 0, 0];
        let wide = kvm_enable_cap { cap: KVM_CAP_X2APIC_API, args, ..Default::default() };
        fd.enable_cap(&wide).map_err(|_| Error::NoWideApicIds(config.vcpus))?;
    }
    Ok(())
}

pub(super) fn set_halt_poll(fd: &VmFd, halt_poll_ns: Option<u32>) -> Result<(), Error> {
    let Some(ns) = halt_poll_ns else { return Ok(()) };
    let cap = kvm_enable_cap { cap: KVM_CAP_HALT_POLL, args: [ns.into(), 0, 0, 0], ..Default::default() };
    fd.enable_cap(&cap).map_err(kvm_error("KVM_CAP_HALT_POLL"))
}

pub(super) fn create_memory(fd: &VmFd, vcpus: usize) -> Result<GuestMemoryMmap, Error> {
    let bytes = abi::memory_size(vcpus);
    let error = |reason: String| Error::Memory { bytes, reason };
    let length = usize::try_from(bytes).map_err(|reason| error(reason.to_string()))?;
    let memory =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), length)]).map_err(|reason| error(reason.to_string()))?;
    let host = memory.get_host_address(GuestAddress(0)).map_err(|reason| error(reason.to_string()))?;
    // A huge page for every few touched kilobytes would multiply the resident size. Where the advice is not known,
    // there are no huge pages either.
    // SAFETY: the range is the mapping just made, which `memory` owns.
    unsafe { libc::madvise(host.cast(), length, libc::MADV_NOHUGEPAGE) };
    // A core dump of kipi is about kipi, and may go to whoever collects them. The process stays dumpable: of one that is not, /proc/self
    // belongs to root, and who is not root could neither read its threads' times there nor give results their names.
    // SAFETY: as above.
    unsafe { libc::madvise(host.cast(), length, libc::MADV_DONTDUMP) };
    let region = kvm_userspace_memory_region { memory_size: bytes, userspace_addr: host as u64, ..Default::default() };
    // SAFETY: the region is the mapping just made, which `Vm` owns, and unmaps when it has joined the vCPUs' threads: nothing
    // runs in it any more, though who has the bus may keep the VM's descriptor for longer.
    unsafe { fd.set_user_memory_region(region) }.map_err(kvm_error("KVM_SET_USER_MEMORY_REGION"))?;
    Ok(memory)
}

pub(super) fn memory_error(vcpus: usize) -> impl Fn(vm_memory::GuestMemoryError) -> Error {
    move |reason| Error::Memory { bytes: abi::memory_size(vcpus), reason: reason.to_string() }
}

/// A guest in memory.
pub(super) struct LoadedGuest {
    /// Where vCPU 0 starts.
    pub(super) entry: u64,
    /// [`paging::Built::pageable_entry`].
    pub(super) pageable_entry: u64,
}

/// Writes the image, the page tables and the table of APIC ids.
pub(super) fn load_guest(memory: &GuestMemoryMmap, config: &VmConfig<'_>) -> Result<LoadedGuest, Error> {
    let loaded = image::load(memory, config.image)?;
    let tables = paging::build(&loaded.header, config.vcpus)?;
    let error = memory_error(config.vcpus);
    memory.write_slice(&tables.bytes, GuestAddress(PAGE_TABLES)).map_err(&error)?;
    let vcpus = vcpu_count(config.vcpus);
    let ids: Vec<u8> = (0..vcpus).flat_map(|index| config.ids.of(index, vcpus).to_le_bytes()).collect();
    memory.write_slice(&ids, GuestAddress(abi::APIC_IDS)).map_err(&error)?;
    Ok(LoadedGuest { entry: loaded.entry, pageable_entry: tables.pageable_entry })
}

pub(super) fn shift_tscs(vcpus: &[(Vcpu, Arc<Kick>)], shifts: &[i64]) -> Result<(), Error> {
    let mut shifted = vcpus.iter().zip(shifts).filter(|(_, cycles)| **cycles != 0);
    shifted.try_for_each(|((vcpu, _), &cycles)| Ok(tsc::shift(vcpu.fd(), cycles)?))
}

pub(super) fn read_tsc(vcpus: &[(Vcpu, Arc<Kick>)]) -> Result<TscFacts, Error> {
    let offsets = vcpus.iter().map(|(vcpu, _)| tsc::read_offset(vcpu.fd())).collect::<Result<_, _>>()?;
    Ok(TscFacts { khz: tsc::khz(vcpus[0].0.fd()), clock: CommonClock::new(offsets) })
}

/// Tells each vCPU what is subtracted from its stamps.
pub(super) fn tell_clock(memory: &GuestMemoryMmap, clock: &CommonClock) -> Result<(), Error> {
    let subtracted = clock.subtracted();
    subtracted.iter().enumerate().try_for_each(|(vcpu, cycles)| {
        let address = abi::vcpu_area(vcpu) + area::USER + offset_of!(UserPage, subtracted) as u64;
        memory.write_slice(&cycles.to_le_bytes(), GuestAddress(address)).map_err(memory_error(subtracted.len()))
    })
}

/// At most [`abi::MAX_VCPUS`], which `Vm::start` has checked.
pub(super) fn vcpu_count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// vCPUs, each with what gets its thread out of the guest, and what they share where their local APICs are in user space.
type Vcpus = (Vec<(Vcpu, Arc<Kick>)>, Option<Irqchip>);

pub(super) fn create_vcpus(fd: &VmFd, hypervisor: &Hypervisor, config: &VmConfig<'_>) -> Result<Vcpus, Error> {
    let count = vcpu_count(config.vcpus);
    let ids = (0..count).map(|index| config.ids.of(index, count));
    match config.local_apics {
        LocalApics::Kernel => {
            let signal = Signal::user()?;
            let vcpus = ids.map(|id| {
                let vcpu = fd.create_vcpu(id.into()).map_err(kvm_error("KVM_CREATE_VCPU"))?;
                let mut entries = match config.interface {
                    Interface::Kvm => hypervisor.cpuid.clone(),
                    Interface::HyperV => hyperv::cpuid(&vcpu, &hypervisor.cpuid)?,
                };
                cpuid::set_apic_id(&mut entries, id);
                vcpu.set_cpuid2(&cpuid::to_kvm(&entries)?).map_err(kvm_error("KVM_SET_CPUID2"))?;
                let kick = Arc::new(Kick::new(vcpu.as_raw_fd(), signal)?);
                Ok((Vcpu::Kernel(vcpu), kick))
            });
            Ok((vcpus.collect::<Result<_, Error>>()?, None))
        }
        LocalApics::User => {
            let builder = kipi_kvm_apic::Builder::new(ids)
                .cpuid(hypervisor.cpuid.clone())
                .tsc_deadline(hypervisor.tsc_deadlines_exit()?);
            let machine = builder.build(&hypervisor.kvm, fd)?;
            let vcpus = machine.vcpus.into_iter().map(|vcpu| {
                let kick = vcpu.kick().clone();
                (Vcpu::User(Box::new(vcpu)), kick)
            });
            Ok((vcpus.collect(), Some(machine.irqchip)))
        }
    }
}

/// Lets vCPU 0 start at `entry`. The others wait for its SIPI.
pub(super) fn start_first(vcpu: &VcpuFd, entry: u64) -> Result<(), Error> {
    let sregs = vcpu.get_sregs().map_err(kvm_error("KVM_GET_SREGS"))?;
    vcpu.set_sregs(&registers::long_mode(sregs)).map_err(kvm_error("KVM_SET_SREGS"))?;
    vcpu.set_regs(&registers::at_entry(entry)).map_err(kvm_error("KVM_SET_REGS"))
}
