//! What `kipi measure --ab` can set differently from boot to boot.

use crate::commands::measure::Measure;
use crate::commands::options::SETTLE_US;
use crate::commands::values;
use crate::config::Pin;
use std::str::FromStr;

/// A setting that each virtual machine has for itself.
pub(super) struct Key {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// Its values, for those who have typed a wrong one.
    values: &'static str,
    /// Whether it is offered.
    is_offered: bool,
    /// Whether its own option has made the choice already.
    is_chosen: fn(&Measure) -> bool,
    /// Makes the choice, as its own option does.
    set: fn(&mut Measure, &str) -> Option<()>,
}

/// All of them.
const KEYS: [Key; 6] = [
    Key {
        name: "halt-poll",
        values: "a number of ns",
        is_offered: true,
        is_chosen: |options| options.calls.halt_poll.is_some(),
        set: |options, value| set(&mut options.calls.halt_poll, number(value)),
    },
    Key {
        name: "pin",
        values: "auto, none, or CPUs such as 0-1 or 0+2",
        is_offered: true,
        is_chosen: |options| options.calls.pin != Pin::Auto,
        set: |options, value| {
            options.calls.pin = values::pin(&value.replace('+', ",")).ok()?;
            Some(())
        },
    },
    Key {
        name: "guest",
        values: "a guest image's file",
        is_offered: true,
        is_chosen: |options| options.machine.guest.is_some(),
        set: |options, value| set(&mut options.machine.guest, Some(value.into())),
    },
    Key {
        name: "latency",
        values: "a number of µs",
        is_offered: true,
        is_chosen: |options| options.calls.latency.is_some(),
        set: |options, value| set(&mut options.calls.latency, number(value)),
    },
    Key {
        name: "settle",
        values: "a number of µs",
        is_offered: true,
        is_chosen: |options| options.calls.settle != SETTLE_US,
        set: |options, value| {
            options.calls.settle = number(value)?;
            Some(())
        },
    },
    Key {
        name: "inject",
        values: "a share such as 2%",
        is_offered: false,
        is_chosen: |options| options.inject.is_some(),
        set: |options, value| set(&mut options.inject, values::injected_delay(&format!("delay={value}")).ok()),
    },
];

fn set<T>(option: &mut Option<T>, value: Option<T>) -> Option<()> {
    *option = Some(value?);
    Some(())
}

fn number(value: &str) -> Option<u32> {
    values::number(value).ok()?.try_into().ok()
}

/// A key and its two values, as `halt-poll=0,200000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contrast {
    pub(super) key: &'static str,
    pub(super) values: [String; 2],
}

impl Contrast {
    /// The options with each value.
    ///
    /// # Errors
    /// Which value the key cannot have, or that its own option is given, too.
    pub(super) fn apply(&self, options: &Measure) -> Result<[Measure; 2], String> {
        let key = KEYS.iter().find(|key| key.name == self.key).expect("`from_str` has found it");
        if (key.is_chosen)(options) {
            return Err(format!("--{0} and --ab {0} both set it (leave --{0} away)", key.name));
        }
        let with = |value: &String| {
            let mut options = options.clone();
            (key.set)(&mut options, value).map(|()| options)
        };
        let [Some(a), Some(b)] = self.values.each_ref().map(with) else {
            let wrong = self.values.iter().find(|value| with(value).is_none());
            return Err(format!("--ab {}: '{}' is not {}", key.name, wrong.map_or("", |it| it), key.values));
        };
        Ok([a, b])
    }
}

impl FromStr for Contrast {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').unwrap_or((text, ""));
        let Some(key) = KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name)) else {
            let offered = KEYS.iter().filter(|key| key.is_offered).map(|key| key.name);
            return Err(format!("it can set {}", offered.collect::<Vec<_>>().join(", ")));
        };
        match values.split(',').collect::<Vec<_>>().as_slice() {
            [a, b] if !a.is_empty() && !b.is_empty() => {
                Ok(Self { key: key.name, values: [a, b].map(|value| (*value).to_owned()) })
            }
            _ => Err(format!("it takes two values, {0}=A,B, each {1}", key.name, key.values)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::tests::parse;

    fn applied(text: &str) -> [Measure; 2] {
        let contrast: Contrast = text.parse().unwrap();
        contrast.apply(&parse(&[]).unwrap().measure).unwrap()
    }

    #[test]
    fn each_side_has_its_value() {
        assert_eq!(applied("halt-poll=0,200000").map(|options| options.calls.halt_poll), [Some(0), Some(200_000)]);
        assert_eq!(applied("pin=0+2,none").map(|options| options.calls.pin), [Pin::List(vec![0, 2]), Pin::None]);
        let delays = applied("inject=0%,2%").map(|options| options.inject.map(|delay| delay.millionths));
        assert_eq!(delays, [Some(0), Some(20_000)]);
        assert_eq!(applied("settle=10,50").map(|options| options.calls.settle), [10, 50]);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_out() {
        let error = |text: &str| text.parse::<Contrast>().unwrap_err();
        assert_eq!(error("vcpus=2,4"), "it can set halt-poll, pin, guest, latency, settle");
        assert_eq!(error("halt-poll=0"), "it takes two values, halt-poll=A,B, each a number of ns");
        assert_eq!(error("pin=0,1,none"), "it takes two values, pin=A,B, each auto, none, or CPUs such as 0-1 or 0+2");
        let contrast: Contrast = "halt-poll=0,many".parse().unwrap();
        let error = contrast.apply(&parse(&[]).unwrap().measure).unwrap_err();
        assert_eq!(error, "--ab halt-poll: 'many' is not a number of ns");
        for twice in [["--halt-poll", "5", "halt-poll=0,1"], ["--pin", "0", "pin=0,1"], ["--settle", "3", "settle=1,2"]]
        {
            let [option, value, contrast] = twice;
            let options = parse(&[option, value]).unwrap().measure;
            let error = contrast.parse::<Contrast>().unwrap().apply(&options).unwrap_err();
            assert_eq!(error, format!("{option} and --ab {} both set it (leave {option} away)", &option[2..]));
        }
    }
}
