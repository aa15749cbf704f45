//! CPU numbers as the kernel writes them: `0-3,8`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Ascending CPU numbers, each once; in documents, the kernel's list of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct CpuList(Vec<usize>);

/// A text that is no list of CPU numbers.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no list of CPUs such as 0-3,8")]
pub struct NotAList(String);

impl CpuList {
    /// The numbers.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl FromIterator<usize> for CpuList {
    fn from_iter<T: IntoIterator<Item = usize>>(cpus: T) -> Self {
        let mut cpus: Vec<usize> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

impl TryFrom<String> for CpuList {
    type Error = NotAList;

    fn try_from(text: String) -> Result<Self, NotAList> {
        parse(&text).map(|cpus| cpus.into_iter().collect()).ok_or(NotAList(text))
    }
}

impl From<CpuList> for String {
    fn from(list: CpuList) -> Self {
        list.to_string()
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ranges(&self.0))
    }
}

/// The CPUs of a kernel list such as `0-3,8`; `None` if it is not one, or names CPUs that no machine has.
pub fn parse(text: &str) -> Option<Vec<usize>> {
    /// Eight times what Linux is built for (CONFIG_NR_CPUS).
    const MOST_CPUS: usize = 1 << 16;
    let mut cpus = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let last = last.parse().ok().filter(|&last: &usize| last < MOST_CPUS)?;
        cpus.extend(first.parse::<usize>().ok()?..=last);
    }
    Some(cpus)
}

/// Ascending numbers as the kernel writes them: `0-2,5`.
pub fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|previous, next| previous.checked_add(1) == Some(*next));
    let texts: Vec<String> = runs
        .filter_map(|run| match run {
            [] => None,
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("0-2,8,10-11\n"), Some(vec![0, 1, 2, 8, 10, 11]));
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("0-"), None);
        assert_eq!(parse("all"), None);
    }

    #[test]
    fn lists_are_written_as_the_kernel_does() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn a_document_has_the_kernels_list() {
        let list: CpuList = [8, 0, 1, 8].into_iter().collect();
        assert_eq!(serde_json::to_string(&list).unwrap(), "\"0-1,8\"");
        assert_eq!(serde_json::from_str::<CpuList>("\"8,0-1\"").unwrap(), list);
        let error = serde_json::from_str::<CpuList>("\"0-\"").unwrap_err().to_string();
        assert!(error.contains("\"0-\" is no list of CPUs"), "{error}");
    }
}
