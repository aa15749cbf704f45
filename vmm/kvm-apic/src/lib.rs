//! KVM vCPUs whose local APICs are in user space.
//!
//! KVM runs the guest, and [`kipi_apic`] is its interrupt controller: every local APIC's register, INIT, SIPI, NMI, IPIs between
//! vCPUs, interrupts from outside, and the timers. It takes a KVM with KVM_CAP_X86_USER_SPACE_MSR and KVM_X86_SET_MSR_FILTER
//! (Linux 5.10), and an x86-64 host.
//!
//! [`Builder::build`] makes the vCPUs of a machine. Each runs on a thread of its own by [`Vcpu::run`], which answers the local APIC's
//! accesses and hands every other exit, with its data, to a closure:
//!
//! ```no_run
//! use kipi_kvm_apic::{Builder, Ended, Exit, Request};
//! use kvm_ioctls::{Kvm, VcpuExit};
//! use std::ops::ControlFlow;
//!
//! let kvm = Kvm::new()?;
//! let vm = kvm.create_vm()?;
//! // ... guest memory: KVM_SET_USER_MEMORY_REGION ...
//! let machine = Builder::new([0, 1]).build(&kvm, &vm)?;
//! // ... the first vCPU's registers: machine.vcpus[0].fd().set_regs(..) ...
//! let kicks: Vec<_> = machine.vcpus.iter().map(|vcpu| vcpu.kick().clone()).collect();
//! std::thread::scope(|scope| {
//!     for mut vcpu in machine.vcpus {
//!         scope.spawn(move || {
//!             vcpu.run(|exit| match exit {
//!                 Exit::Kvm(VcpuExit::IoOut(0x3F8, bytes)) => {
//!                     print!("{}", String::from_utf8_lossy(bytes));
//!                     ControlFlow::Continue(())
//!                 }
//!                 Exit::Kvm(other) => ControlFlow::Break(format!("{other:?}")),
//!                 Exit::EndOfInterrupt(_) => ControlFlow::Continue(()),
//!             })
//!         });
//!     }
//!     // From any thread: interrupts by machine.irqchip.send(..), and the end.
//!     kicks.iter().for_each(|kick| kick.ask(Request::End));
//! });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What KVM decides, and this crate cannot change: KVM leaves the guest only when CR8 falls (KVM_EXIT_SET_TPR). Of a higher or equal
//! value this crate learns at the next exit. And two limits of its own: the guest's TSC has the host's frequency, and a timer's
//! interrupt comes some 50 µs late, which is Linux's timer slack.

#![warn(missing_docs)]

mod builder;
pub mod cpuid;
pub mod deadline_probe;
mod error;
mod hypervisor;
mod irqchip;
mod kick;
mod msrs;
mod timers;
pub mod trial;
pub mod tsc;
mod vcpu;

pub use builder::{Builder, Machine};
pub use error::{Error, Operation};
pub use irqchip::Irqchip;
pub use kick::{Kick, Request, Signal};
pub use vcpu::serve::Served;
pub use vcpu::step::Step;
pub use vcpu::{Ended, Exit, Vcpu};
