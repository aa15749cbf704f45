//! The command line's words, `key=value` or `key=value,value`.

use super::{Chosen, Console, End, Plan};
use core::fmt;
use core::ops::RangeInclusive;
use guest_stub::abi::cell::{Call, Route};
use guest_stub::abi::{Destination, MAX_VCPUS, TargetState, Worker};

/// A word that is not understood. `Display` says what there is instead.
#[derive(Debug, Clone)]
pub enum Error<'a> {
    /// No word begins so.
    Key(&'a str),
    /// It is none of the values that the word has.
    Value {
        /// The word.
        key: &'static str,
        /// What was given.
        value: &'a str,
        /// What there is.
        expected: Expected,
    },
    /// It is there twice, or by both of its names.
    Repeated(&'static str),
}

/// The values of a word.
#[derive(Debug, Clone)]
pub enum Expected {
    /// Names, by number.
    Name(fn(usize) -> Option<&'static str>),
    /// Whole numbers.
    Number(RangeInclusive<u64>),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => {
                write!(f, "there is no word {key}; there are ")?;
                list(f, |number| keys().nth(number))
            }
            Self::Repeated(key) => write!(f, "{key} is there twice: leave one out"),
            Self::Value { key, value, expected } => {
                write!(f, "{key} cannot be {value:?}; ")?;
                match expected {
                    Expected::Name(name) => {
                        f.write_str("there are ")?;
                        list(f, name)
                    }
                    Expected::Number(range) => write!(f, "it is a number from {} to {}", range.start(), range.end()),
                }
            }
        }
    }
}

/// `a, b, c`
fn list(f: &mut fmt::Formatter<'_>, name: impl Fn(usize) -> Option<&'static str>) -> fmt::Result {
    for (number, name) in (0..).map_while(|number| Some((number, name(number)?))) {
        f.write_str(if number == 0 { "" } else { ", " })?;
        f.write_str(name)?;
    }
    Ok(())
}

/// Reads a command line, of which each word is there once. Words that boot loaders and VMMs add for Linux are ignored.
///
/// # Errors
/// [`Error`], for the first word that is not understood or is there again.
pub fn parse(command_line: &str) -> Result<Plan, Error<'_>> {
    let mut plan = Plan::default();
    let mut seen = [false; KEYS.len()];
    for (number, word) in command_line.split_ascii_whitespace().enumerate() {
        if is_passed_over(number, word) {
            continue;
        }
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let (place, key, set) = find(key).ok_or(Error::Key(word))?;
        set(&mut plan, value).map_err(|(value, expected)| Error::Value { key, value, expected })?;
        // VMMs may add Linux's console to the one that was asked for.
        if !Console::is_linux(value) && core::mem::replace(&mut seen[place], true) {
            return Err(Error::Repeated(key));
        }
    }
    Ok(plan)
}

/// The first word that [`parse`] ignores.
pub fn passed_over(command_line: &str) -> Option<&str> {
    let mut words = command_line.split_ascii_whitespace().enumerate();
    words.find_map(|(number, word)| is_passed_over(number, word).then_some(word))
}

/// Whether a word, of this number in its command line, is not for the image: Linux's, or the image's own name, which GRUB and QEMU may
/// give first.
fn is_passed_over(number: usize, word: &str) -> bool {
    let key = word.split_once('=').map_or(word, |(key, _)| key);
    let is_path = || word.rsplit_once('/').is_some_and(|(_, name)| !is_word(name));
    is_for_linux(key) || number == 0 && is_path()
}

/// GRUB's BOOT_IMAGE; the devices that QEMU's microvm and Firecracker announce, and whatever else is a module's; Firecracker's
/// boot arguments where none are given.
fn is_for_linux(key: &str) -> bool {
    const WORDS: &[&str] = &["BOOT_IMAGE", "initrd", "root", "ro", "rw", "reboot", "panic", "pci", "nomodule"];
    key.contains('.') || WORDS.contains(&key)
}

/// Reads a word's value into the plan.
type Set = for<'a> fn(&mut Plan, &'a str) -> Result<(), Wrong<'a>>;

/// What was given, and what there is instead.
type Wrong<'a> = (&'a str, Expected);

/// The word of this name: which one it is, and how its value is read.
fn find(name: &str) -> Option<(usize, &'static str, Set)> {
    let mut words = KEYS.iter().enumerate();
    words.find_map(|(place, (names, set))| Some((place, *names.iter().find(|key| **key == name)?, *set)))
}

/// The names of all words.
fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|(names, _)| names.iter().copied())
}

/// Whether a text begins as a word of a plan does.
pub fn is_word(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| find(name).is_some())
}

/// Every word by its names, and how its value is read.
const KEYS: &[(&[&str], Set)] = &[
    (&["call"], |plan, value| names(value).map(|calls| plan.calls = calls)),
    (&["route"], |plan, value| names(value).map(|routes| plan.routes = routes)),
    (&["destination"], |plan, value| names(value).map(|destinations| plan.destinations = destinations)),
    (&["target-state", "state"], |plan, value| names(value).map(|states| plan.target_states = states)),
    (&["rounds"], |plan, value| number(value, 1..=10_000_000).map(|rounds| plan.rounds = rounds)),
    (&["warmup"], |plan, value| number(value, 0..=1000).map(|warmup| plan.warmup = warmup)),
    (&["blocks"], |plan, value| number(value, 1..=10_000_000).map(|blocks| plan.blocks = Some(blocks))),
    (&["vcpus"], |plan, value| number(value, 1..=MAX_VCPUS as u64).map(|vcpus| plan.vcpus = Some(vcpus))),
    (&["worker"], |plan, value| name(value).map(|worker| plan.worker = worker)),
    (&["argument", "spin-cycles"], |plan, value| {
        number(value, 0..=10_000_000_000).map(|argument| plan.argument = Some(argument))
    }),
    (&["settle"], |plan, value| number(value, 0..=1_000_000).map(|us| plan.settle_us = us)),
    (&["deadline"], |plan, value| number(value, 1..=600_000).map(|ms| plan.deadline_ms = ms)),
    (&["end"], |plan, value| name(value).map(|end| plan.end = end)),
    (&["console"], |plan, value| console(value).map(|console| plan.console = console)),
];

/// What has names.
trait Named: Copy + PartialEq + 'static {
    /// Those that can be chosen.
    const ALL: &'static [Self];

    fn name(self) -> &'static str;
}

macro_rules! named {
    ($($name:ident: $all:expr),+) => {
        $(impl Named for $name {
            const ALL: &'static [Self] = $all;

            fn name(self) -> &'static str {
                Self::name(self)
            }
        })+
    };
}

named!(
    Call: Self::ALL,
    Route: Self::ALL,
    Destination: Self::ALL,
    TargetState: Self::ALL,
    // The others break a rule on purpose.
    Worker: &[Self::Stamp, Self::Spin],
    End: Self::ALL
);

fn name<T: Named>(text: &str) -> Result<T, Wrong<'_>> {
    let named = T::ALL.iter().copied().find(|value| value.name() == text);
    named.ok_or((text, Expected::Name(|number| Some(T::ALL.get(number)?.name()))))
}

/// Names, with commas between them.
fn names<T: Named, const ALL: usize>(text: &str) -> Result<Chosen<T, ALL>, Wrong<'_>> {
    let mut chosen = Chosen::of(&[]);
    text.split(',').try_for_each(|text| name(text).map(|value| chosen.insert(value)))?;
    Ok(chosen)
}

fn console(text: &str) -> Result<Console, Wrong<'_>> {
    let expected = |number| {
        let named = Console::NAMED.get(number).map(|&(name, _)| name);
        named.or((number == Console::NAMED.len()).then_some("a serial port as 0x3e8"))
    };
    Console::of(text).ok_or((text, Expected::Name(expected)))
}

/// A number of a range that `T` has room for.
fn number<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, Wrong<'_>> {
    let number = text.parse().ok().filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
    number.ok_or((text, Expected::Number(range)))
}
