use super::*;
use crate::results::fixture;
use crate::results::sandbox::{Sandbox, State};
use guest_stub::abi::cell::Route;
use guest_stub::random::SplitMix64;

/// Runs of two cells, `halt` over x2apic and xapic, which vary by a little each and by 6 % together; `edit` changes each run.
fn runs(count: usize, edit: impl Fn(usize, &mut Run)) -> (Vec<Run>, Vec<Time>) {
    let mut random = SplitMix64(1);
    let mut uniform = move || (random.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
    let runs = (0..count).map(|index| {
        let mut measurement = fixture::measurement();
        measurement.cells[0].id = CellId { route: Route::XApic, ..measurement.cells[1].id };
        let common = 1.0 + 0.12 * uniform();
        for cell in &mut measurement.cells {
            cell.metrics.insert(MetricName::RoundTrip, fixture::metric(60_000.0 * common * (1.0 + 0.02 * uniform())));
        }
        let mut run = Run { file: format!("{index}.json"), measurement };
        edit(index, &mut run);
        run
    });
    (runs.collect(), (0..count).map(|index| (86_400.0 * index as f64, TimeBy::Document)).collect())
}

fn lengthen(run: &mut Run, cell: usize, factor: f64) {
    let metric = run.measurement.cells[cell].metrics.get_mut(&MetricName::RoundTrip).unwrap();
    *metric = fixture::metric(metric.p50 * factor);
}

fn course_of(history: &History, route: Route) -> &Course {
    history.courses.iter().find(|course| course.id.route == route).unwrap()
}

#[test]
fn one_cells_change_is_in_the_quotient_and_a_hosts_is_not() {
    let (runs, times) = runs(40, |index, run| {
        if index >= 25 {
            run.measurement.host.kernel = "6.99".to_owned();
            lengthen(run, 1, 1.05);
        }
        if index >= 12 {
            lengthen(run, 0, 1.5);
            lengthen(run, 1, 1.5);
        }
    });
    let history = follow(&runs, &times, None);
    let [course, reference] = [Route::X2Apic, Route::XApic].map(|route| course_of(&history, route));
    assert_eq!(course.reference, Some(reference.id));
    let of = |course: &Course, series| -> Vec<usize> {
        course.changes.iter().filter(|it| it.series == series).map(|it| it.first_after).collect()
    };
    assert_eq!(of(course, Series::Divided), [25]);
    assert!(of(course, Series::Raw).contains(&12) && of(reference, Series::Raw) == [12], "{course:?}");
    let change = course.changes.iter().find(|it| it.series == Series::Divided).unwrap();
    assert!((change.change - 0.05).abs() < 0.01 && change.last_before == 24, "{change:?}");
    assert!((change.after / change.before - 1.0 - change.change).abs() < 1e-9);
    let kernels = HostChange {
        run: 25,
        factor: "kernel".to_owned(),
        item: None,
        before: fixture::measurement().host.kernel,
        after: "6.99".to_owned(),
    };
    assert_eq!(history.host_changes, [kernels]);
    assert_eq!(history.warnings, [""; 0]);
}

#[test]
fn runs_without_the_cell_are_passed_over() {
    let (runs, times) = runs(30, |index, run| {
        if index >= 15 {
            lengthen(run, 1, 1.2);
        }
        if (13..17).contains(&index) {
            run.measurement.cells.pop();
        }
    });
    let history = follow(&runs, &times, None);
    let x2apic = course_of(&history, Route::X2Apic);
    assert_eq!(x2apic.points.len(), 26);
    let change = x2apic.changes.iter().find(|it| it.series == Series::Divided).unwrap();
    assert_eq!((change.last_before, change.first_after), (12, 17));
}

#[test]
fn what_documents_of_before_do_not_say_is_no_change() {
    let (runs, mut times) = runs(4, |index, run| {
        if index < 2 {
            run.measurement.host.microcode = None;
        }
        if index == 3 {
            run.measurement.host.cpu = "another".to_owned();
        }
    });
    times[0].1 = TimeBy::File;
    let history = follow(&runs, &times, None);
    assert_eq!(history.host_changes.iter().map(|it| (it.run, it.factor.as_str())).collect::<Vec<_>>(), [(3, "cpu")]);
    let [by_file, few, hosts] = &history.warnings[..] else { panic!("{:?}", history.warnings) };
    assert!(by_file.contains("1 of 4") && few.contains("4 runs") && hosts.contains("another"), "{history:?}");
}

/// With fewer runs, no change is so large that it could not be chance.
#[test]
fn a_large_change_is_found_in_as_few_runs_as_is_said() {
    for (count, is_found) in [(FEWEST_RUNS, true), (8, false)] {
        let values: Vec<(usize, f64)> = (0..count)
            .map(|run| (run, if run < count / 2 { 1.0 } else { 2.0 } + 0.01 * (run * 7 % 5) as f64))
            .collect();
        assert_eq!(changes(Series::Raw, &values).len(), usize::from(is_found), "{count} runs");
    }
}

#[test]
fn runs_without_sandbox_are_named() {
    let (runs, times) = runs(3, |index, run| {
        run.measurement.sandbox = (index == 1).then(Sandbox::off);
    });
    let history = follow(&runs, &times, None);
    assert_eq!(history.runs.iter().map(|run| run.sandbox).collect::<Vec<_>>(), [None, Some(State::Off), None]);
    let warning = "NO SANDBOX (--no-sandbox) in 1 of 3 runs";
    assert!(history.warnings.iter().any(|it| it == warning), "{:?}", history.warnings);
}
