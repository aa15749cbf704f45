//! Kinds of hosts: where a side has runs of several processor models or kernels, runs are compared with those of their kind only. A kind
//! that has more runs on one side than on the other would look like a change otherwise.

use super::Run;
use crate::results::comparison::side::Hosts;
use crate::results::measurement::host::Host;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The runs of a kind, on both sides.
pub(super) struct Kind<'a> {
    /// What they have in common; `None`: there is one kind.
    pub(super) hosts: Option<Hosts>,
    pub(super) base: Cow<'a, [Run]>,
    pub(super) new: Cow<'a, [Run]>,
}

/// The kinds that both sides have, by processor and kernel; by processor where the sides' kernels differ, which is then what is tested.
/// Sides whose processors differ, too, are one kind: whoever compares them compares these.
pub(super) fn kinds<'a>(base: &'a [Run], new: &'a [Run]) -> Vec<Kind<'a>> {
    let in_both = |of: fn(&Host) -> Hosts| {
        let [of_base, of_new] = [base, new].map(|runs| all(runs, of));
        (of_base == of_new).then_some((of_base, of))
    };
    match in_both(by_kernel).or_else(|| in_both(by_processor)) {
        Some((found, of)) if found.len() > 1 => found
            .into_iter()
            .map(|hosts| {
                let [base, new] = [base, new].map(|runs| {
                    runs.iter().filter(|run| of(&run.measurement.host) == hosts).cloned().collect::<Vec<Run>>()
                });
                Kind { hosts: Some(hosts), base: base.into(), new: new.into() }
            })
            .collect(),
        Some(_) | None => vec![Kind { hosts: None, base: base.into(), new: new.into() }],
    }
}

fn all(runs: &[Run], of: fn(&Host) -> Hosts) -> BTreeSet<Hosts> {
    runs.iter().map(|run| of(&run.measurement.host)).collect()
}

fn by_kernel(host: &Host) -> Hosts {
    Hosts { cpu: host.cpu.clone(), kernel: Some(host.kernel.clone()) }
}

fn by_processor(host: &Host) -> Hosts {
    Hosts { cpu: host.cpu.clone(), kernel: None }
}
