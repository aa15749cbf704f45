//! The broadcast call on real threads: random calls by random processors, with interrupts that get lost, come late,
//! twice or for no reason. `PROPTEST_CASES` says how many scenarios.

mod broadcast;
mod machine;
mod processor;
mod run;
mod scenario;

use proptest::test_runner::{Config, TestRunner};

/// Calls of a scenario, over all its processors. With the usual 256 scenarios, more than 10^5 in all.
const CALLS: usize = 400;

#[test]
fn every_call_keeps_what_is_promised_whatever_the_interrupts_do() {
    let config = Config {
        // A scenario fails now and then, and not for its seed's sake; and one that hangs takes long to fail.
        failure_persistence: None,
        max_shrink_time: 60_000,
        max_shrink_iters: 100,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&scenario::scenarios(), |scenario| {
        run::run(&scenario, CALLS);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    println!("{:?}", machine::TALLY);
}
