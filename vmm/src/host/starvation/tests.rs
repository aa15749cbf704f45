use super::shares::{Reading, Shares};
use super::*;
use std::collections::BTreeMap;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn reading(ran: u64, waited: u64, is_runnable: bool) -> BTreeMap<u32, Reading> {
    BTreeMap::from([(7, Reading { ran: ms(ran), waited: ms(waited), is_runnable })])
}

/// Of these readings, 5 ms apart, of which the first is the beginning.
fn longest(readings: &[(u64, u64, bool)]) -> Duration {
    let mut shares = Shares::default();
    for &(ran, waited, is_runnable) in readings {
        shares.add(ms(5), Duration::ZERO, &reading(ran, waited, is_runnable));
    }
    shares.longest()
}

#[test]
fn who_runs_or_sleeps_lacks_nothing() {
    assert_eq!(longest(&[(0, 0, true), (5, 0, true), (10, 0, true), (15, 0, true)]), ms(5));
    assert_eq!(longest(&[(0, 0, false), (0, 0, false), (0, 0, false), (0, 0, false)]), ms(5));
}

#[test]
fn a_wait_counts_while_it_lasts_and_once() {
    let waiting = [(0, 0, true), (0, 0, true), (0, 0, true), (0, 0, true), (0, 0, true)];
    assert_eq!(longest(&waiting), ms(20));
    let mut over = waiting.to_vec();
    over.extend([(5, 20, true), (10, 20, true)]);
    assert_eq!(longest(&over), ms(25), "of the fifth interval it had all");
}

#[test]
fn half_a_cpu_takes_twice_as_long() {
    let half: Vec<_> = (0..20).map(|step| (step * 5 / 2, step * 5 - step * 5 / 2, true)).collect();
    assert!((ms(10)..=ms(15)).contains(&longest(&half)), "{:?}", longest(&half));
}

/// The least nice of many threads: it gets enough, again and again, and little of the time.
#[test]
fn a_small_part_of_the_time_is_next_to_nothing() {
    let parts = |one_in: u64| {
        let step = |step: u64| {
            let ran = step / one_in * 5;
            (ran, step * 5 - ran, true)
        };
        longest(&(0..4_000).map(step).collect::<Vec<_>>())
    };
    assert!((ms(18_000)..=ms(20_000)).contains(&parts(100)), "{:?}", parts(100));
    assert!(parts(8) <= ms(100), "{:?}", parts(8));
    let rich_first: Vec<_> = (0..2_000).map(|step| (step * 5, 0, true)).collect();
    let then_poor = (0..2_000).map(|step| (9_995 + step / 100 * 5, step * 5 - step / 100 * 5, true));
    let both = longest(&rich_first.into_iter().chain(then_poor).collect::<Vec<_>>());
    assert!((ms(8_000)..=ms(11_000)).contains(&both), "{both:?}");
}

/// Threads that get on by turns: who is not next sleeps, and who is waits for a CPU.
#[test]
fn a_small_part_of_what_it_was_ready_for_is_next_to_nothing() {
    let in_turn = |one_in: u64| {
        let step = |step: u64| {
            // Ready for a fifth of the time, of which it has so small a part.
            let ready = step / 5 * 5;
            let ran = ready / one_in;
            (ran, ready - ran, step.is_multiple_of(5))
        };
        longest(&(0..4_000).map(step).collect::<Vec<_>>())
    };
    assert!((ms(18_000)..=ms(20_000)).contains(&in_turn(100)), "{:?}", in_turn(100));
    assert!(in_turn(8) <= ms(200), "{:?}", in_turn(8));
}

/// It waits for a moment whenever it wakes, and is ready for less than a sixteenth of the time.
#[test]
fn who_sleeps_nearly_all_of_the_time_lacks_nothing() {
    let step = |step: u64| (0, step / 40 * 5, step.is_multiple_of(40));
    assert!(longest(&(0..4_000).map(step).collect::<Vec<_>>()) <= ms(300));
}

#[test]
fn what_was_taken_from_all_is_lacked_by_who_slept_too() {
    let mut shares = Shares::default();
    shares.add(ms(5), ms(0), &reading(0, 0, false));
    shares.add(ms(505), ms(500), &reading(0, 0, false));
    assert_eq!(shares.longest(), ms(505));
    shares.forget();
    assert_eq!(shares.longest(), ms(0));
    shares.add(ms(5), ms(0), &reading(0, 0, false));
    assert_eq!(shares.longest(), ms(5), "what was is forgotten");
}

/// Of a thread that is begun anew every time it is looked for, it would always be zero.
#[test]
fn it_sees_this_process() {
    let starvation = Starvation::watch().expect("a thread");
    starvation.begin();
    std::thread::sleep(ms(30));
    assert!(starvation.longest() > Duration::ZERO);
    starvation.begin();
    assert!(starvation.longest() < Duration::from_mins(1), "what was is forgotten");
}
