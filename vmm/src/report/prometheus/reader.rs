//! Reads gauges back, and accepts nothing that Prometheus or the node exporter's textfile collector may reject
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use std::collections::{BTreeMap, BTreeSet};

/// A metric and its samples.
#[derive(Debug)]
pub(in crate::report) struct Family {
    pub(in crate::report) name: String,
    pub(in crate::report) help: String,
    pub(in crate::report) samples: Vec<Sample>,
}

/// A value and what tells it from its family's others.
#[derive(Debug)]
pub(in crate::report) struct Sample {
    pub(in crate::report) labels: BTreeMap<String, String>,
    pub(in crate::report) value: f64,
}

/// Reads a document of gauges.
pub(in crate::report) fn read(text: &str) -> Vec<Family> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line must end: {text:?}");
    let mut families: Vec<Family> = Vec::new();
    let mut lines = text.split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
        assert!(is_name(name), "{line:?}");
        assert_eq!(lines.next(), Some(format!("# TYPE {name} gauge").as_str()));
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line.strip_prefix(name).expect("a sample of its family"), line));
        }
        assert!(!samples.is_empty(), "{name} has no sample");
        let identities: BTreeSet<_> = samples.iter().map(|sample| &sample.labels).collect();
        assert_eq!(identities.len(), samples.len(), "{name}: two samples with the same labels");
        let names = |sample: &Sample| sample.labels.keys().cloned().collect::<Vec<_>>();
        assert!(samples.iter().all(|sample| names(sample) == names(&samples[0])), "{name}: labels differ");
        assert!(families.iter().all(|family| family.name != name), "{name} stands twice");
        families.push(Family { name: name.to_owned(), help: unescaped(help, &['\\', 'n']), samples });
    }
    families
}

/// What follows the name: labels in braces, if any, a space, and the value, behind which a time stamp would stand.
fn sample(rest: &str, line: &str) -> Sample {
    let mut labels = BTreeMap::new();
    let value = match rest.strip_prefix('{') {
        None => rest.strip_prefix(' ').expect(line),
        Some(mut rest) => loop {
            let (name, behind) = rest.split_once("=\"").expect(line);
            assert!(is_name(name) && !name.contains(':') && !name.starts_with("__"), "{line:?}");
            let end = closing_quote(behind).expect(line);
            let value = unescaped(&behind[..end], &['\\', '"', 'n']);
            assert_eq!(labels.insert(name.to_owned(), value), None, "{line:?}");
            match behind[end + 1..].strip_prefix(',') {
                Some(next) => rest = next,
                None => break behind[end + 1..].strip_prefix("} ").expect(line),
            }
        },
    };
    Sample { labels, value: value.parse().expect(line) }
}

fn is_name(name: &str) -> bool {
    let is_letter = |character: char| character.is_ascii_alphabetic() || matches!(character, '_' | ':');
    name.starts_with(is_letter) && name.chars().all(|character| is_letter(character) || character.is_ascii_digit())
}

/// Where the first quote stands that no backslash precedes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(index, character)| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes.then_some(index)
    })
}

fn unescaped(text: &str, known: &[char]) -> String {
    let mut characters = text.chars();
    let mut plain = String::new();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        let escaped = characters.next().filter(|character| known.contains(character));
        plain.push(match escaped.unwrap_or_else(|| panic!("a lone backslash in {text:?}")) {
            'n' => '\n',
            other => other,
        });
    }
    plain
}
