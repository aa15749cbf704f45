use super::*;
use crate::report::wrap::width_of;
use crate::results::comparison::fixture::comparison;

#[test]
fn no_line_is_wider_than_it_may_be() {
    for width in [40, 60, 80, 120] {
        let text = render(&comparison(), width);
        assert!(text.lines().all(|line| width_of(line) <= width), "{width}:\n{text}");
    }
}
