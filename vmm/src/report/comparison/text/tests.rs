use super::*;
use crate::report::wrap::width_of;
use crate::results::comparison::Outlier;
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
    let mut comparison = comparison();
    let id = comparison.cells[0].id;
    let (cpu, kernel) = ("AMD EPYC".to_owned(), "6.18.0".to_owned());
    comparison.new.outliers =
        vec![Outlier { file: "node-7.json".to_owned(), cpu, kernel, group: 24, id, change: 0.15 }];
    let text = render(&comparison, 200);
    let line = text.lines().find(|line| line.starts_with("outlier")).unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("new · node-7.json: ")
            && line.contains(" +15 % against the 24 of its kind (AMD EPYC, Linux 6.18.0)"),
        "{line}"
    );
}
