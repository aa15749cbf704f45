//! `kipi measure --under`: the same image under other VMMs, boot by boot in turns with kipi's own.

mod boot;
mod launcher;
mod orphans;
mod own;
mod presets;
mod telling;
mod template;

pub(super) use own::Plan;

use super::interrupts::INTERRUPTED;
use super::machines::{self, Kvm};
use super::status::{Failure, Status, complain};
use crate::config::{CellId, Config, MachineSpec};
use crate::events::samples::Block;
use crate::experiment::{self, Observer, RawSink, recorded};
use crate::report::wrap::printable;
use crate::results::count::count;
use crate::results::measurement::{Measurement, Skipped};
use crate::results::standalone::{OWN_VMM, OtherVmm};
use crate::standalone::log;
use crate::standalone::runs::{self, RecordedRun};
use boot::Booted;
use guest_stub::abi::Wait;
use guest_stub::abi::cell::Under;
use kipi_standalone::plan;
use launcher::Launcher;
use std::io;
use std::sync::atomic::Ordering;
use template::Template;

/// Boots where nothing is said: another VMM's take seconds, and fewer give no intervals.
const BOOTS: usize = 5;

/// A VMM that the image is to run under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vmm {
    name: Under,
    template: Template,
}

/// Reads a preset's name, or a command line, which may have a name before it: `NAME=COMMAND`.
pub(super) fn parse(text: &str) -> Result<Vmm, String> {
    if let Some(preset) = presets::find(text) {
        return vmm(preset.name, preset.line);
    }
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|it| it.is_alphanumeric() || "-_.".contains(it));
    if let Some((name, line)) = text.split_once('=').filter(|(name, _)| is_name(name)) {
        return vmm(name, presets::find(line).map_or(line, |preset| preset.line));
    }
    let template = Template::parse(text).map_err(|error| told(text, &error))?;
    vmm(template.program(), text)
}

fn vmm(name: &str, line: &str) -> Result<Vmm, String> {
    let template = Template::parse(line).map_err(|error| told(line, &error))?;
    let name = Under::named(name)
        .ok_or_else(|| format!("'{}' is no name: 1 to 64 bytes, without control characters", printable(name)))?;
    Ok(Vmm { name, template })
}

fn told(line: &str, error: &template::Error) -> String {
    let names: Vec<&str> = presets::ALL.iter().map(|preset| preset.name).collect();
    format!("'{}' is no command line for a VMM: {error} (or name one of {})", printable(line), names.join(", "))
}

/// The other VMMs of a measurement, and what they have brought.
pub(super) struct Others {
    vmms: Vec<Other>,
    launcher: Launcher,
    boots: usize,
    done: usize,
    /// The machine that boots first in each turn.
    first: Option<MachineSpec>,
    /// What kipi's own VMM cannot measure on this host, and why.
    without_own: Option<(Vec<CellId>, String)>,
}

struct Other {
    vmm: Vmm,
    /// The logs of its boots.
    log: Vec<u8>,
    /// Why it is booted no more.
    failed: Option<String>,
}

impl Others {
    /// Sets the measurement's boots, if nothing was said, and forks what starts the VMMs: this process must have one thread. `None`:
    /// there is no other VMM.
    ///
    /// # Errors
    /// Names that are not told apart, programs that are not there, options that the image has no words for, and files that cannot be written.
    pub(super) fn of(vmms: &[Vmm], config: &mut Config) -> anyhow::Result<Option<Self>> {
        if vmms.is_empty() {
            return Ok(None);
        }
        for (index, vmm) in vmms.iter().enumerate() {
            let name = vmm.name.name();
            if name == OWN_VMM || vmms[..index].iter().any(|other| other.name == vmm.name) {
                anyhow::bail!(
                    "--under: '{name}' is not the only VMM of that name: put another one before it, as in --under {name}-2='…'"
                );
            }
        }
        if config.vcpus.len() != 1 {
            anyhow::bail!("--under: one number of vCPUs at a time (--vcpus)");
        }
        if config.idle_before.iter().any(Option::is_some) || !config.waits.iter().all(Wait::is_spin) {
            anyhow::bail!("--under: the standalone image has no plan for --idle-before or --wait park: leave them out");
        }
        let boots = *config.boots.get_or_insert(BOOTS);
        let words = words(config, boots);
        let plan = plan::parse(&words).map_err(|error| anyhow::anyhow!("--under: {error}"))?;
        for vmm in vmms {
            if let Some(program) = vmm.template.missing_program() {
                anyhow::bail!(
                    "--under {}: there is no program {} (install it, or pass a command line with its file)",
                    vmm.name.name(),
                    printable(program)
                );
            }
        }
        let launcher = Launcher::fork(vmms, (&plan, &words)).map_err(|error| anyhow::anyhow!("--under: {error}"))?;
        let vmms = vmms.iter().map(|vmm| Other { vmm: vmm.clone(), log: Vec::new(), failed: None }).collect();
        Ok(Some(Self { vmms, launcher, boots, done: 0, first: None, without_own: None }))
    }

    /// What this host measures itself beside them: if they are the `only` ones, nothing that needs a virtual machine.
    ///
    /// # Errors
    /// What keeps it from being measured on any host.
    pub(super) fn plan(&mut self, kvm: &Kvm<'_>, config: &Config, image: &[u8], only: bool) -> Result<Plan, Failure> {
        if only {
            return Ok(Plan::without_own(config));
        }
        machines::raise_open_file_limit();
        let plan = Plan::as_far_as_possible(kvm, config, image)?;
        self.without_own = plan.why_not.clone().map(|why| (plan.elsewhere.clone(), why));
        Ok(plan)
    }

    /// Whenever kipi's own machine boots: a turn begins with the first of them.
    pub(super) fn before(&mut self, machine: MachineSpec, progress: &dyn Fn(String)) {
        if *self.first.get_or_insert(machine) == machine && self.done < self.boots {
            self.turn(progress);
        }
    }

    /// What is left, where kipi's own VMM has had fewer boots or cannot run.
    pub(super) fn finish(&mut self, progress: &dyn Fn(String)) {
        // Relaxed: a flag, and nothing is published with it.
        while self.done < self.boots && !INTERRUPTED.load(Ordering::Relaxed) {
            self.turn(progress);
        }
    }

    /// Boots each VMM once, each first in its turn: what one leaves behind, in caches or in frequencies, is shared out.
    fn turn(&mut self, progress: &dyn Fn(String)) {
        let count = self.vmms.len();
        for place in 0..count {
            let (number, boots) = (self.done + 1, self.boots);
            let index = (place + self.done) % count;
            let Other { vmm, log, failed } = &mut self.vmms[index];
            if failed.is_some() {
                continue;
            }
            progress(format!("under {}, boot {number} of {boots}", vmm.name.name()));
            match self.launcher.boot(index) {
                Ok(Booted::Log(bytes) | Booted::Interrupted(bytes)) => log.extend(bytes),
                Err(error) => *failed = Some(error.to_string()),
            }
        }
        self.done += 1;
    }

    /// Adds what they have brought to what kipi's own VMM has. `samples` takes raw samples as kipi's own are taken. Good if all of them
    /// have brought all that was asked for.
    pub(super) fn add_to(self, measurement: &mut Measurement, mut samples: Option<RawSink<'_>>) -> Status {
        let was_partial = measurement.partial;
        if let Some((cells, why)) = self.without_own {
            measurement.warnings.push(format!("under {OWN_VMM}: nothing is measured: {why}"));
            let reason = || format!("{OWN_VMM}'s own VMM cannot run here");
            measurement.skipped.extend(cells.into_iter().map(|id| Skipped { id, reason: reason() }));
        }
        for Other { vmm, log, failed } in self.vmms {
            let name = vmm.name;
            let of_name = |text: String| format!("under {}: {text}", name.name());
            // Of an image that gives up, its own boot has told: it is booted no more.
            let log::Log { boots, faults, gave_up: _ } = log::read(&log);
            let runs = runs::of(boots);
            if let Some(failed) = &failed {
                complain(&of_name(failed.clone()));
                measurement.partial = true;
                measurement.error.get_or_insert_with(|| of_name(failed.clone()));
            }
            let chosen = runs.iter().max_by_key(|run| run.blocks());
            let Some(run) = chosen else {
                measurement.warnings.push(of_name("nothing was measured".to_owned()));
                measurement.partial = true;
                continue;
            };
            measurement.warnings.extend(faults.lines().map(of_name));
            if runs.len() > 1 {
                let left_out = runs.iter().map(|run| run.boots().len()).sum::<usize>() - run.boots().len();
                measurement.warnings.push(of_name(format!("{} of another machine left out", count(left_out, "boot"))));
            }
            add(measurement, &vmm, run, samples.as_mut());
        }
        experiment::under::divide(measurement);
        // Relaxed: a flag, and nothing is published with it.
        match (was_partial || !measurement.partial, INTERRUPTED.load(Ordering::Relaxed)) {
            (_, true) => Status::Interrupted,
            (true, false) => Status::Good,
            (false, false) => Status::Failed,
        }
    }
}

fn add(measurement: &mut Measurement, vmm: &Vmm, run: &RecordedRun, mut samples: Option<&mut RawSink<'_>>) {
    let under = Some(vmm.name);
    let of_name = |text: String| format!("under {}: {text}", vmm.name.name());
    let mut sink = |cell: &CellId, block: &Block, khz: u64| -> io::Result<()> {
        samples.as_mut().map_or(Ok(()), |samples| samples(&CellId { under, ..*cell }, block, khz))
    };
    let mut progress = |_: usize, _: usize, _: &CellId| ();
    let mut observer =
        Observer { progress: &mut progress, samples: Some(&mut sink), started: None, details: None, repeats: None };
    let (imported, error) = recorded::import(run, vmm.name.name(), &mut observer);
    let lost = recorded::lost_cell(run, &imported).map(|cell| format!("no round of {cell} counts"));
    measurement.cells.extend(imported.cells.into_iter().map(|mut cell| {
        cell.id.under = under;
        cell
    }));
    measurement.instruments.extend(imported.instruments.into_iter().map(|mut machine| {
        machine.under = under;
        machine
    }));
    measurement.skipped.extend(
        imported.skipped.into_iter().map(|Skipped { id, reason }| Skipped { id: CellId { under, ..id }, reason }),
    );
    measurement.warnings.extend(imported.warnings.into_iter().map(of_name));
    if let Some(why) = error.map(|error| error.to_string()).or(imported.error).or(lost) {
        measurement.partial = true;
        measurement.error.get_or_insert_with(|| of_name(why));
    }
    if let Some(standalone) = imported.host.standalone {
        measurement.under.push(OtherVmm {
            name: vmm.name.name().to_owned(),
            command: vmm.template.to_string(),
            hypervisor: imported.host.hypervisor,
            cpu: imported.host.cpu,
            standalone,
        });
    }
}

/// What the image is told of a measurement that is spread over so many boots.
fn words(config: &Config, boots: usize) -> String {
    let list = |names: Vec<&'static str>| names.join(",");
    let deadline = config.deadline(config.vcpus[0]).as_millis();
    let mut words = vec![
        format!("call={}", list(config.calls.iter().map(|it| it.name()).collect())),
        format!("route={}", list(config.routes.iter().map(|it| it.name()).collect())),
        format!("state={}", list(config.target_states.iter().map(|it| it.name()).collect())),
        format!("rounds={}", config.rounds.div_ceil(boots)),
        format!("warmup={}", config.warmup),
        format!("vcpus={}", config.vcpus[0]),
        format!("worker={}", config.worker.name()),
        format!("argument={}", config.argument),
        format!("settle={}", config.settle.as_micros()),
        format!("deadline={deadline}"),
    ];
    if !config.destinations.is_empty() {
        words.push(format!("destination={}", list(config.destinations.iter().map(|it| it.name()).collect())));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vmm_has_a_name_of_its_own_or_its_programs() {
        let named = |text| parse(text).map(|vmm| vmm.name.name());
        assert_eq!(named("qemu"), Ok("qemu"));
        assert_eq!(named("old=qemu-microvm"), Ok("old"));
        assert_eq!(named("/opt/bin/vmm --kernel={kernel} {append}"), Ok("vmm"));
        assert_eq!(named("mine=/opt/bin/vmm --kernel={kernel} {append}"), Ok("mine"));
        let error = parse("pigeon").unwrap_err();
        assert!(error.contains("{kernel}") && error.contains("qemu-microvm"), "{error}");
    }
}
