//! The host kernel's own broadcast IPI, as membarrier(2) gives it to a process: an interrupt to every CPU that runs one of its
//! threads, but the caller's, and the wait until all have taken it.
//!
//! The kernel interrupts no CPU that is idle or runs another process (`membarrier_private_expedited` in Linux'
//! `kernel/sched/membarrier.c`), and a process of one thread nobody.

use super::Error;
use rustix::thread::{self, Cpuid, MembarrierCommand, MembarrierQuery};

/// What the interrupt does besides being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Nothing (MEMBARRIER_CMD_PRIVATE_EXPEDITED, Linux 4.14).
    Plain,
    /// It restarts the restartable sequence that the thread is in (MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, Linux 5.10).
    Rseq,
}

impl Barrier {
    /// The kernel's name of the command.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PRIVATE_EXPEDITED",
            Self::Rseq => "PRIVATE_EXPEDITED_RSEQ",
        }
    }

    const fn commands(self) -> (MembarrierCommand, MembarrierCommand) {
        match self {
            Self::Plain => (MembarrierCommand::RegisterPrivateExpedited, MembarrierCommand::PrivateExpedited),
            Self::Rseq => (MembarrierCommand::RegisterPrivateExpeditedRseq, MembarrierCommand::PrivateExpeditedRseq),
        }
    }

    /// Whether the kernel has it.
    pub fn is_offered(self) -> bool {
        let (_, command) = self.commands();
        thread::membarrier_query().contains(MembarrierQuery::from_bits_retain(command as u32))
    }

    /// Says that this process is going to use it: once is enough for all of its threads, and each further time has no effect.
    ///
    /// # Errors
    /// [`Error::Membarrier`].
    pub fn register(self) -> Result<(), Error> {
        let (register, _) = self.commands();
        thread::membarrier(register).map_err(|errno| Error::Membarrier {
            what: "registering for",
            barrier: self,
            errno,
        })
    }

    /// Interrupts every CPU that runs another thread of this process. All of them have taken it when this returns. The kernel
    /// executes a full barrier before it looks for them, so that they see what this thread has stored.
    ///
    /// # Errors
    /// [`Error::Membarrier`]: it is not registered.
    #[inline]
    pub fn interrupt_all(self) -> Result<(), Error> {
        let (_, command) = self.commands();
        thread::membarrier(command).map_err(|errno| Error::Membarrier { what: "interrupting by", barrier: self, errno })
    }
}

/// Interrupts one CPU by [`Barrier::Rseq`], if it runs another thread of this process: the kernel has a CPU as an argument
/// (MEMBARRIER_CMD_FLAG_CPU) of no other command.
///
/// # Errors
/// [`Error::Membarrier`]: it is not registered.
#[inline]
pub fn interrupt_one(cpu: u32) -> Result<(), Error> {
    // SAFETY: `from_raw` asks for the number of a CPU, which rseq(2) has said; the kernel checks it, and interrupts nobody where
    // there is no such CPU.
    let cpu = unsafe { Cpuid::from_raw(cpu) };
    thread::membarrier_cpu(MembarrierCommand::PrivateExpeditedRseq, cpu).map_err(|errno| Error::Membarrier {
        what: "interrupting one CPU by",
        barrier: Barrier::Rseq,
        errno,
    })
}
