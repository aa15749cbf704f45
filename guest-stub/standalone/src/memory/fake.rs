//! Physical memory for tests, which counts how much of it is read.

extern crate std;

use super::Physical;
use std::cell::Cell;
use std::vec::Vec;

/// Memory that consists of the pieces that a test put in; nothing else can be read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fake {
    pieces: Vec<(u64, Vec<u8>)>,
    reads: Cell<usize>,
    bytes: Cell<usize>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A piece that covers an earlier one is read instead of it, where a read lies within it as a whole.
    pub(crate) fn put(&mut self, address: u64, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.pieces.push((address, bytes.into()));
        self
    }

    /// The bytes of the `piece`th that was put in.
    pub(crate) fn piece(&mut self, piece: usize) -> &mut Vec<u8> {
        &mut self.pieces[piece].1
    }

    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How many reads there were.
    pub(crate) fn reads(&self) -> usize {
        self.reads.get()
    }

    /// How many bytes they asked for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

impl Physical for Fake {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + bytes.len());
        self.pieces.iter().rev().any(|(start, piece)| {
            let held = address.checked_sub(*start).and_then(|offset| usize::try_from(offset).ok());
            let held = held.and_then(|offset| piece.get(offset..)?.get(..bytes.len()));
            held.is_some_and(|held| {
                bytes.copy_from_slice(held);
                true
            })
        })
    }
}
