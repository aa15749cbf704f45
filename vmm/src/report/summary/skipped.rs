//! What cannot be measured here, and why.

use crate::results::count::count;
use crate::results::measurement::Skipped;
use guest_stub::abi::cell::CellId;

/// Combinations that cannot be measured here, by reason.
pub(super) fn answer(skipped: &[Skipped]) -> Option<String> {
    let reasons = Skipped::by_reason(skipped);
    let all = count(skipped.len(), "combination");
    let counted = |(reason, of): &(&str, Vec<&Skipped>)| format!("{} ({reason})", of.len());
    match reasons.as_slice() {
        [] => None,
        [(reason, _)] => Some(format!("{all} ({reason})")),
        several => Some(format!("{all}: {}", several.iter().map(counted).collect::<Vec<_>>().join(", "))),
    }
}

/// Combinations in the words of the command line: as the product of their lists where they are one, else one by one.
pub(in crate::report) fn products(combinations: &[&Skipped]) -> Vec<String> {
    let distinct = |pick: &dyn Fn(&CellId) -> String| {
        let mut values = Vec::new();
        for value in combinations.iter().map(|combination| pick(&combination.id)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    };
    let lists = [
        distinct(&|id| format!("{}{}", id.call.prefix(), id.route.name())),
        distinct(&|id| id.destination.name().to_owned()),
        distinct(&|id| id.target_state.name().to_owned()),
        distinct(&|id| id.vcpus.to_string()),
    ];
    if lists.iter().map(Vec::len).product::<usize>() == combinations.len() {
        let vcpus = if lists[3] == ["1"] { "vCPU" } else { "vCPUs" };
        return vec![format!("{} {vcpus}", lists.map(|list| list.join(", ")).join(" × "))];
    }
    let one = |combination: &&Skipped| {
        let CellId { call, route, destination, target_state, vcpus, .. } = combination.id;
        let (route, destination, state) = (route.name(), destination.name(), target_state.name());
        format!("{}{route} × {destination} × {state} × {}", call.prefix(), count(vcpus, "vCPU"))
    };
    combinations.iter().map(one).collect()
}
