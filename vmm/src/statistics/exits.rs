//! Exits a call.

use crate::events::samples::{Block, ExitCount, Exits};
use crate::results::measurement::Exits as ExitsPerCall;
use crate::results::source::Source;

/// Exits a call, by source and reason, of calls that have so many targets; those that never occurred are left out.
pub fn per_call(blocks: &[&Block], targets: usize) -> Vec<ExitsPerCall> {
    let targets = targets.max(1) as f64;
    let mut total = Exits::new();
    for (key, count) in blocks.iter().flat_map(|block| &block.exits) {
        let sum = total.entry(key.clone()).or_default();
        sum.initiator += count.initiator;
        sum.targets += count.targets;
    }
    let per_call = |((source, reason), count): ((Source, String), ExitCount)| {
        let calls: u64 = blocks.iter().map(|block| block.counted_calls(source)).sum();
        (calls > 0 && count.initiator + count.targets > 0).then(|| ExitsPerCall {
            source,
            reason,
            initiator: count.initiator as f64 / calls as f64,
            per_target: count.targets as f64 / calls as f64 / targets,
        })
    };
    total.into_iter().filter_map(per_call).collect()
}
