//! A machine without KVM: memory, a bus that says who was interrupted, places to sleep.

use super::act::{Act, ReportedBlock, Script};
use super::{Done, answers};
use guest_stub::abi::{self, CommandPage, Report, Sample, UserPage, area};
use guest_stub::msi::{self, To};
use kipi::config::LocalApics;
use kipi::events::exit::{Exit, ExitKind};
use kipi::vcpu::interrupt::{self, Delivered, Injection, InterruptBus};
use kipi::vcpu::next::{Next, next};
use kipi::vcpu::parking::Parking;
use kipi::vcpu::run::exit_of;
use kipi::vcpu::stop::StopReason;
use kipi::vm::wire;
use kipi_kvm_apic::Request;
use kvm_ioctls::VcpuExit;
use std::cell::RefCell;
use std::io;
use std::mem::{offset_of, size_of};
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// What is interrupted, and by what.
type Interrupts = Vec<(usize, Injection)>;

/// The bus: it carries nothing, and remembers all.
struct Bus {
    vcpus: usize,
    interrupted: RefCell<Interrupts>,
}

impl InterruptBus for Bus {
    fn vcpus(&self) -> usize {
        self.vcpus
    }

    fn raise(&self, vcpu: usize, injection: Injection) -> io::Result<Delivered> {
        self.interrupted.borrow_mut().push((vcpu, injection));
        Ok(Delivered::Accepted)
    }

    fn broadcast(&self, injection: Injection) -> io::Result<Delivered> {
        self.interrupted.borrow_mut().extend((0..self.vcpus).map(|vcpu| (vcpu, injection)));
        Ok(Delivered::Accepted)
    }
}

pub(super) struct Machine {
    vcpus: u8,
    local_apics: LocalApics,
    asked: (u8, u8),
    memory: GuestMemoryMmap,
    parking: Parking,
    bus: Bus,
    pub(super) done: Done,
}

impl Machine {
    pub(super) fn new(script: &Script) -> Self {
        let vcpus = script.vcpus % Script::MOST + 1;
        let bytes = usize::try_from(abi::memory_size(vcpus.into())).expect("an address");
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]).expect("memory");
        let parking = Parking::new(memory.clone());
        parking.set_patience(Duration::from_millis(1));
        Self {
            vcpus,
            local_apics: if script.user_space { LocalApics::User } else { LocalApics::Kernel },
            asked: script.asked,
            memory,
            parking,
            bus: Bus { vcpus: vcpus.into(), interrupted: RefCell::default() },
            done: Done::default(),
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        self.done.acts += 1;
        match act {
            Act::Out(vcpu, port, data, width) => {
                self.leave(vcpu, exit_of(VcpuExit::IoOut(port.number(), &data[..width.bytes()])));
            }
            Act::In(vcpu, port, width) => {
                // What an earlier exit has left there is nothing for a guest.
                let mut data = [0xA5; 5];
                let data = &mut data[..width.bytes()];
                let exit = exit_of(VcpuExit::IoIn(port.number(), data));
                assert!(
                    exit.kind != ExitKind::NoEffect || data.iter().all(|&byte| byte == 0),
                    "{port:?} reads {data:?}"
                );
                self.leave(vcpu, exit);
            }
            Act::Access(vcpu, address, is_write) => {
                let mut data = [0; 8];
                // KVM hands over physical addresses: of 52 bits at most.
                let address = address & ((1 << 52) - 1);
                let exit = if is_write {
                    exit_of(VcpuExit::MmioWrite(address, &data))
                } else {
                    exit_of(VcpuExit::MmioRead(address, &mut data))
                };
                self.leave(vcpu, exit);
            }
            // The end of memory cuts it off.
            Act::Write(place, value) => {
                let _ = self.memory.write(&value.to_le_bytes(), GuestAddress(place.address(self.vcpus)));
            }
            Act::Message(vcpu, vector, kind, target) => {
                let word = [vector, kind % 4, target % 8, 0];
                self.leave(vcpu, exit_of(VcpuExit::IoOut(abi::PORT_MSI, &word)));
            }
            Act::Block(block) => {
                self.write_block(block);
                self.leave(0, exit_of(VcpuExit::IoOut(abi::PORT_DOORBELL, &[0; 4])));
            }
        }
    }

    fn write_block(&self, ReportedBlock { status, rounds, wrong: (who, when, word), value }: ReportedBlock) {
        let report = Report { status: (status % 7).into(), rounds: rounds.into(), generation: 4, ..Report::NOTHING };
        let page = GuestAddress(abi::COMMAND_PAGE + offset_of!(CommandPage, report) as u64);
        wire::write(&self.memory, &report, page).expect("in memory");
        for vcpu in 0..self.vcpus {
            let ring = abi::vcpu_area(vcpu.into()) + area::RING;
            for round in 0..rounds {
                let place = ring + u64::from(round) * size_of::<Sample>() as u64;
                wire::write(&self.memory, &answers::sound_sample(vcpu, round), GuestAddress(place)).expect("in memory");
                if (vcpu, round) == (who % self.vcpus, when) {
                    let place = GuestAddress(place + u64::from(word % 8) * 8);
                    self.memory.write_obj(value, place).expect("in memory");
                }
            }
        }
    }

    /// As a vCPU's thread.
    fn leave(&mut self, vcpu: u8, exit: Exit) {
        let vcpu = vcpu % self.vcpus;
        // Whoever is asked for something looks at it where it was interrupted, which no port does.
        let requests = [Request::Run, Request::Pause, Request::End];
        let [what, ..] = requests.map(|request| next(exit, request, self.local_apics, self.vcpus.into()));
        match what {
            Next::Enter | Next::YieldCpu | Next::Mark => {}
            Next::Send(vector, to) => self.send(vcpu, exit, vector, to),
            Next::Park(address) => self.park(vcpu, address),
            Next::Unpark(address) => {
                if self.parking.unpark(address).is_none() {
                    self.stop(vcpu, StopReason::Unhandled(Exit::with(ExitKind::Unpark, address)));
                }
            }
            Next::Stop(reason) => self.stop(vcpu, reason),
            Next::StayOut(_) | Next::InterruptItself(_) | Next::End => panic!("{exit:?} leads to {what:?}"),
        }
    }

    fn send(&mut self, vcpu: u8, exit: Exit, vector: u8, to: To) {
        let sender = usize::from(vcpu);
        interrupt::send(&self.bus, sender, Injection::Fixed(vector), to).expect("this bus takes everything");
        let word = u32::try_from(exit.payload).expect("a port's word");
        assert_eq!(msi::encode(vector, to), word, "another interrupt than was asked for");
        let mut interrupted = self.bus.interrupted.take();
        interrupted.sort_unstable_by_key(|&(vcpu, _)| vcpu);
        let expected: Interrupts = (0..usize::from(self.vcpus))
            .filter(|&vcpu| match to {
                To::All => true,
                To::AllButSender => vcpu != sender,
                To::One(target) => vcpu == usize::from(target),
            })
            .map(|vcpu| (vcpu, Injection::Fixed(vector)))
            .collect();
        assert_eq!(interrupted, expected, "{word:#x} of vCPU {vcpu}");
        if let To::One(_) = to {
            assert_eq!(interrupted.len(), 1, "{word:#x}");
        }
        self.done.interrupts += interrupted.len() as u64;
    }

    /// The word has changed already, so that nobody sleeps.
    fn park(&mut self, vcpu: u8, address: u64) {
        let page = abi::vcpu_area(vcpu.into()) + area::USER;
        let while_it_holds = GuestAddress(page + offset_of!(UserPage, parked_while) as u64);
        let held: u32 = self.memory.read_obj(GuestAddress(address)).unwrap_or_default();
        self.memory.write_obj(!held, while_it_holds).expect("in memory");
        // Of the word that says so itself.
        if address == while_it_holds.0 {
            return;
        }
        if self.parking.park(vcpu.into(), address).is_none() {
            self.stop(vcpu, StopReason::Unhandled(Exit::with(ExitKind::Park, address)));
        }
    }

    /// As the machine's owner.
    fn stop(&mut self, vcpu: u8, reason: StopReason) {
        match reason {
            StopReason::Doorbell => {
                self.done.reports += 1;
                let rounds = answers::report(&self.memory, self.vcpus, self.asked, self.local_apics);
                if let Some(rounds) = rounds {
                    self.done.believed += 1;
                    self.done.rounds += rounds;
                } else {
                    self.done.lines += 1;
                }
            }
            StopReason::Unhandled(exit) if exit.kind == ExitKind::BugCheck => {
                answers::bug_check(&self.memory, vcpu);
                self.done.lines += 1;
            }
            StopReason::Unhandled(exit) => {
                answers::one_line(&format!("vCPU {vcpu} stopped: {exit}"));
                self.done.lines += 1;
            }
            StopReason::Paused | StopReason::NotSent { .. } | StopReason::NotPinned { .. } => {
                panic!("no guest can bring about {reason:?}")
            }
        }
    }
}
