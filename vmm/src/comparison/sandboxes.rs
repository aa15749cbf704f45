//! The sandboxes that kipi was in while the runs of a side were measured.

use super::Run;
use super::mixture::Mixture;
use crate::results::comparison::Difference;
use crate::results::comparison::side::SideSandbox;
use crate::results::sandbox::{Sandbox, State};
use std::collections::BTreeMap;

/// An entry for each. A run whose document does not say it is in none.
pub(super) fn of(runs: &[Run]) -> Vec<SideSandbox> {
    let mut found: BTreeMap<(State, &[String]), u64> = BTreeMap::new();
    for sandbox in told(runs) {
        *found.entry((sandbox.state, &sandbox.missing)).or_default() += 1;
    }
    let entry =
        |((state, missing), runs): ((State, &[String]), u64)| SideSandbox { state, missing: missing.to_vec(), runs };
    found.into_iter().map(entry).collect()
}

/// In what they differ, by the runs that say it; `None`: in nothing, or a side does not say.
///
/// Its filters cost some instructions a system call, so that it is told. It is no property of the host, and the calls' code is the same,
/// so that it forbids nothing.
pub(super) fn difference(base: &[Run], new: &[Run]) -> Option<Difference> {
    let values = |runs| -> Mixture<String> { told(runs).map(value).collect() };
    let [of_base, of_new] = [values(base), values(new)];
    let is_known = told(base).next().is_some() && told(new).next().is_some();
    (is_known && !of_base.is_same(&of_new)).then(|| Difference {
        factor: "sandbox".to_owned(),
        item: None,
        base: of_base.told_beside(&of_new),
        new: of_new.told_beside(&of_base),
        allowed: true,
    })
}

fn told(runs: &[Run]) -> impl Iterator<Item = &Sandbox> {
    runs.iter().filter_map(|run| run.measurement.sandbox.as_ref())
}

/// `on`, `off`, `partly, without Landlock: …`.
fn value(sandbox: &Sandbox) -> String {
    let name = sandbox.state.name();
    match sandbox.state {
        State::On | State::Off => name.to_owned(),
        State::Partly => format!("{name}, without {}", sandbox.missing.join("; ")),
    }
}
