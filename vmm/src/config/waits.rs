//! How participants wait for each other, as far as the host decides: which calls have it.

use super::refusal::{Change, Refusal};
use super::routes::{self, Route};
use super::{Call, CellId};
use guest_stub::abi::Wait;

/// What it is, in one line for help texts.
pub const fn about(wait: Wait) -> &'static str {
    match wait {
        Wait::Spin => "they poll; where vCPUs share CPUs, one that waits for long gives its CPU away",
        Wait::Park => "they leave the guest and sleep in the VMM until the last one wakes them",
    }
}

/// Why the participants of a cell cannot wait so; `None`: they can.
pub(super) fn refuse(cell: &CellId) -> Option<Refusal> {
    match (cell.wait, cell.call) {
        (Wait::Spin, Call::Broadcast | Call::Ping) => None,
        (Wait::Park, Call::Ping) => Some(Refusal::Combination(
            "a ping's target waits for nobody, and its sender polls for the answer",
            &[Change::Wait(Wait::Spin), Change::Call(Call::Broadcast)],
        )),
        (Wait::Park, Call::Broadcast) => routes::of(cell.route).is_native().then_some(Refusal::Combination(
            "vCPUs leave their guest to sleep, and threads of the host have none",
            &[Change::Wait(Wait::Spin), Change::Route(Route::X2Apic)],
        )),
    }
}
