//! The values of options: which are possible, and how they are read.

use super::image;
use crate::comparison::differences::Factor;
use crate::comparison::references::Choice;
use crate::config::routes::{self, Route};
use crate::config::sources;
use crate::config::{Call, InjectedDelay, Observe, Pin, calls, destinations, target_states, waits};
use crate::host;
use crate::report::comparison::Format;
use crate::results::source::Source;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use guest_stub::abi::{self, Destination, Fault, TargetState, Wait, Worker};
use std::path::PathBuf;

/// A number of vCPUs.
pub(super) fn vcpus() -> impl TypedValueParser<Value = u16> {
    clap::value_parser!(u16).range(1..=i64::try_from(abi::MAX_VCPUS).unwrap_or(i64::MAX))
}

/// A parser for the names of `all`. The types are not this crate's, and cannot be [`clap::ValueEnum`]s.
fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    describe: fn(T, PossibleValue) -> PossibleValue,
) -> impl TypedValueParser<Value = T> {
    let values = all.iter().map(|&value| describe(value, PossibleValue::new(name(value))));
    PossibleValuesParser::new(values)
        .try_map(move |text| all.iter().copied().find(|&value| name(value) == text).ok_or("unknown name"))
}

pub(super) fn calls() -> impl TypedValueParser<Value = Call> {
    named(Call::ALL, Call::name, |call, value| value.help(calls::of(call).about))
}

pub(super) fn routes() -> impl TypedValueParser<Value = Route> {
    named(Route::ALL, Route::name, |route, value| value.help(routes::of(route).about))
}

pub(super) fn destinations() -> impl TypedValueParser<Value = Destination> {
    named(Destination::ALL, Destination::name, |it, value| value.help(destinations::of(it).about))
}

pub(super) fn target_states() -> impl TypedValueParser<Value = TargetState> {
    named(TargetState::ALL, TargetState::name, |state, value| value.help(target_states::of(state).about))
}

pub(super) fn sources() -> impl TypedValueParser<Value = Source> {
    named(sources::ALL, Source::name, |source, value| value.help(sources::about(source)))
}

pub(super) fn observes() -> impl TypedValueParser<Value = Observe> {
    named(Observe::ALL, Observe::name, |_, value| value)
}

pub(super) fn factors() -> impl TypedValueParser<Value = Factor> {
    named(Factor::ALL, Factor::name, |_, value| value)
}

pub(super) fn image_formats() -> impl TypedValueParser<Value = image::Format> {
    named(image::Format::ALL, image::Format::name, |format, value| value.help(format.about()))
}

pub(super) fn comparison_formats() -> impl TypedValueParser<Value = Format> {
    named(Format::ALL, Format::name, |format, value| value.help(format.about()))
}

/// A fraction, as a percentage.
pub(super) fn percentage(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>().ok();
    let fraction = number.map(|percent| percent / 100.0).filter(|fraction| 0.0 < *fraction && *fraction < 1.0);
    fraction.ok_or_else(|| "it is no percentage between 0 and 100 such as 5%".to_owned())
}

/// A route and a state.
pub(super) fn reference(text: &str) -> Result<Choice, String> {
    let (route, state) = text.split_once('/').ok_or("it is not of the form ROUTE/STATE, such as memory/spin")?;
    let route = Route::from_name(route).ok_or_else(|| format!("there is no route {route}"))?;
    Ok((route, TargetState::from_name(state).ok_or_else(|| format!("there is no state {state}"))?))
}

pub(super) fn waits() -> impl TypedValueParser<Value = Wait> {
    named(Wait::ALL, Wait::name, |wait, value| value.help(waits::about(wait)))
}

pub(super) fn faults() -> impl TypedValueParser<Value = Fault> {
    named(Fault::ALL, Fault::name, |_, value| value)
}

/// The workers that break a rule can be asked for, to see what happens then, but are not offered.
pub(super) fn workers() -> impl TypedValueParser<Value = Worker> {
    named(Worker::ALL, Worker::name, |worker, value| value.hide(!matches!(worker, Worker::Stamp | Worker::Spin)))
}

/// A file that the node exporter's textfile collector reads, or standard output.
pub(super) fn prom_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if text == "-" || path.extension().is_some_and(|extension| extension == "prom") {
        Ok(path)
    } else {
        Err("the node exporter's textfile collector reads files whose name ends in .prom, and no others".to_owned())
    }
}

/// `delay=5%`, or of one route only: `delay=5%:x2apic`.
pub(super) fn injected_delay(text: &str) -> Result<InjectedDelay, String> {
    let share = text.strip_prefix("delay=");
    let (share, route) = share.map_or((None, None), |share| match share.split_once(':') {
        Some((share, route)) => (Some(share), Some(route)),
        None => (Some(share), None),
    });
    let percent = share
        .and_then(|share| share.strip_suffix('%')?.parse::<f64>().ok())
        .filter(|percent| (0.0..=1000.0).contains(percent))
        .ok_or("it is no share such as delay=5% or delay=5%:x2apic")?;
    let route =
        route.map(|name| Route::from_name(name).ok_or_else(|| format!("there is no route {name}"))).transpose()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most ten million")]
    Ok(InjectedDelay { millionths: (percent * 1e4).round() as u32, route })
}

/// Where vCPU threads run.
pub(super) fn pin(text: &str) -> Result<Pin, String> {
    match text {
        "auto" => Ok(Pin::Auto),
        "none" => Ok(Pin::None),
        list => host::parse_cpu_list(list)
            .filter(|cpus| !cpus.is_empty())
            .map(Pin::List)
            .ok_or_else(|| "it is neither auto, none nor a list of CPUs such as 0,2-3".to_owned()),
    }
}
