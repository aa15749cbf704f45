//! The pages that host and guest share: the command page, and the table of APIC ids.

use crate::cpl3;
use crate::cpu::port;
use guest_stub::abi::{self, Boot, CommandPage, Findings, HostCalls, Mask, Report, command::Command};

const PAGE: *mut CommandPage = abi::COMMAND_PAGE as *mut CommandPage;

/// What the VMM said before the first instruction.
pub(crate) fn boot() -> Boot {
    // SAFETY: the page is mapped and the VMM has filled in this part before the guest started.
    unsafe { (&raw const (*PAGE).boot).read_volatile() }
}

/// Tells the VMM at `port`, or whoever is in its place, which may read and write the command page before this returns.
pub(crate) fn ring(port: u16, value: u32) {
    let bell = boot().bell;
    if bell == 0 {
        return port::write(port, value);
    }
    // SAFETY: whoever has filled in `bell` has mapped such a function there.
    let bell: abi::Bell = unsafe { core::mem::transmute(bell) };
    // SAFETY: it works on what the VMM would work on.
    unsafe { bell(port.into(), value, cpl3::run_elsewhere) };
}

/// What the VMM wants now. Stable from a doorbell's return until the next doorbell.
pub(crate) fn command() -> Command {
    // SAFETY: the VMM writes this part only while vCPU 0 is inside a doorbell exit; the others read it between the
    // activity that vCPU 0 announces after it and their acknowledgement.
    unsafe { (&raw const (*PAGE).command).read_volatile() }
}

/// The APIC id of processor `index`.
#[inline]
pub(crate) fn apic_id(index: usize) -> u32 {
    debug_assert!(index < abi::MAX_VCPUS);
    // SAFETY: the page is mapped, holds MAX_VCPUS ids, and nobody writes it while the guest runs.
    unsafe { (abi::APIC_IDS as *const u32).add(index).read() }
}

/// The report that was left last. vCPU 0 only, when whoever made the calls of a block has left it.
pub(crate) fn last_report() -> Report {
    // SAFETY: its writer has let vCPU 0 go on after that.
    unsafe { (&raw const (*PAGE).report).read_volatile() }
}

/// Leaves the report for the VMM. vCPU 0 only, right before the doorbell; or whoever makes the calls of a block, while vCPU 0
/// waits for it.
pub(crate) fn report(report: Report) {
    // SAFETY: the VMM reads this part only while vCPU 0 is inside a doorbell exit.
    unsafe { (&raw mut (*PAGE).report).write_volatile(report) };
}

/// Tells the host what its own calls need. vCPU 0 only, before its first doorbell.
pub(crate) fn tell_host(calls: &HostCalls) {
    // SAFETY: the VMM reads this part only after the doorbell.
    unsafe { (&raw mut (*PAGE).host_calls).write_volatile(*calls) };
}

/// Whom a caller of the host calls.
pub(crate) fn host_members(caller: usize) -> *const Mask {
    debug_assert!(caller < abi::HOST_CALLERS);
    // SAFETY: the page is mapped, and has so many; only an address is computed.
    unsafe { (&raw const (*PAGE).host_members).cast::<Mask>().add(caller) }
}

/// Leaves what a processor test has found. vCPU 0 only, before the doorbell.
pub(crate) fn tell_findings(findings: Findings) {
    // SAFETY: as in `report`.
    unsafe { (&raw mut (*PAGE).findings).write_volatile(findings) };
}

/// Where the bug check goes.
pub(crate) fn bug_check() -> *mut abi::BugCheck {
    // SAFETY: the page is mapped; only an address is computed.
    unsafe { &raw mut (*PAGE).bug_check }
}
