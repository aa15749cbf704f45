//! Capabilities: all are dropped but those that an output's directory asks for (capabilities(7)).

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Those that may be kept, and their names.
const NAMES: [(CapabilitySet, &str); 2] =
    [(CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"), (CapabilitySet::FOWNER, "CAP_FOWNER")];

/// Drops all but `needed`, of which none is gained. The names of those that this thread has now.
pub(super) fn keep(needed: CapabilitySet) -> rustix::io::Result<Vec<String>> {
    let kept = capabilities(None)?.permitted & needed;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    Ok(NAMES.iter().filter(|(set, _)| kept.contains(*set)).map(|(_, name)| (*name).to_owned()).collect())
}
