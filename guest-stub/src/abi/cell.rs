//! A cell's identity: what a measurement is of. Documents, plans and reports all carry this one type.

use super::{Destination, TargetState, Wait};

/// How the interrupt travels from the initiator to its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// A write to the memory-mapped ICR of KVM's local APIC.
    XApic,
    /// A write to the ICR's MSR of KVM's local APIC.
    X2Apic,
    /// No interrupt: the targets poll a cache line.
    Memory,
    /// A write to the ICR with delivery mode NMI, in x2APIC mode where there is one.
    Nmi,
    /// A hypercall of KVM's interface, KVM_HC_SEND_IPI.
    KvmPv,
    /// A hypercall of Hyper-V's interface, HvCallSendSyntheticClusterIpi.
    HyperV,
    /// An interrupt message (KVM_SIGNAL_MSI), which the guest asks the VMM for at a port.
    Msi,
    /// The host is the initiator, by interrupt messages (KVM_SIGNAL_MSI).
    Host,
    /// As [`Route::XApic`], but the local APIC is the VMM's: the write exits, and the broadcast service delivers.
    VmmXApic,
    /// As [`Route::X2Apic`], but the local APIC is the VMM's.
    VmmX2Apic,
    /// As [`Route::Host`], but the local APIC is the VMM's: a message sets a bit in each target's IRR.
    VmmHost,
    /// No virtual machine: the host kernel's own IPI to CPUs that run threads, which nobody but the kernel sees.
    Native,
    /// As [`Route::Native`], and the interrupt restarts the restartable sequence (rseq) that each target's thread is in.
    NativeRseq,
    /// No virtual machine either: threads that sleep, and that the host's kernel wakes.
    NativeFutex,
}

impl Route {
    /// Every route, in the order of output.
    pub const ALL: &[Self] = &[
        Self::XApic,
        Self::X2Apic,
        Self::Memory,
        Self::Nmi,
        Self::KvmPv,
        Self::HyperV,
        Self::Msi,
        Self::Host,
        Self::VmmXApic,
        Self::VmmX2Apic,
        Self::VmmHost,
        Self::Native,
        Self::NativeRseq,
        Self::NativeFutex,
    ];

    /// The name in output and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XApic => "xapic",
            Self::X2Apic => "x2apic",
            Self::Memory => "memory",
            Self::Nmi => "nmi",
            Self::KvmPv => "kvm-pv",
            Self::HyperV => "hyperv",
            Self::Msi => "msi",
            Self::Host => "host",
            Self::VmmXApic => "vmm-xapic",
            Self::VmmX2Apic => "vmm",
            Self::VmmHost => "vmm-host",
            Self::Native => "native",
            Self::NativeRseq => "native-rseq",
            Self::NativeFutex => "native-futex",
        }
    }
}

/// What is called, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Call {
    /// The broadcast call: every participant runs the worker, all at once.
    #[default]
    Broadcast,
    /// One interrupt, which its handler acknowledges to the sender.
    Ping,
}

impl Call {
    /// Every call, in the order of output.
    pub const ALL: &[Self] = &[Self::Broadcast, Self::Ping];

    /// The name in output and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Ping => "ping",
        }
    }

    /// What the name of a cell begins with: the default goes without saying.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Broadcast => "",
            Self::Ping => "ping ",
        }
    }
}

/// Where time stamps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Observe {
    /// In the guest only: nothing exits in a round but what the route needs.
    #[default]
    Guest,
    /// In the VMM too: each worker begins with an exit.
    Exits,
}

impl Observe {
    /// Both, in the order of output.
    pub const ALL: &[Self] = &[Self::Guest, Self::Exits];

    /// The name in output and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Exits => "exits",
        }
    }
}

/// One combination that is measured. `Display` gives it in one line: `x2apic, all-but-self, halt, 2 vCPUs, guest`. What is as
/// by default, the call, the time in HLT, and that participants poll, is left out there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "documents", derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema))]
pub struct CellId {
    /// What is called.
    #[cfg_attr(feature = "documents", serde(default))]
    pub call: Call,
    /// How the interrupt travels.
    pub route: Route,
    /// How the targets are addressed.
    pub destination: Destination,
    /// What the targets do when it arrives.
    pub target_state: TargetState,
    /// How many vCPUs the machine has.
    pub vcpus: usize,
    /// `guest`: nothing exits in a round but what the route needs; `exits`: each worker begins with an exit.
    #[cfg_attr(feature = "documents", serde(default))]
    pub observe: Observe,
    /// How long the targets are to have been in HLT before the send, in µs; `null`: as short as may be. With `halt` only.
    #[cfg_attr(feature = "documents", serde(default))]
    pub idle_before_us: Option<u32>,
    /// How participants wait for each other: `spin`, which is left out, or `park`.
    #[cfg_attr(feature = "documents", serde(default, skip_serializing_if = "Wait::is_spin"))]
    pub wait: Wait,
    /// The VMM that it is measured under; left out where that is kipi's own, or a document is of one other VMM alone.
    #[cfg_attr(feature = "documents", serde(default, skip_serializing_if = "Option::is_none"))]
    pub under: Option<Under>,
}

/// A VMM that is not kipi's, by the name that its user has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Under(&'static str);

impl Under {
    /// The name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl Wait {
    /// Whether it is the default, which documents leave out.
    pub const fn is_spin(&self) -> bool {
        matches!(self, Self::Spin)
    }
}

impl CellId {
    /// Broadcast calls, by the guest's stamps, of targets that have just come into their state, with participants that poll.
    pub const fn broadcast(route: Route, destination: Destination, target_state: TargetState, vcpus: usize) -> Self {
        let (call, observe, idle_before_us, wait, under) = (Call::Broadcast, Observe::Guest, None, Wait::Spin, None);
        Self { call, route, destination, target_state, vcpus, observe, idle_before_us, wait, under }
    }

    /// Whether one vCPU takes all of the guest's stamps: the only one, or one that pings itself.
    pub const fn has_one_clock(&self) -> bool {
        let pings_itself = match self.destination {
            Destination::Itself | Destination::SelfIpi => matches!(self.call, Call::Ping),
            Destination::AllButSelf
            | Destination::All
            | Destination::Unicast
            | Destination::Logical
            | Destination::Mesh => false,
        };
        pings_itself || self.vcpus == 1
    }
}

impl core::fmt::Display for CellId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { call, route, destination, target_state, vcpus, observe, idle_before_us, wait, under } = self;
        let (route, destination, state) = (route.name(), destination.name(), target_state.name());
        write!(f, "{}{route}, {destination}, {state}", call.prefix())?;
        if let Some(time) = idle_before_us {
            write!(f, " for {time} µs")?;
        }
        let vcpu = if *vcpus == 1 { "vCPU" } else { "vCPUs" };
        write!(f, ", {vcpus} {vcpu}, {}", observe.name())?;
        if !wait.is_spin() {
            write!(f, ", {}", wait.name())?;
        }
        under.map_or(Ok(()), |under| write!(f, ", under {}", under.name()))
    }
}

/// Documents hold an enumeration as the name that people read and type.
#[cfg(feature = "documents")]
mod documents {
    use super::super::act::Act;
    use super::{Call, Destination, Observe, Route, TargetState, Under, Wait};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::de::{Deserializer, Error, Unexpected, Visitor};
    use serde::{Deserialize, Serialize, Serializer};
    use std::borrow::{Cow, ToOwned as _};
    use std::boxed::Box;
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    macro_rules! by_name {
        ($($name:ident),+) => {
            $(
                impl $name {
                    /// The one of this name; `None`: there is none.
                    pub fn from_name(name: &str) -> Option<Self> {
                        Self::ALL.iter().copied().find(|value| value.name() == name)
                    }
                }

                impl Serialize for $name {
                    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                        serializer.serialize_str(self.name())
                    }
                }

                impl<'de> Deserialize<'de> for $name {
                    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        struct Name;

                        impl Visitor<'_> for Name {
                            type Value = $name;

                            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                                f.write_str(concat!("the name of a ", stringify!($name)))
                            }

                            fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                                $name::from_name(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
                            }
                        }

                        deserializer.deserialize_str(Name)
                    }
                }

                impl JsonSchema for $name {
                    fn schema_name() -> Cow<'static, str> {
                        stringify!($name).into()
                    }

                    fn inline_schema() -> bool {
                        true
                    }

                    fn json_schema(_: &mut SchemaGenerator) -> Schema {
                        let names: std::vec::Vec<_> = $name::ALL.iter().map(|value| value.name()).collect();
                        json_schema!({ "type": "string", "enum": names })
                    }
                }
            )+
        };
    }

    by_name!(Call, Route, Destination, TargetState, Observe, Wait, Act);

    /// Bytes of the longest name.
    const LONGEST: usize = 64;

    impl Under {
        /// The VMM of this name. A process keeps each name once, for as long as it lives: cells are copied by the thousand. `None`: it is
        /// empty, longer than 64 bytes, or has control characters.
        pub fn named(name: &str) -> Option<Self> {
            static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
            if name.is_empty() || name.len() > LONGEST || name.contains(char::is_control) {
                return None;
            }
            let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = names.get(name) {
                return Some(Self(known));
            }
            let name = Box::leak(name.to_owned().into_boxed_str());
            names.insert(name);
            Some(Self(name))
        }
    }

    impl Serialize for Under {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.name())
        }
    }

    impl<'de> Deserialize<'de> for Under {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let name = Cow::<str>::deserialize(deserializer)?;
            Self::named(&name)
                .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&name), &"a name of 1 to 64 bytes"))
        }
    }

    impl JsonSchema for Under {
        fn schema_name() -> Cow<'static, str> {
            "Under".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "minLength": 1, "maxLength": LONGEST })
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;
    use std::string::ToString as _;

    #[test]
    fn each_route_has_its_own_name() {
        assert_eq!(Route::ALL.iter().map(|route| route.name()).collect::<BTreeSet<_>>().len(), Route::ALL.len());
    }

    #[test]
    fn a_cell_is_one_line() {
        let cell = CellId::broadcast(Route::X2Apic, Destination::AllButSelf, TargetState::Halt, 2);
        assert_eq!(cell.to_string(), "x2apic, all-but-self, halt, 2 vCPUs, guest");
        assert_eq!(CellId { wait: Wait::Park, ..cell }.to_string(), "x2apic, all-but-self, halt, 2 vCPUs, guest, park");
        let ping = CellId { call: Call::Ping, destination: Destination::Unicast, ..cell };
        assert_eq!(ping.to_string(), "ping x2apic, unicast, halt, 2 vCPUs, guest");
        let idle = CellId { idle_before_us: Some(50), ..cell };
        assert_eq!(idle.to_string(), "x2apic, all-but-self, halt for 50 µs, 2 vCPUs, guest");
        assert_eq!(CellId { vcpus: 1, ..cell }.to_string(), "x2apic, all-but-self, halt, 1 vCPU, guest");
        assert_eq!(
            CellId { under: Some(Under("q35")), ..cell }.to_string(),
            "x2apic, all-but-self, halt, 2 vCPUs, guest, under q35"
        );
    }

    #[test]
    fn stamps_of_one_vcpu_are_of_one_clock() {
        let of = |call, destination, vcpus| {
            let cell = CellId::broadcast(Route::X2Apic, destination, TargetState::Spin, vcpus);
            CellId { call, ..cell }.has_one_clock()
        };
        assert!(of(Call::Ping, Destination::Itself, 2) && of(Call::Ping, Destination::SelfIpi, 4));
        assert!(!of(Call::Ping, Destination::Mesh, 2) && !of(Call::Ping, Destination::Unicast, 2));
        assert!(of(Call::Broadcast, Destination::All, 1) && !of(Call::Broadcast, Destination::All, 2));
    }
}
