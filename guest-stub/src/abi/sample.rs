//! What a vCPU writes while it measures: samples, its user page, its tally.

use super::TargetState;
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One vCPU's stamps of one round, one cache line. Time stamps are the guest's TSC; zero: not taken. What a vCPU's part in the round
/// has no use for may be left from an earlier round.
///
/// A ping has no worker. Its sender and its target may be one vCPU, or a vCPU may send one ping and take another one in the same
/// round: `generation` is then that of the ping that it has sent, and `result` that of the one that has arrived.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Sample {
    /// The generation of the round's call; of the ping that the vCPU has sent.
    pub generation: u32,
    /// [`sample_flags`].
    pub flags: u32,
    /// Initiator: before the send. Target: see [`Sample::halted`].
    pub t0: u64,
    /// Initiator: after the send.
    pub t1: u64,
    /// Target: first instructions of the interrupt entry; initiator, if it interrupts itself, too: the same of its own interrupt.
    pub a: u64,
    /// Participant: worker start.
    pub w: u64,
    /// Participant: worker end.
    pub x: u64,
    /// Initiator: every completion seen.
    pub t2: u64,
    /// What the worker returned; the generation of the ping that has arrived.
    pub result: u64,
}

impl Sample {
    /// Of a target whose interrupt ended a HLT: when it was about to execute it. Such a target keeps it in `t0`, which it has
    /// no other use for.
    pub const fn halted(&self) -> Option<u64> {
        let is_target = self.flags & (sample_flags::FROM_HALT | sample_flags::INITIATOR) == sample_flags::FROM_HALT;
        if is_target && self.t0 != 0 { Some(self.t0) } else { None }
    }
}

/// Bits of [`Sample::flags`]. The low 16 are the CS selector that the interrupt has saved, or zero but for
/// [`sample_flags::FROM_USER`].
pub mod sample_flags {
    /// The interrupt found the vCPU at CPL3: CS has an RPL of 0 or 3, of which one bit tells.
    pub const FROM_USER: u32 = 1 << 1;
    /// The interrupt found the vCPU in HLT.
    pub const FROM_HALT: u32 = 1 << 16;
    /// The NMI found the vCPU with IF clear.
    pub const FROM_MASKED: u32 = 1 << 17;
    /// This vCPU was the call's initiator.
    pub const INITIATOR: u32 = 1 << 18;
    /// The call was sent again: somebody had not arrived after half the deadline.
    pub const RESENT: u32 = 1 << 19;
}

impl TargetState {
    /// The flag that says that the interrupt found a target in this state; none where it found it in no other.
    pub const fn evidence(self) -> u32 {
        match self {
            // That its thread was not running, the VMM knows.
            Self::Spin | Self::Out => 0,
            Self::User | Self::Preempted => sample_flags::FROM_USER,
            Self::Halt => sample_flags::FROM_HALT,
            Self::Masked => sample_flags::FROM_MASKED,
        }
    }

    /// Whether the VMM keeps a target's thread from the guest when the interrupt is sent: it has the evidence.
    pub const fn is_away(self) -> bool {
        match self {
            Self::Spin | Self::User | Self::Halt | Self::Masked => false,
            Self::Preempted | Self::Out => true,
        }
    }
}

const _: () = assert!(size_of::<Sample>() == 64);
const _: () = assert!(offset_of!(Sample, result) == 56);

/// The start of a vCPU's user page, one cache line for each writer.
#[repr(C)]
#[derive(Debug)]
pub struct UserPage {
    /// Rounds served, counted by the interrupt handler; where this vCPU is the initiator, rounds completed. The VMM's watchdog looks
    /// at vCPU 0's.
    pub handled: u32,
    /// Not zero: leave the state. Written by vCPU 0.
    pub stop: u32,
    /// Unused.
    pub padding0: [u32; 14],
    /// `handled` as last seen by the state's own loop: the vCPU is back in its state. Written by that loop.
    pub ready: u32,
    /// Unused.
    pub padding1: u32,
    /// State `halt`: the TSC before `ready` was written for the HLT that follows. Written by the state's loop.
    pub halted: u64,
    /// TSC cycles that this vCPU is ahead of vCPU 0, in two's complement: subtracted from its stamps, they are on the common clock.
    /// Written by the VMM before the guest starts.
    pub subtracted: u64,
    /// What the word holds that this vCPU waits for outside of the guest ([`PORT_PARK`](super::PORT_PARK)), as long as there is
    /// something to wait for. Written by the vCPU.
    pub parked_while: u32,
    /// Unused.
    pub padding4: [u32; 9],
    /// Clock exchange: the number of the request. Written by vCPU 0.
    pub ping: u64,
    /// Unused.
    pub padding2: [u64; 7],
    /// Clock exchange: the partner's stamp. Written by the partner before `pong`.
    pub stamp: u64,
    /// Clock exchange: the number of the answer. Written by the partner.
    pub pong: u64,
    /// [`Operation::Calls`](super::Operation::Calls): generation of the last worker that ran here. Written by the vCPU.
    pub last_run: u32,
    /// Generation of the last setup phase that ran here. Written by the vCPU.
    pub last_setup: u32,
    /// Unused.
    pub padding3: [u32; 10],
    /// Completed calls that this vCPU took part in. Counted by their initiators.
    pub asked: u32,
    /// Unused.
    pub padding5: [u32; 15],
    /// States `preempted` and `out`: since when this vCPU's thread has been kept from the guest, on the common clock; zero: it is not.
    /// Written by the VMM after `away_until`.
    pub away_since: u64,
    /// Until when at least it is, if `away_since` says that it is. Written by the VMM.
    pub away_until: u64,
    /// State `out`: what is written to [`PORT_OUT`](super::PORT_OUT). Written by the VMM before a command.
    pub out_cycles: u32,
    /// Unused.
    pub padding6: [u32; 11],
}

const _: () = assert!(offset_of!(UserPage, ready) == 64 && offset_of!(UserPage, halted) == 72);
const _: () = assert!(offset_of!(UserPage, subtracted) == 80);
const _: () = assert!(offset_of!(UserPage, ping) == 128);
const _: () = assert!(offset_of!(UserPage, stamp) == 192);
const _: () = assert!(offset_of!(UserPage, pong) == 200);

/// What one vCPU counts in [`Operation::Calls`](super::Operation::Calls), and writes alone. All of it starts at zero with
/// each command.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Tally {
    /// Runs of the worker here.
    pub runs: u32,
    /// Runs of a generation that had run here before.
    pub repeated: u32,
    /// Runs that began when some participant had not arrived.
    pub early: u32,
    /// Runs at another IRQL than IPI_LEVEL, or with interrupts enabled.
    pub wrong_level: u32,
    /// Runs whose setup had not run on every participant, or teardowns that began before every worker had ended.
    pub wrong_phase: u32,
    /// Calls that this vCPU has made and completed.
    pub calls: u32,
    /// Calls that it has given up.
    pub aborted: u32,
    /// Sends that it has repeated.
    pub resent: u32,
    /// Calls that returned another value than its own worker's.
    pub wrong_own: u32,
    /// Results of participants that were not their worker's.
    pub wrong_result: u32,
    /// Participants that had not run the worker when the call returned, and others that had.
    pub wrong_participant: u32,
    /// Calls that came back with IRQL, IF or the stack pointer changed.
    pub not_restored: u32,
    /// Calls at IPI_LEVEL, and with interrupts off, that were refused, as they must be.
    pub refused: u32,
    /// Calls of that kind that were not.
    pub not_refused: u32,
    /// Interrupts on [`VECTOR_DEVICE`](super::VECTOR_DEVICE).
    pub device: u32,
    /// Those that came while a call's worker ran here.
    pub device_in_worker: u32,
    /// Interrupts on [`VECTOR_SENDER`](super::VECTOR_SENDER).
    pub sender: u32,
    /// Interrupts on [`VECTOR_MASKER`](super::VECTOR_MASKER).
    pub masker: u32,
    /// NMIs that no open call had asked for.
    pub strange_nmis: u32,
    /// Unused.
    pub padding: u32,
    /// Who did not arrive in the first call that was given up here.
    pub missing: super::Mask,
}

const _: () = assert!(size_of::<Tally>() == 20 * 4 + 128);
const _: () = assert!(offset_of!(UserPage, asked) == 256);
const _: () = assert!(offset_of!(UserPage, away_since) == 320 && size_of::<UserPage>() == 384);
