//! Where the image writes.

use core::fmt;

/// Where the image writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Console {
    /// A serial port, by the I/O port of its first register.
    pub serial: Option<u16>,
    /// Port E9H, the debug console of QEMU and Bochs.
    pub e9: bool,
}

impl Console {
    /// The first serial port.
    pub const COM1: Self = Self::serial(0x3F8);
    const COM2: Self = Self::serial(0x2F8);

    /// Those with names on the command line, in the order of help texts. Linux's names are what some VMMs add by themselves.
    pub(super) const NAMED: &[(&str, Self)] = &[
        ("com1", Self::COM1),
        ("com2", Self::COM2),
        ("e9", Self { serial: None, e9: true }),
        ("both", Self { e9: true, ..Self::COM1 }),
        ("ttyS0", Self::COM1),
        ("ttyS1", Self::COM2),
    ];

    const fn serial(port: u16) -> Self {
        Self { serial: Some(port), e9: false }
    }

    /// By its name, or a serial port as `0x3e8`.
    pub(super) fn of(value: &str) -> Option<Self> {
        // A UART has eight registers.
        const LAST: u16 = u16::MAX - 7;
        let named = Self::NAMED.iter().find(|(name, _)| *name == value).map(|&(_, console)| console);
        named.or_else(|| {
            let port = u16::from_str_radix(value.strip_prefix("0x")?, 16).ok()?;
            (1..=LAST).contains(&port).then_some(Self::serial(port))
        })
    }

    /// Whether it is one of Linux's names.
    pub(super) fn is_linux(value: &str) -> bool {
        value.starts_with("ttyS")
    }

    /// The one that a command line chooses, whether or not the rest of it is understood: to tell what is not, it must be known where.
    pub fn chosen_by(command_line: &str) -> Self {
        super::values_of("console=", command_line).filter_map(Self::of).next_back().unwrap_or(Self::COM1)
    }
}

/// As people know it.
impl fmt::Display for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.serial {
            Some(0x3F8) => f.write_str("COM1 (115200 baud, 8N1)")?,
            Some(0x2F8) => f.write_str("COM2 (115200 baud, 8N1)")?,
            Some(port) => write!(f, "the serial port at {port:X}H (115200 baud, 8N1)")?,
            None => {}
        }
        match (self.serial, self.e9) {
            (Some(_), true) => f.write_str(" and port E9H"),
            (None, _) => f.write_str("port E9H"),
            (Some(_), false) => Ok(()),
        }
    }
}
