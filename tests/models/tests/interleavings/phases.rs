use super::machine::{Machine, poll, read, write};
use super::rendezvous::Work;

impl Machine {
    /// Opens a call of processor 0 whose workers meet.
    pub(crate) fn publish_phases(&self) {
        let participants = u32::try_from(self.cpus.len()).expect("few processors");
        self.cpus[0]
            .packet
            .publish(self.generations.issue(), Work { worker: 0, argument: 0, participants, deadline: 0 });
    }

    /// A worker that writes, meets the others, reads what they have written, and so on.
    pub(crate) fn phases(&self, cpu: usize, phases: u32) {
        for phase in 1..=phases {
            write(&self.cpus[cpu].output, |output| *output = phase);
            for (number, met) in [2 * phase - 1, 2 * phase].into_iter().enumerate() {
                assert!(self.cpus[0].packet.meet(met, |everybody| poll(None, everybody)));
                if number == 0 {
                    self.cpus.iter().for_each(|other| read(&other.output, |output| assert_eq!(*output, phase)));
                }
            }
        }
    }
}
