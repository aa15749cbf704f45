use super::*;
use crate::events::samples::Block;
use crate::guest::blocks::BlockSpec;
use crate::guest::calibration::Calibration;
use crate::statistics::clock_error::Ahead;
use std::time::Duration;

/// A boot whose comparisons bring these bounds, in cycles of a TSC of 1 GHz, each joined to what is known already.
struct Boot {
    is_exact: bool,
    bounds: Vec<u64>,
    /// The error of vCPU 0's offset, in the same unit.
    host: u64,
}

impl Machine for Boot {
    fn run_block(&mut self, _: &BlockSpec) -> Result<Block, machine::Error> {
        unreachable!("clocks need no block")
    }

    fn calibrate(&mut self, _: usize) -> Result<Calibration, machine::Error> {
        unreachable!("clocks need no calibration")
    }

    fn tsc_khz(&self) -> u64 {
        1_000_000
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, machine::Error> {
        let [sent, answered] = [1 << 40, (1 << 40) + self.bounds.remove(0)];
        let look = Ahead::of(&[crate::events::clock::Exchange { sent, answered, received: answered }]).unwrap();
        let ahead = earlier.ahead.first().copied().flatten().map_or(look, |known| known.and(look));
        Ok(ClockError {
            vcpus: Some(ahead.bound()),
            host: self.host,
            subtracted: vec![0, 0],
            comparisons: Comparisons { ahead: vec![Some(ahead)], exchanges: 1, is_of_every_boot: self.is_exact },
            method: String::new(),
        })
    }

    fn boot_time(&self) -> Duration {
        Duration::ZERO
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Boots with these bounds leave ε at so many ns.
fn assert_error(is_exact: bool, boots: &[&[u64]], error_ns: f64) {
    let mut machines = boots.iter().map(|bounds| Boot { is_exact, bounds: bounds.to_vec(), host: 0 });
    let mut clocks = Clocks::of(&mut machines.next().unwrap(), Effort::Full).unwrap();
    machines.for_each(|mut boot| clocks.hold_for(&mut boot).unwrap());
    let found = clocks.clock.error_ns.unwrap();
    assert!((found - error_ns).abs() < 1e-9, "{found} ns: {boots:?}");
}

#[test]
fn a_neighbour_at_the_first_boot_spoils_no_bound_where_kvm_tells_the_offsets() {
    assert_error(true, &[&[13_000_000, 9_000_000, 20_000_000], &[70], &[500]], 70.0);
}

#[test]
fn estimated_offsets_have_the_error_of_their_worst_boot_and_of_its_closest_look() {
    assert_error(false, &[&[900, 70, 80], &[60]], 70.0);
    assert_error(false, &[&[70, 70, 70], &[900, 300, 400], &[60]], 300.0);
}

#[test]
fn the_hosts_error_is_that_of_the_boot_with_the_largest_whatever_the_vcpus_is() {
    let boot = |bound, host| Boot { is_exact: false, bounds: vec![bound; LOOKS], host };
    let mut clocks = Clocks::of(&mut boot(100, 5), Effort::Full).unwrap();
    for (bound, host, expected) in [(70, 30, (100.0, 30.0)), (200, 10, (200.0, 30.0)), (50, 40, (200.0, 40.0))] {
        clocks.hold_for(&mut boot(bound, host)).unwrap();
        assert_eq!((clocks.clock.error_ns, clocks.clock.host_error_ns), (Some(expected.0), expected.1));
    }
}
