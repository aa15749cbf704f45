//! A VMM of one file for a multiboot image, such as a test kernel: KVM without an irqchip, local APICs from `kipi-kvm-apic`, a
//! serial port, QEMU's debug exit, and of QEMU's fw_cfg the number of CPUs.
//!
//! `cargo run -p kipi-kvm-apic --example multiboot -- IMAGE [CPUS [COMMAND LINE]]` (Multiboot Specification 0.6.96). The status is what
//! the image writes to the debug exit, as under QEMU: twice the value, plus one.

use kipi_kvm_apic::{Builder, Ended, Exit, Machine, Request, Vcpu};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use object::LittleEndian;
use object::read::elf::{ElfFile32, ProgramHeader};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const MEMORY: usize = 64 << 20;
/// Images lie above: the multiboot information, then the command line.
const IMAGES: u32 = 1 << 20;
const INFORMATION: u64 = 0x1000;
const COMMAND_LINE: u64 = 0x2000;
const LONGEST_COMMAND_LINE: usize = 0x8000;
const SERIAL: u16 = 0x3F8;
const SERIAL_LINE_STATUS: u16 = 0x3FD;
const DEBUG_EXIT: u16 = 0xF4;
const FW_CFG_SELECTOR: u16 = 0x510;
const FW_CFG_DATA: u16 = 0x511;
const FW_CFG_NB_CPUS: u16 = 5;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("multiboot: {error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: multiboot IMAGE [CPUS [COMMAND LINE]]")?);
    let cpus = arguments.next().map_or(Some(1), |cpus| cpus.to_str()?.parse().ok()).ok_or("CPUS is no number")?;
    let command_line = arguments.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let mut image = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MEMORY as u64).read_to_end(&mut image));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)])?;
    let entry = load(&memory, &image, &command_line)?;

    let kvm = Kvm::new()?;
    let vm = kvm.create_vm()?;
    let region = kvm_userspace_memory_region {
        memory_size: MEMORY as u64,
        userspace_addr: memory.get_host_address(GuestAddress(0))? as u64,
        ..Default::default()
    };
    // SAFETY: the region is `memory`, which is dropped after all threads that run the guest have ended.
    unsafe { vm.set_user_memory_region(region) }?;
    let Machine { irqchip: _irqchip, vcpus } = Builder::new(0..cpus).build(&kvm, &vm)?;
    start_at(&vcpus[0], entry)?;

    let devices = Devices { cpus, fw_cfg: Mutex::new((0, 0)) };
    let kicks: Vec<_> = vcpus.iter().map(|vcpu| vcpu.kick().clone()).collect();
    let run = |mut vcpu: Vcpu| {
        let ended = vcpu.run(|exit| devices.serve(exit));
        for kick in &kicks {
            kick.ask(Request::End);
        }
        ended
    };
    let ended = std::thread::scope(|scope| {
        let threads: Vec<_> = vcpus.into_iter().map(|vcpu| scope.spawn(|| run(vcpu))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect::<Result<Vec<_>, _>>()
    })?;
    let broken = ended.into_iter().find_map(|ended| match ended {
        Ended::Broken(outcome) => Some(outcome),
        Ended::Paused | Ended::Ended => None,
    });
    Ok(broken.ok_or("no vCPU has ended the machine")??.into())
}

/// Writes the image's segments and the multiboot information. The entry point.
fn load(memory: &GuestMemoryMmap, image: &[u8], command_line: &str) -> Result<u32, Box<dyn Error>> {
    const HAS_MEMORY_AND_COMMAND_LINE: u32 = 1 << 0 | 1 << 2;
    let header = image.chunks_exact(4).take(2048).any(|word| word == 0x1BAD_B002_u32.to_le_bytes());
    header.then_some(()).ok_or("the image has no multiboot header")?;
    let elf = ElfFile32::<LittleEndian>::parse(image)?;
    for segment in elf.elf_program_headers() {
        if segment.p_type(LittleEndian) == object::elf::PT_LOAD {
            (segment.p_paddr(LittleEndian) >= IMAGES).then_some(()).ok_or("a segment lies below 1 MiB")?;
            let bytes = segment.data(LittleEndian, image).map_err(|()| "a segment lies outside of the image")?;
            memory.write_slice(bytes, GuestAddress(segment.p_paddr(LittleEndian).into()))?;
        }
    }
    (command_line.len() < LONGEST_COMMAND_LINE).then_some(()).ok_or("the command line is too long")?;
    let upper_kib = u32::try_from((MEMORY >> 10) - 1024)?;
    let address = u32::try_from(COMMAND_LINE)?;
    let information = [HAS_MEMORY_AND_COMMAND_LINE, 640, upper_kib, 0, address, 0, 0];
    memory.write_obj(information, GuestAddress(INFORMATION))?;
    memory.write_slice(command_line.as_bytes(), GuestAddress(COMMAND_LINE))?;
    Ok(elf.elf_header().e_entry.get(LittleEndian))
}

/// The machine state of the specification: 32-bit protected mode, flat segments, no paging, interrupts off.
fn start_at(vcpu: &Vcpu, entry: u32) -> Result<(), Box<dyn Error>> {
    const MAGIC: u64 = 0x2BAD_B002;
    let mut sregs = vcpu.fd().get_sregs()?;
    let data =
        kvm_segment { limit: u32::MAX, selector: 16, type_: 3, present: 1, db: 1, s: 1, g: 1, ..Default::default() };
    sregs.cs = kvm_segment { selector: 8, type_: 11, ..data };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr0 |= 1;
    vcpu.fd().set_sregs(&sregs)?;
    let regs = kvm_regs { rip: entry.into(), rax: MAGIC, rbx: INFORMATION, rflags: 2, ..Default::default() };
    Ok(vcpu.fd().set_regs(&regs)?)
}

struct Devices {
    cpus: u32,
    /// The item that is selected, and how many of its bytes have been read.
    fw_cfg: Mutex<(u16, usize)>,
}

impl Devices {
    /// Answers an exit, or ends the machine: with a status, or with what no machine goes on after.
    fn serve(&self, exit: Exit<'_>) -> ControlFlow<Result<u8, String>> {
        let Exit::Kvm(exit) = exit else { return ControlFlow::Continue(()) };
        match exit {
            VcpuExit::IoOut(SERIAL, bytes) => {
                let _ = std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush());
            }
            VcpuExit::IoOut(DEBUG_EXIT, &[value, ..]) => return ControlFlow::Break(Ok(value << 1 | 1)),
            VcpuExit::IoOut(FW_CFG_SELECTOR, &[low, high, ..]) => {
                *self.fw_cfg.lock().expect("no thread panics") = (u16::from_le_bytes([low, high]), 0);
            }
            VcpuExit::IoIn(FW_CFG_DATA, data) => {
                let mut fw_cfg = self.fw_cfg.lock().expect("no thread panics");
                let item = if fw_cfg.0 == FW_CFG_NB_CPUS { self.cpus } else { 0 };
                for byte in data {
                    *byte = item.to_le_bytes().get(fw_cfg.1).copied().unwrap_or(0);
                    fw_cfg.1 += 1;
                }
            }
            // The transmitter is always empty.
            VcpuExit::IoIn(SERIAL_LINE_STATUS, data) => data.fill(0x60),
            VcpuExit::IoIn(_, data) | VcpuExit::MmioRead(_, data) => data.fill(0xFF),
            VcpuExit::IoOut(..) | VcpuExit::MmioWrite(..) => {}
            VcpuExit::X86Rdmsr(read) => *read.error = 1,
            VcpuExit::X86Wrmsr(write) => *write.error = 1,
            other => return ControlFlow::Break(Err(format!("{other:?}"))),
        }
        ControlFlow::Continue(())
    }
}
