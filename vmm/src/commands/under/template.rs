//! How another VMM is started: a command line with places for what kipi fills in.

use std::fmt;
use std::path::Path;
use thiserror::Error;

/// What kipi fills in, by its name in the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The image's file.
    Kernel,
    /// The plan's words, as one argument.
    Append,
    /// The file that the serial line is to be written to; without it, it is read from standard output.
    Serial,
    /// How many processors.
    Vcpus,
    /// A file with Firecracker's configuration (`--config-file`), which has image, words and processors in it.
    Config,
}

impl Place {
    const ALL: [Self; 5] = [Self::Kernel, Self::Append, Self::Serial, Self::Vcpus, Self::Config];

    const fn text(self) -> &'static str {
        match self {
            Self::Kernel => "{kernel}",
            Self::Append => "{append}",
            Self::Serial => "{serial}",
            Self::Vcpus => "{vcpus}",
            Self::Config => "{config}",
        }
    }
}

/// Why a command line is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Error {
    /// A quotation mark without its other one, or a backslash at the end.
    #[error("its quotation marks do not match")]
    Quotes,
    /// There is no program in it.
    #[error("it names no program")]
    Empty,
    /// The image cannot get there.
    #[error("it has no {{kernel}}, where the image's file goes, nor {{config}}")]
    NoKernel,
    /// The image would not know what to measure.
    #[error("it has no {{append}}, where the plan's words go, nor {{config}}: the image would measure something else")]
    NoAppend,
    /// There is no such place.
    #[error("it has {0}, and kipi fills in {{kernel}}, {{append}}, {{serial}}, {{vcpus}} and {{config}}")]
    Unknown(String),
}

/// A command line, word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    words: Vec<String>,
}

/// What a boot needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling<'f> {
    pub(super) kernel: &'f Path,
    pub(super) append: &'f str,
    pub(super) serial: &'f Path,
    pub(super) config: &'f Path,
    pub(super) vcpus: usize,
}

impl Template {
    /// Splits a command line as a shell does, without its expansions.
    ///
    /// # Errors
    /// Every variant.
    pub(super) fn parse(line: &str) -> Result<Self, Error> {
        let words = shlex::split(line).ok_or(Error::Quotes)?;
        if words.first().is_none_or(String::is_empty) {
            return Err(Error::Empty);
        }
        let template = Self { words };
        if let Some(unknown) = template.words.iter().find_map(|word| unknown(word)) {
            return Err(Error::Unknown(unknown.to_owned()));
        }
        let lacks = |place| !template.has(place) && !template.has(Place::Config);
        if lacks(Place::Kernel) {
            return Err(Error::NoKernel);
        }
        if lacks(Place::Append) {
            return Err(Error::NoAppend);
        }
        Ok(template)
    }

    fn has(&self, place: Place) -> bool {
        self.words.iter().any(|word| word.contains(place.text()))
    }

    /// Whether the serial line is written to a file.
    pub(super) fn has_serial(&self) -> bool {
        self.has(Place::Serial)
    }

    /// The program, without its folder.
    pub(super) fn program(&self) -> &str {
        let program = &self.words[0];
        Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program)
    }

    /// The program, as it was typed, if there is none that could be run by that name.
    pub(super) fn missing_program(&self) -> Option<&str> {
        let program = self.words[0].as_str();
        which::which(program).is_err().then_some(program)
    }

    /// Program and arguments.
    pub(super) fn fill(&self, filling: &Filling<'_>) -> Vec<String> {
        let value = |place| match place {
            Place::Kernel => filling.kernel.display().to_string(),
            Place::Append => filling.append.to_owned(),
            Place::Serial => filling.serial.display().to_string(),
            Place::Vcpus => filling.vcpus.to_string(),
            Place::Config => filling.config.display().to_string(),
        };
        let fill = |word: &String| {
            Place::ALL.into_iter().fold(word.clone(), |word, place| word.replace(place.text(), &value(place)))
        };
        self.words.iter().map(fill).collect()
    }
}

/// As it was typed, or nearly so.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

/// The first word in braces that is no place: `{kernle}`.
fn unknown(word: &str) -> Option<&str> {
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
    let starts = word.match_indices('{').map(|(at, _)| at);
    starts
        .filter_map(|start| Some(&word[start..=start + word[start..].find('}')?]))
        .find(|text| is_name(&text[1..text.len() - 1]) && Place::ALL.iter().all(|place| place.text() != *text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in_wherever_they_stand() {
        let template =
            Template::parse("/usr/bin/qemu -kernel {kernel} -append {append} -serial 'file:{serial}' -smp {vcpus}");
        let filling = Filling {
            kernel: Path::new("/tmp/a b"),
            append: "route=x2apic rounds=20",
            serial: Path::new("/tmp/log"),
            config: Path::new("/tmp/config"),
            vcpus: 4,
        };
        let template = template.unwrap();
        assert_eq!(
            template.fill(&filling),
            [
                "/usr/bin/qemu",
                "-kernel",
                "/tmp/a b",
                "-append",
                "route=x2apic rounds=20",
                "-serial",
                "file:/tmp/log",
                "-smp",
                "4"
            ]
        );
        assert_eq!((template.program(), template.has_serial()), ("qemu", true));
    }

    #[test]
    fn a_program_is_looked_for_where_it_would_be_run() {
        let is_missing = |program: &str| {
            let template = Template::parse(&format!("{program} {{kernel}} {{append}}")).unwrap();
            template.missing_program().map(|missing| assert_eq!(missing, program)).is_some()
        };
        assert!(!is_missing("sh") && !is_missing("/bin/sh"));
        assert!(is_missing("no-such-vmm") && is_missing("/etc/passwd") && is_missing("/bin"));
    }

    #[test]
    fn a_command_line_that_cannot_be_run_says_why() {
        let error = |line: &str| Template::parse(line).unwrap_err();
        assert_eq!(error("qemu '-kernel {kernel}"), Error::Quotes);
        assert_eq!(error("  "), Error::Empty);
        assert_eq!(error("'' {kernel} {append}"), Error::Empty);
        assert_eq!(error("qemu -append {append}"), Error::NoKernel);
        assert_eq!(error("qemu -kernel {kernel} -append rounds=20"), Error::NoAppend);
        assert_eq!(error("qemu -kernel {kernle}"), Error::Unknown("{kernle}".to_owned()));
        assert!(Template::parse("firecracker --config-file {config}").is_ok(), "both are in there");
        // JSON is no place.
        assert!(Template::parse("vmm --config '{\"kernel\": \"{kernel}\", \"line\": \"{append}\"}'").is_ok());
    }
}
