//! A machine's threads, as the machine sees them: one for each vCPU.

use super::bus::Bus;
use super::error::Error;
use crate::events::stays::Ring;
use crate::vcpu::stop::Resume;
use crate::vcpu::thread::VcpuThread;
use kipi_kvm_apic::{Kick, Request};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{Builder, JoinHandle};

/// A thread's stack, in bytes: the run loop is shallow, and there may be a thousand of them.
const STACK_BYTES: usize = 256 << 10;

/// One vCPU's thread.
#[derive(Debug)]
pub(super) struct VcpuHandle {
    pub(super) kick: Arc<Kick>,
    pub(super) ring: Arc<Ring>,
    /// The CPU that it is pinned to, if it is.
    pub(super) cpu: Option<usize>,
    resume: Option<Sender<Resume>>,
    thread: Option<JoinHandle<()>>,
}

impl VcpuHandle {
    /// Starts the thread, which waits on the other end of `resume` whenever it has stopped.
    pub(super) fn start(thread: VcpuThread<Bus>, resume: Sender<Resume>) -> Result<Self, Error> {
        let (kick, ring, cpu) = (thread.kick.clone(), thread.ring.clone(), thread.cpu);
        let name = format!("vcpu{}", thread.index);
        let thread = Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || thread.run());
        let thread = thread.map_err(|source| Error::System { operation: "starting a vCPU's thread", source })?;
        Ok(Self { kick, ring, cpu, resume: Some(resume), thread: Some(thread) })
    }

    /// Lets the thread go on, which has stopped.
    pub(super) fn resume(&self) {
        self.kick.clear();
        if let Some(resume) = &self.resume {
            // Fails if the thread has ended, which is then known already.
            let _ = resume.send(Resume);
        }
    }

    /// Asks the thread to end, wherever it is.
    pub(super) fn end(&mut self) {
        self.resume = None;
        self.kick.ask(Request::End);
    }

    /// The thread, to be joined; `None`: it has been.
    pub(super) fn take(&mut self) -> Option<JoinHandle<()>> {
        self.thread.take()
    }
}
