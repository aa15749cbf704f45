//! Exits a call.

use crate::events::samples::{Block, ExitCount, Exits};
use crate::results::exits::Exits as ExitsPerCall;
use crate::results::source::Source;
use std::collections::BTreeMap;

/// The exits of many blocks of one cell, and the calls that they were counted in.
#[derive(Debug, Clone, Default)]
pub struct ExitTotals {
    exits: Exits,
    calls: BTreeMap<Source, u64>,
}

impl ExitTotals {
    /// Adds a block's.
    pub fn add(&mut self, block: &Block) {
        self.add_exits(&block.exits);
        for source in Source::ALL {
            *self.calls.entry(source).or_default() += block.counted_calls(source);
        }
    }

    /// Adds those of other blocks.
    pub fn merge(&mut self, other: &Self) {
        self.add_exits(&other.exits);
        for (&source, calls) in &other.calls {
            *self.calls.entry(source).or_default() += calls;
        }
    }

    fn add_exits(&mut self, exits: &Exits) {
        for (key, count) in exits {
            let sum = match self.exits.get_mut(key) {
                Some(sum) => sum,
                None => self.exits.entry(key.clone()).or_default(),
            };
            sum.initiator += count.initiator;
            sum.targets += count.targets;
        }
    }

    /// Exits a call, by source and reason, of calls that have so many targets; those that never occurred are left out.
    pub fn per_call(&self, targets: usize) -> Vec<ExitsPerCall> {
        let targets = targets.max(1) as f64;
        let per_call = |((source, reason), count): (&(Source, String), &ExitCount)| {
            let calls = self.calls.get(source).copied().unwrap_or(0);
            (calls > 0 && count.initiator + count.targets > 0).then(|| ExitsPerCall {
                source: *source,
                reason: reason.clone(),
                initiator: count.initiator as f64 / calls as f64,
                per_target: count.targets as f64 / calls as f64 / targets,
            })
        };
        self.exits.iter().filter_map(per_call).collect()
    }
}
