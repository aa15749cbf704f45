//! Boots that a log holds several times, because it was put together of logs that have them in common.
//!
//! Two boots of one machine have no block alike: each sample has time stamps of a counter that goes on from one to the other, or
//! has started at another moment. Where an emulator counts instructions for time, boots may be alike to the cycle, and tell no more than
//! one of them does.

use super::boot::{Boot, BootBlock};
use super::log::Log;
use crate::config::CellId;
use std::collections::BTreeMap;

/// A block's cell and turn, and its first time stamp.
type Key = (CellId, u32, u64);

/// The log with each boot once: of several copies, the one that has most blocks stays.
pub fn left_out(log: Log) -> Log {
    let Log { boots, mut faults, gave_up } = log;
    let mut kept: Vec<Boot> = Vec::new();
    let mut known: BTreeMap<Key, usize> = BTreeMap::new();
    for boot in boots {
        let copied = blocks(&boot).find_map(|(key, block)| {
            let index = *known.get(&key)?;
            (kept[index].blocks.get(&(key.0, key.1)) == Some(block)).then_some(index)
        });
        let index = copied.unwrap_or(kept.len());
        known.extend(blocks(&boot).map(|(key, _)| (key, index)));
        let Some(original) = kept.get_mut(index) else {
            kept.push(boot);
            continue;
        };
        faults.add(format_args!(
            "the boot from log line {} on is the one from log line {} on once more: it counts once",
            boot.line, original.line
        ));
        if boot.blocks.len() > original.blocks.len() {
            *original = boot;
        }
    }
    Log { boots: kept, faults, gave_up }
}

/// The blocks that have a round.
fn blocks(boot: &Boot) -> impl Iterator<Item = (Key, &BootBlock)> {
    boot.blocks.iter().filter_map(|(&(cell, turn), block)| {
        let first = block.block.rings.first()?.first()?;
        Some(((cell, turn, first.t0), block))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Writer, begin, boot};
    use super::super::log;
    use super::*;
    use guest_stub::abi::Status;

    /// Logs one after the other, each boot once: how many blocks each has, and what was said.
    fn read(logs: &[&[u8]]) -> (Vec<usize>, Vec<String>) {
        let Log { boots, faults, .. } = left_out(log::read(&logs.concat()));
        (boots.iter().map(|boot| boot.blocks.len()).collect(), faults.lines().collect())
    }

    #[test]
    fn a_boot_that_is_there_twice_counts_once() {
        let mut writer = Writer::default();
        boot(&mut writer, 2, "");
        let one = writer.log.clone();
        boot(&mut writer, 2, "");
        let two = &writer.log[one.len()..];
        assert_eq!(read(&[&one, two]), (vec![4, 4], Vec::new()), "two boots");
        let lines = one.split(|&byte| byte == b'\n').count() - 1;
        let told = |number: usize, of: usize| {
            format!(
                "the boot from log line {} on is the one from log line {} on once more: it counts once",
                3 + number * lines,
                3 + of * lines
            )
        };
        assert_eq!(read(&[&one, &one, &one]), (vec![4], vec![told(1, 0), told(2, 0)]));
        assert_eq!(read(&[&one, two, &one, two]), (vec![4, 4], vec![told(2, 0), told(3, 1)]));
    }

    #[test]
    fn the_copy_that_has_most_blocks_stays() {
        let mut writer = Writer::default();
        begin(&mut writer, 2, "");
        writer.block(0, 0, 0, 6, Status::Done);
        let cut_off = writer.log.clone();
        writer.block(1, 1, 0, 6, Status::Done);
        let (blocks, told) = read(&[&cut_off, &writer.log]);
        assert_eq!((blocks, told.len()), (vec![2], 1), "{told:?}");
    }
}
