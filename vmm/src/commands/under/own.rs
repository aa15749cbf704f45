//! What this host measures itself beside other VMMs: all that was asked for, or where kipi's own VMM cannot run, or is not to, what
//! needs no virtual machine.

use super::super::machines::{self, Kvm};
use super::super::status::{Failure, Status};
use crate::config::{self, CellId, Config, HostOffers, MachineSpec, Observe, Refused, routes};
use crate::vm::offers;

/// What is to be measured on this host.
pub(in super::super) struct Plan {
    /// By kipi's own VMM, and natively.
    pub(in super::super) cells: Vec<CellId>,
    pub(in super::super) refused: Vec<Refused>,
    pub(in super::super) offers: HostOffers,
    /// Under other VMMs alone: native cells may divide these, too.
    pub(in super::super) elsewhere: Vec<CellId>,
    /// Why kipi's own VMM cannot run.
    pub(super) why_not: Option<String>,
}

impl Plan {
    /// All that was asked for.
    ///
    /// # Errors
    /// What keeps all of it from being measured.
    pub(in super::super) fn all(kvm: &Kvm<'_>, config: &Config) -> Result<Self, Failure> {
        let offers = kvm.offers(config)?;
        let (cells, refused) = machines::cells(config, offers)?;
        Ok(Self { cells, refused, offers, elsewhere: Vec::new(), why_not: None })
    }

    /// All that was asked for, or if a machine of kipi's own cannot be had on this host, what needs none.
    ///
    /// # Errors
    /// What keeps it from being measured on any host.
    pub(super) fn as_far_as_possible(kvm: &Kvm<'_>, config: &Config, image: &[u8]) -> Result<Self, Failure> {
        let tried = Self::all(kvm, config).and_then(|plan| {
            let is_virtual = |cell: &&CellId| !routes::of(cell.route).is_native();
            if let Some(cell) = plan.cells.iter().find(is_virtual) {
                machines::boot(kvm, config, image, MachineSpec::of(cell), None)?;
            }
            Ok(plan)
        });
        tried.or_else(|failure| {
            if failure.status() == Status::HostCannot {
                Ok(Self { why_not: Some(failure.line()), ..Self::without_own(config) })
            } else {
                Err(failure)
            }
        })
    }

    /// What needs no virtual machine.
    pub(super) fn without_own(config: &Config) -> Self {
        let offers = offers::without_kvm();
        let (cells, refused) = config::plan(config, offers);
        // The memory route needs nothing of KVM but a machine.
        let (cells, unbooted): (Vec<CellId>, Vec<CellId>) =
            cells.into_iter().partition(|cell| routes::of(cell.route).is_native());
        let (refused, others): (Vec<Refused>, Vec<Refused>) =
            refused.into_iter().partition(|it| routes::of(it.cell.route).is_native());
        let possible = others.into_iter().filter(|it| it.refusal.is_the_hosts()).map(|it| it.cell);
        let elsewhere = unbooted.into_iter().chain(possible).map(|cell| CellId { observe: Observe::Guest, ..cell });
        let elsewhere = config::without_repeats(&elsewhere.collect::<Vec<_>>());
        Self { cells, refused, offers, elsewhere, why_not: None }
    }
}
