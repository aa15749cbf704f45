//! How far the vCPUs' clocks may be apart, by their placement on CPUs, their TSC offsets, and exchanges of stamps.

use crate::events::clock;
use crate::guest::clock_exchange;
use crate::guest::session::{self, Session};
use crate::statistics::clock_error;
use std::time::Duration;

/// The vCPUs that vCPU 0 exchanges stamps with: one on each other CPU, since vCPUs of one CPU with equal offsets read one
/// TSC.
pub(super) struct ClockPartners(Vec<usize>);

impl ClockPartners {
    /// Of a machine whose vCPUs are pinned to `pin` in turn, or may use `cpus` CPUs.
    pub(super) fn choose(vcpus: usize, pin: &[usize], cpus: usize) -> Self {
        if pin.is_empty() {
            return Self((1..vcpus.min(cpus.max(2))).collect());
        }
        let mut seen = vec![pin[0]];
        let mut partners = Vec::new();
        for vcpu in 1..vcpus {
            let cpu = pin[vcpu % pin.len()];
            if !seen.contains(&cpu) {
                seen.push(cpu);
                partners.push(vcpu);
            }
        }
        Self(partners)
    }

    /// The bound of a skew's clock error, in cycles, and how it was obtained.
    pub(super) fn clock_error(&self, session: &mut Session<'_>) -> Result<(u64, String), session::Error> {
        // The ring of exchanges is full long before, unless the partner does not get its CPU.
        const TIME: Duration = Duration::from_millis(50);
        let offsets = &session.vm().tsc().offsets;
        let cycles = || offsets.iter().map(|offset| offset.cycles);
        let exact = offsets.iter().all(|offset| offset.method == clock::Method::Attribute);
        let spread = cycles().max().unwrap_or(0).abs_diff(cycles().min().unwrap_or(0));
        let offsets = match (exact, spread) {
            (true, 0) => "all vCPUs have one TSC offset (KVM_VCPU_TSC_OFFSET)".to_owned(),
            (true, _) => format!("TSC offsets differ by {spread} cycles (KVM_VCPU_TSC_OFFSET)"),
            (false, _) => "TSC offsets estimated by reading IA32_TSC between two host stamps".to_owned(),
        };
        let mut bounds = Vec::new();
        let mut exchanges = 0;
        for &partner in &self.0 {
            let made = clock_exchange::exchange(session, partner, TIME)?;
            exchanges += made.len();
            // No exchange within the time: the clocks may be that far apart.
            bounds.push(clock_error::bound(&made).unwrap_or(clock::cycles(TIME, session.tsc_khz())));
        }
        // vCPUs that share a partner's CPU read its TSC, with their own offset.
        let error = clock_error::skew_error(bounds).saturating_add(if exact { spread } else { 0 });
        let compared = match self.0.len() {
            1 => "a vCPU on another CPU".to_owned(),
            vcpus => format!("{vcpus} vCPUs on other CPUs"),
        };
        Ok((error, format!("{offsets}; {exchanges} exchanges of stamps with {compared}")))
    }
}
