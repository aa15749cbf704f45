//! Whether a guest's hypercalls reach KVM. CPUID does not tell: a KVM that emulates what runs at CPL0 may offer them and not know
//! the instruction.

use super::create;
use super::error::{Error, kvm_error};
use guest_stub::kvm_pv::SEND_IPI;
use kipi_kvm_apic::trial::Trial;
use kipi_kvm_apic::{Kick, Request, Signal, cpuid};
use kvm_bindings::{KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_FIX_HYPERCALL_INSN, kvm_cpuid_entry2, kvm_enable_cap};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// How long the guest may take. A KVM that rewrites the instruction, and does not know what it has written either, never gets beyond it.
const PATIENCE: Duration = Duration::from_secs(10);

/// `mov eax, 10; mov ebx, 1; xor ecx, ecx; xor edx, edx; mov esi, 0xE1; vmcall or vmmcall; out 0x80, eax`: KVM_HC_SEND_IPI to the
/// sender itself, whose answer is then told.
fn code(is_amd: bool) -> [u8; 24] {
    const ANSWER: u8 = 0x80;
    let [a, b, c, d] = SEND_IPI.to_le_bytes();
    let last = if is_amd { 0xD9 } else { 0xC1 };
    [0xB8, a, b, c, d, 0xBB, 1, 0, 0, 0, 0x31, 0xC9, 0x31, 0xD2, 0xBE, 0xE1, 0, 0, 0, 0x0F, 0x01, last, 0xE7, ANSWER]
}

/// Lets a vCPU make a hypercall. Whether KVM has answered it, be it by an error.
pub(super) fn reach_kvm(kvm: &Kvm, entries: &[kvm_cpuid_entry2]) -> Result<bool, Error> {
    let vm = kvm.create_vm().map_err(kvm_error("KVM_CREATE_VM"))?;
    create::create_irqchip(&vm)?;
    // Where that can be had, an instruction that this KVM does not know is #UD, and not rewritten: three faults end the guest.
    let quirk = [KVM_X86_QUIRK_FIX_HYPERCALL_INSN.into(), 0, 0, 0];
    let _ = vm.enable_cap(&kvm_enable_cap { cap: KVM_CAP_DISABLE_QUIRKS2, args: quirk, ..Default::default() });
    let mut trial = Trial::new(vm, entries, &code(cpuid::has_vmmcall(entries)))?;
    let kick = Kick::new(trial.vcpu.as_raw_fd(), Signal::user()?)?;
    let (sender, ended) = channel();
    let vcpu = &mut trial.vcpu;
    let answer = thread::scope(|scope| {
        let run = || {
            kick.thread_started();
            let answer = answer(vcpu, &kick);
            // The other side may have given up.
            let _ = sender.send(());
            answer
        };
        let guest = thread::Builder::new().spawn_scoped(scope, run)?;
        if ended.recv_timeout(PATIENCE).is_err() {
            kick.ask(Request::End);
        }
        Ok(guest.join().ok().flatten())
    });
    let answer = answer.map_err(|source| Error::System { operation: "starting the thread of a trial", source })?;
    Ok(answer.is_some_and(|answer| answer != SEND_IPI))
}

/// What the guest tells; `None`: nothing.
fn answer(vcpu: &mut VcpuFd, kick: &Kick) -> Option<u32> {
    loop {
        match vcpu.run() {
            Ok(VcpuExit::IoOut(_, bytes)) => return bytes.try_into().ok().map(u32::from_le_bytes),
            // A signal that is somebody else's.
            Err(error) if error.errno() == libc::EINTR && kick.request() == Request::Run => {}
            _ => return None,
        }
    }
}
