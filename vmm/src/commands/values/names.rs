//! Names in any case, and `all` of them where a list is taken.

use crate::config::without_repeats;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, Error};
use std::ffi::OsStr;

/// Stands for everything, of CPUs as of names.
pub(super) const ALL: &str = "all";
/// Stands for it, too: there is a destination whose name is `all`.
pub(super) const EVERY: &str = "every";

/// An item of a list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Choice<T> {
    /// What has the name.
    One(T),
    /// Everything that has one.
    All(Vec<T>),
}

/// What a list of names stands for: each once, where it is named first.
pub(in crate::commands) fn chosen<T: Copy + PartialEq>(list: &[Choice<T>]) -> Vec<T> {
    let of = |choice: &Choice<T>| match choice {
        Choice::One(value) => vec![*value],
        Choice::All(all) => all.clone(),
    };
    without_repeats(&list.iter().flat_map(of).collect::<Vec<_>>())
}

/// A name and what it stands for.
type Named<T> = (PossibleValue, T);

/// A parser for names. The types are not this crate's, and cannot be [`clap::ValueEnum`]s.
#[derive(Clone)]
pub(in crate::commands) struct Names<T> {
    named: Vec<Named<T>>,
}

impl<T: Copy + Send + Sync + 'static> Names<T> {
    /// The names of `all`.
    pub(super) fn of(all: &[T], name: fn(T) -> &'static str, describe: fn(T, PossibleValue) -> PossibleValue) -> Self {
        Self { named: all.iter().map(|&value| (describe(value, PossibleValue::new(name(value))), value)).collect() }
    }

    /// A parser for a list's items: these names, and one for all that they stand for: [`ALL`], or where that is a name itself, [`EVERY`].
    pub(in crate::commands) fn or_all(self) -> Names<Choice<T>> {
        let is_taken = self.named.iter().any(|(name, _)| name.matches(ALL, true));
        let everything = if is_taken { PossibleValue::new(EVERY) } else { PossibleValue::new(ALL).alias(EVERY) };
        let all = Choice::All(self.named.iter().map(|&(_, value)| value).collect());
        let named = self.named.into_iter().map(|(name, value)| (name, Choice::One(value)));
        Names { named: named.chain([(everything.help("all of these"), all)]).collect() }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Names<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, option: Option<&Arg>, typed: &OsStr) -> Result<T, Error> {
        let is_it = |(name, _): &&Named<T>| typed.to_str().is_some_and(|typed| name.matches(typed, true));
        if let Some((_, value)) = self.named.iter().find(is_it) {
            return Ok(value.clone());
        }
        // It is none of them: clap says so, and which there are.
        let names = PossibleValuesParser::new(self.named.iter().map(|(name, _)| name.clone()));
        names.parse_ref(command, option, typed).and_then(|_| Err(Error::new(clap::error::ErrorKind::InvalidValue)))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.named.iter().map(|(name, _)| name.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<u8> {
        Names::of(&[0, 1], |value| ["zero", "one"][usize::from(value)], |_, value| value)
    }

    fn read<T: Clone + Send + Sync + 'static>(names: &Names<T>, typed: &str) -> Result<T, String> {
        names.parse_ref(&Command::new("test"), None, OsStr::new(typed)).map_err(|error| error.to_string())
    }

    #[test]
    fn names_have_any_case() {
        for typed in ["one", "ONE", "One"] {
            assert_eq!(read(&names(), typed), Ok(1));
        }
        let error = read(&names(), "Two").expect_err("there is none");
        assert!(error.contains("'Two'") && error.contains("zero, one"), "{error}");
    }

    #[test]
    fn each_is_chosen_once_where_it_is_named_first() {
        let names = names().or_all();
        let list = ["one", "All", "every"].map(|typed| read(&names, typed).expect("a name"));
        assert_eq!(chosen(&list), [1, 0]);
        let taken = Names::of(&[0_u8, 1], |value| ["all", "one"][usize::from(value)], |_, value| value).or_all();
        assert_eq!(read(&taken, "all"), Ok(Choice::One(0)));
        assert_eq!(read(&taken, "every"), Ok(Choice::All(vec![0, 1])));
    }
}
