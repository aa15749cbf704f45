//! Whether every call went right.

use super::asked;
use crate::config;
use crate::results::count::count;
use crate::results::integrity::Integrity;
use crate::results::measurement::{Cell, Measurement};
use guest_stub::abi::cell::Call;

/// The answer of these cells and so many repetitions; `None`: there are no cells.
pub(super) fn answer(cells: &[&Cell], repetitions: u64) -> Option<String> {
    let sum = cells.iter().fold(Integrity::default(), |mut sum, cell| {
        sum.add(cell.integrity);
        sum
    });
    let broken: Vec<&Cell> = cells.iter().copied().filter(|cell| !cell.integrity.is_clean()).collect();
    let repeated = match repetitions {
        0 => String::new(),
        _ => format!(", nor of {},", count(repetitions, "repetition")),
    };
    let all = count(cells.len(), "cell");
    Some(match broken.as_slice() {
        [] if cells.is_empty() => return None,
        [] if cells.iter().all(|cell| cell.rounds == 0) => "not known: no round counts".to_owned(),
        [] => format!("ok: none of {}{repeated} lost, duplicate, late or timed out", calls(cells)),
        [only] => format!("WRONG: {} in 1 of {all} ({})", sum.faults().join(", "), only.id),
        [first, ..] => {
            format!("WRONG: {} in {} of {all}, first {}", sum.faults().join(", "), broken.len(), first.id)
        }
    })
}

/// How many calls and pings were made in the rounds that count.
fn calls(cells: &[&Cell]) -> String {
    let of = |call: Call, noun: &str| {
        let cells = || cells.iter().filter(move |cell| cell.id.call == call);
        let made = |cell: &&Cell| cell.rounds.saturating_mul(config::at_once(&cell.id) as u64);
        let sum = cells().map(made).fold(0, u64::saturating_add);
        cells().next().map(|_| count(sum, noun))
    };
    [of(Call::Broadcast, "call"), of(Call::Ping, "ping")].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// What is wrong with the calls, if anything is: the first thing to know.
pub(in crate::report) fn wrong(measurement: &Measurement) -> Option<String> {
    let cells = asked(measurement);
    let of_all = |is_wrong: fn(&&&Cell) -> bool| {
        let wrong = cells.iter().filter(is_wrong).count();
        (wrong > 0).then(|| format!("{wrong} of {}", count(cells.len(), "cell")))
    };
    let broken = of_all(|cell| !cell.integrity.is_clean()).map(|cells| format!("Calls went WRONG in {cells}"));
    broken.or_else(|| of_all(|cell| cell.rounds == 0).map(|cells| format!("NO ROUND counts in {cells}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use guest_stub::abi::Destination;

    #[test]
    fn a_meshs_pings_are_counted_by_ping() {
        let mut mesh = fixture::cell("spin", 1_000.0);
        (mesh.id.call, mesh.id.destination, mesh.id.vcpus) = (Call::Ping, Destination::Mesh, 3);
        let of = |cells: &[Cell], repetitions| answer(&cells.iter().collect::<Vec<_>>(), repetitions).unwrap();
        let line = |cells: &[Cell]| of(cells, 0);
        assert_eq!(line(std::slice::from_ref(&mesh)), "ok: none of 3000 pings lost, duplicate, late or timed out");
        let both = [fixture::cell("spin", 1_000.0), mesh];
        assert_eq!(line(&both), "ok: none of 1000 calls and 3000 pings lost, duplicate, late or timed out");
        let repeated = of(&both[..1], 2);
        assert_eq!(repeated, "ok: none of 1000 calls, nor of 2 repetitions, lost, duplicate, late or timed out");
    }

    #[test]
    fn what_goes_wrong_with_a_cell_that_nobody_asked_for_is_not_in_the_head() {
        let mut beside = fixture::cell("user", 7_000.0);
        (beside.beside, beside.integrity.timed_out) = (true, 1);
        let mut measurement =
            Measurement { cells: vec![fixture::cell("spin", 1_000.0), beside], ..fixture::measurement() };
        assert_eq!(wrong(&measurement), None);
        assert_eq!(
            answer(&asked(&measurement), 0).unwrap(),
            "ok: none of 1000 calls lost, duplicate, late or timed out"
        );
        measurement.cells[0].integrity.lost = 1;
        assert_eq!(wrong(&measurement).as_deref(), Some("Calls went WRONG in 1 of 1 cell"));
    }

    #[test]
    fn without_a_round_nobody_knows_how_calls_went() {
        let mut measurement = fixture::measurement();
        measurement.cells[1].rounds = 0;
        assert_eq!(wrong(&measurement).as_deref(), Some("NO ROUND counts in 1 of 2 cells"));
        measurement.cells.remove(0);
        assert_eq!(answer(&asked(&measurement), 0).as_deref(), Some("not known: no round counts"));
    }
}
