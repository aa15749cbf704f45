use super::*;
use crate::report::comparison::Format;
use crate::report::wrap::width_of;
use crate::results::comparison::fixture::comparison;

#[test]
fn no_line_is_wider_than_it_may_be() {
    for width in [40, 60, 80, 120] {
        let text = render(&comparison(), width);
        assert!(text.lines().all(|line| width_of(line) <= width), "{width}:\n{text}");
    }
}

#[test]
fn a_run_that_is_not_as_its_kind_is_named_with_its_side() {
    let text = render(&comparison(), 200);
    let line = text.lines().find(|line| line.starts_with("outlier")).unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("new · new/run-07.json: ")
            && line.contains(" +15 % against the 10 of its kind (AMD EPYC 9B14, Linux 6.18.0)"),
        "{line}"
    );
}

#[test]
fn each_kind_of_hosts_has_a_table() {
    let mut comparison = comparison();
    for (cpu, row) in ["EPYC", "EPYC", "EPYC", "Xeon", "Xeon"].into_iter().zip(&mut comparison.cells) {
        row.hosts = Some(Hosts { cpu: cpu.to_owned(), kernel: None });
    }
    let text = render(&comparison, 120);
    let titles: Vec<&str> = text.lines().filter(|line| line.contains("· Round trip p50: changes")).collect();
    assert!(titles.len() == 2 && titles[0].starts_with("EPYC") && titles[1].starts_with("Xeon"), "{text}");
}

#[test]
fn a_load_on_one_side_is_told_with_the_way_out() {
    let mut comparison = comparison();
    comparison.cells.truncate(1);
    comparison.cells[0].verdict = Verdict::Undecided;
    comparison.cells[0].open = Some(Open { reason: OpenReason::OneSideDisturbed, more_runs: None });
    for format in [Format::Text, Format::Junit, Format::Tap, Format::Markdown] {
        let text = crate::report::comparison::render(&comparison, format, 200).unwrap();
        assert!(text.contains(ONE_SIDE_DISTURBED), "{text}");
    }
    let json = crate::report::comparison::render(&comparison, Format::Json, 200).unwrap();
    assert!(json.contains("one_side_disturbed"), "{json}");
}
