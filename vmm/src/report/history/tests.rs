use super::*;
use crate::results::history::fixture::history;

#[test]
fn a_change_is_told_with_its_size_its_place_and_what_changed_on_the_host() {
    let text = render(&history(), 100);
    for needle in [
        "6 runs, 2025-11-27 08:00 to 2025-12-02 08:00 UTC · now Linux 6.18.0 · AMD EPYC · kipi 0.1.0",
        "time     66.0 µs",
        "÷ xapic",
        "+10 %",
        "2, 3",
        "kernel: 6.12.1 → 6.18.0",
        "run 2    2025-11-29 08:00  runs/2.json",
        "run 3    2025-11-30 08:00  runs/3.json",
        "1 warning\n- 1 run is dated by its file",
    ] {
        assert!(text.contains(needle), "no {needle}:\n{text}");
    }
    assert!(!text.contains("it is the host's"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("xapic") && line.contains("none")), "{text}");
}

#[test]
fn lines_keep_to_the_width() {
    for width in [40, 80, 120] {
        let text = render(&history(), width);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
    }
}

#[test]
fn what_changed_in_the_time_only_is_the_hosts() {
    let mut history = history();
    history.courses[0].changes.pop();
    history.host_changes[0].run = 4;
    let text = render(&history, 160);
    assert!(text.contains("it is the host's") && text.contains("a run later"), "{text}");
    history.host_changes.clear();
    assert!(render(&history, 160).contains("nothing that the documents tell"));
}

#[test]
fn a_time_beyond_calendars_is_printed_as_it_is() {
    assert_eq!(date(1_764_230_459.9), "2025-11-27 08:00");
    assert_eq!(date(1e300), format!("{} s", 1e300));
}
