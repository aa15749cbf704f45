//! The machine that the image finds itself on, and what of it takes part.

use crate::frequency::{self, Frequency};
use crate::guest::{Ids, Modes};
use crate::local_apic;
use crate::out::{Out, Sink};
use crate::platform;
use core::fmt;
use kipi_standalone::acpi::{self, Fixed, Tables};
use kipi_standalone::plan::{Offers, Plan};
use kipi_standalone::records::{Record, clip};

/// What ACPI's tables and the processor say.
pub(crate) struct Machine {
    pub(crate) tables: Result<Tables, acpi::Error>,
    pub(crate) ids: Ids,
    pub(crate) offers: Offers,
    pub(crate) frequency: Frequency,
    /// Processors that firmware lists.
    listed: u32,
    memory_kib: u64,
}

/// Why nothing can be measured on this machine.
#[derive(Debug)]
pub(crate) enum Error {
    Frequency,
    Ids,
    Processors { asked: u32, there: u32 },
    StaysDisabled,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frequency => {
                f.write_str("the TSC's frequency is not known: neither CPUID, KVM's clock, PM timer nor PIT tell it")
            }
            Self::Ids => f.write_str("there are APIC ids above 254, and no x2APIC mode to reach them in"),
            Self::Processors { asked, there } => {
                let plural = if *there == 1 { "" } else { "s" };
                write!(f, "vcpus={asked}: this machine has {there} processor{plural}")
            }
            Self::StaysDisabled => f.write_str(
                "this local APIC stays disabled once it is: measure route=xapic and the other routes in runs apart",
            ),
        }
    }
}

/// What the FADT says.
pub(crate) fn fixed(tables: &Result<Tables, acpi::Error>) -> Option<&Fixed> {
    tables.as_ref().ok()?.fixed.as_ref().ok()
}

impl Machine {
    /// Looks around, in ACPI's tables first. `memory_kib` is how much of memory is usable.
    pub(crate) fn look(tables: Result<Tables, acpi::Error>, memory_kib: u64) -> Result<Self, Error> {
        let mut ids = Ids::of(platform::apic_id());
        if let Ok(tables) = &tables {
            tables.processors.ids().iter().for_each(|&id| ids.add(id));
        }
        let listed = tables.as_ref().map_or(1, |tables| tables.processors.listed);
        let offers = Offers {
            x2apic: platform::has_x2apic(),
            // Ids that 8 bits cannot hold, or 255 of a broadcast, are no xAPIC's.
            xapic: platform::has_xapic() && ids.all().iter().all(|&id| id < 0xFF),
            processors: ids.count as u32,
        };
        if !offers.x2apic && !offers.xapic {
            return Err(Error::Ids);
        }
        let timer = fixed(&tables).and_then(|fixed| fixed.timer.as_ref()).map(|timer| timer.port);
        let frequency = frequency::find(timer).ok_or(Error::Frequency)?;
        Ok(Self { tables, ids, offers, frequency, listed, memory_kib })
    }

    /// Leaves out the processors that do not take part. The modes that the others' local APICs are brought into.
    pub(crate) fn follow(&mut self, plan: &Plan) -> Result<Modes, Error> {
        let there = self.offers.processors;
        let asked = plan.vcpus(there);
        if asked > there {
            return Err(Error::Processors { asked, there });
        }
        self.ids.keep(asked as usize);
        let modes = Modes::of(plan, self.offers);
        if modes.xapic && modes.x2apic && !local_apic::restart() {
            return Err(Error::StaysDisabled);
        }
        Ok(modes)
    }

    /// Says what it is.
    pub(crate) fn tell<W: Sink>(&self, out: &mut Out<W>) {
        if let Err(error) = &self.tables {
            out.say(format_args!("{error}: this processor alone is used"));
        }
        let (brand, listed, processors) = (platform::brand(), self.listed, self.ids.count);
        out.record(&Record::Platform {
            cpu: clip(brand.text(), 48),
            hypervisor: platform::hypervisor().text(),
            listed,
            processors: processors as u32,
            x2apic: self.offers.x2apic,
            memory_kib: self.memory_kib,
        });
        let Frequency { khz, error_ppm, source } = self.frequency;
        out.record(&Record::Tsc { khz, error_ppm, source });
        let brand = brand.text();
        out.print(format_args!(
            "{brand} · processors: {processors} of {listed} listed · TSC {khz} kHz ± {error_ppm} ppm ({source})\n"
        ));
    }
}
