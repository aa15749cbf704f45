//! `kipi measure --ab` and `--ab-exec` on real vCPUs: two settings, or two builds, in turns.

use kipi::results::comparison::finding::FindingKind;
use kipi::results::comparison::{Comparison, Overall, Verdict};
use kipi::results::sandbox::State;
use kipi_tests::{Ran, binary, hypervisor, kipi, run_tests, test, turn};

fn main() -> std::process::ExitCode {
    run_tests()
}

const CELL: [&str; 8] = ["measure", "--vcpus", "2", "--route", "x2apic", "--observe", "guest", "--rounds"];

/// Some pairs of boots of 10 rounds each; `None`: there is no virtual machine here.
fn compared(more: &[&str]) -> Option<(Ran, Comparison)> {
    hypervisor()?;
    let ran = kipi(CELL.iter().chain(&["10", "--json", "-"]).chain(more));
    let comparison = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    Some((ran, comparison))
}

#[test]
fn two_settings_are_measured_in_pairs_of_boots() {
    let _turn = turn();
    let options = ["--target-state", "user", "--ab", "halt-poll=0,1000", "--boots", "4"];
    let Some((ran, found)) = compared(&options) else { return };
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!((found.pairs, found.base.runs, found.new.runs), (Some(4), 4, 4));
    assert!(found.started.is_some() && found.date.is_some(), "{found:?}");
    assert!(found.command.iter().any(|word| word == "halt-poll=0,1000"), "{:?}", found.command);
    assert_eq!(found.host.as_ref().and_then(|host| host.key.as_ref()).map(String::len), Some(16));
    let setting = found.differences.iter().find(|it| it.item.as_deref() == Some("halt-poll")).expect("what was set");
    assert_eq!(
        (&*setting.base, &*setting.new, setting.allowed),
        (&["0".to_owned()][..], &["1000".to_owned()][..], true)
    );
    for side in [&found.base, &found.new] {
        let sandboxes = side.sandboxes.iter();
        assert_eq!(sandboxes.map(|it| it.runs).sum::<u64>(), 4, "each boot says what its sandbox was: {side:?}");
        assert!(side.sandboxes.iter().all(|it| it.state != State::Off), "{side:?}");
    }
    let [row] = &found.cells[..] else { panic!("one cell: {found:?}") };
    // Of four pairs, 2 of 16 patterns are as far from no change as can be: more than 1 %.
    assert_eq!((row.verdict, row.raw.interval, found.verdict), (Verdict::Undecided, None, Overall::Undecided));
    assert!(row.base_ns > 0.0 && row.new_ns > 0.0, "{row:?}");
}

#[test]
fn boots_without_sandbox_are_told() {
    let _turn = turn();
    let other = binary().to_str().expect("a plain path");
    for sides in [["--ab", "halt-poll=0,1000"], ["--ab-exec", other]] {
        let options = [&sides[..], &["--target-state", "user", "--boots", "2", "--no-sandbox"]].concat();
        let Some((_, found)) = compared(&options) else { return };
        assert!(found.host.is_some() && found.command.iter().any(|word| word == sides[1]), "{:?}", found.command);
        for side in [&found.base, &found.new] {
            let [sandbox] = side.sandboxes.as_slice() else { panic!("{side:?}") };
            assert_eq!((sandbox.state, sandbox.runs), (State::Off, 2), "{side:?}");
        }
    }
}

#[test]
fn a_build_is_compared_with_itself() {
    let _turn = turn();
    let other = binary().to_str().expect("a plain path");
    let Some((ran, found)) = compared(&["--target-state", "user", "--ab-exec", other, "--boots", "8"]) else { return };
    assert!(matches!(ran.status, Some(0 | 1)), "{ran:?}");
    assert_eq!((found.pairs, found.cells.len()), (Some(8), 1));
    assert!(found.cells[0].raw.interval.is_some(), "eight pairs have one: {found:?}");
}

/// Whether this machine is quiet is not for a test to say: the status follows from what is noted.
#[test]
fn a_strict_run_fails_where_most_boots_of_a_side_were_never_quiet() {
    let _turn = turn();
    let Some((ran, found)) =
        compared(&["--target-state", "user", "--ab", "halt-poll=0,1000", "--boots", "4", "--strict"])
    else {
        return;
    };
    let disturbed = found.findings.iter().filter(|it| it.kind == FindingKind::Disturbed);
    let is_never_quiet = disturbed.flat_map(|it| [&it.base, &it.new]).any(|runs| {
        let boots = runs.split(' ').nth(1).and_then(|count| count.parse::<u32>().ok());
        boots.is_some_and(|boots| 2 * boots > 4)
    });
    let is_worse = found.verdict == Overall::Worse;
    assert_eq!(ran.status, Some(i32::from(is_never_quiet || is_worse)), "{ran:?}");
    assert_eq!(ran.stderr.contains("(--strict)"), is_never_quiet && !is_worse, "{ran:?}");
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_runs() {
    for (options, needle) in [
        (&["--ab", "halt-poll=0"][..], "--ab"),
        (&["--ab", "weather=0,1"], "weather"),
        (&["--ab", "halt-poll=0,1", "--csv", "x.csv"], "--csv"),
        (&["--ab", "halt-poll=0,1", "--prometheus", "x.prom"], "--prometheus"),
        (&["--ab-exec", "kipi", "--bmf", "x.json"], "--bmf"),
        (&["--ab-exec", "/nonexistent/kipi"], "/nonexistent/kipi"),
    ] {
        let ran = kipi(["measure"].iter().chain(options));
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.complaint().contains(needle), "{options:?}: {}", ran.complaint());
    }
}
