//! The tracepoints that are recorded: KVM's, and the scheduler's for the vCPUs' threads.

/// A tracepoint that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The guest was left: `exit_reason`, `isa`, `info1` (the exit qualification, or EXITINFO1).
    Exit,
    /// The guest is entered.
    Entry,
    /// An ICR write is carried out: `icr_low`, `dest_id`.
    Ipi,
    /// A local APIC has accepted an interrupt: `apicid`, `vec`, `dm`.
    Accept,
    /// An interrupt is injected: `vector`.
    Inject,
    /// An interrupt has left the ISR: `vector`, `apicid`.
    Eoi,
    /// A register of a local APIC is accessed: `rw`, `reg`, `val`.
    Apic,
    /// An MSR: `write`, `ecx`, `data`.
    Msr,
    /// Emulated memory: `type`, `gpa`, `val`.
    Mmio,
    /// A port: `rw`, `port`.
    Port,
    /// KVM_RUN returns: `reason`.
    UserExit,
    /// A hypercall: `nr`.
    Hypercall,
    /// A hypercall of Hyper-V's interface: `code`.
    HypervHypercall,
    /// A message-signalled interrupt: `address`, `data`.
    Message,
    /// A halted vCPU goes on: `ns`, `waited` (its thread has slept), `valid` (it has something to run for).
    Wakeup,
    /// A thread is woken: `pid`.
    Waking,
    /// A CPU changes its thread: `prev_pid`, `next_pid`.
    Switch,
}

/// A tracepoint's place in tracefs, and the fields that are kept. `a|b` names a field by its newer and its older name.
pub(super) struct Description {
    pub(super) point: Point,
    pub(super) name: &'static str,
    pub(super) fields: [&'static str; 3],
}

const fn describe(point: Point, name: &'static str, fields: [&'static str; 3]) -> Description {
    Description { point, name, fields }
}

/// Every tracepoint, with what is kept of it.
pub(super) const POINTS: [Description; 17] = [
    describe(Point::Exit, "kvm/kvm_exit", ["exit_reason", "isa", "info1"]),
    describe(Point::Entry, "kvm/kvm_entry", ["vcpu_id", "", ""]),
    describe(Point::Ipi, "kvm/kvm_apic_ipi", ["icr_low", "dest_id", ""]),
    describe(Point::Accept, "kvm/kvm_apic_accept_irq", ["apicid", "vec", "dm"]),
    describe(Point::Inject, "kvm/kvm_inj_virq", ["vector|irq", "", ""]),
    describe(Point::Eoi, "kvm/kvm_eoi", ["vector", "apicid", ""]),
    describe(Point::Apic, "kvm/kvm_apic", ["rw", "reg", "val"]),
    describe(Point::Msr, "kvm/kvm_msr", ["write", "ecx", "data"]),
    describe(Point::Mmio, "kvm/kvm_mmio", ["type", "gpa", "val"]),
    describe(Point::Port, "kvm/kvm_pio", ["rw", "port", "val"]),
    describe(Point::UserExit, "kvm/kvm_userspace_exit", ["reason", "", ""]),
    describe(Point::Hypercall, "kvm/kvm_hypercall", ["nr", "", ""]),
    describe(Point::HypervHypercall, "kvm/kvm_hv_hypercall", ["code", "", ""]),
    describe(Point::Message, "kvm/kvm_msi_set_irq", ["address", "data", ""]),
    describe(Point::Wakeup, "kvm/kvm_vcpu_wakeup", ["ns", "waited", "valid"]),
    describe(Point::Waking, "sched/sched_waking", ["pid", "", ""]),
    describe(Point::Switch, "sched/sched_switch", ["prev_pid", "next_pid", ""]),
];

impl Point {
    /// The tracepoint's name.
    pub fn name(self) -> &'static str {
        let name = POINTS.iter().find(|description| description.point == self).map_or("", |found| found.name);
        name.rsplit('/').next().unwrap_or(name)
    }
}

/// What a call's stages need where exits are shown, what tells which register of a local APIC an exit was for, and how a halted
/// target was woken.
pub(super) const OF_STAGES: [Point; 8] =
    [Point::Exit, Point::Entry, Point::Accept, Point::Apic, Point::Waking, Point::Wakeup, Point::Message, Point::Eoi];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_point_has_one_name() {
        let names: BTreeSet<_> = POINTS.iter().map(|description| description.point.name()).collect();
        assert_eq!(names.len(), POINTS.len());
        assert_eq!(Point::Exit.name(), "kvm_exit");
    }
}
