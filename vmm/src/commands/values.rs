//! The values of options: which are possible, and how they are read.

mod counts;
mod names;
mod words;

pub(super) use counts::{Vcpus, count, number, vcpus, vcpus_of_list};
pub(super) use names::{Choice, chosen};
pub(super) use words::words_of_image;

use super::image;
use crate::comparison::differences::Factor;
use crate::comparison::references;
use crate::config::routes::{self, Route};
use crate::config::sources;
use crate::config::{Call, InjectedDelay, Observe, Pin, calls, destinations, target_states, waits};
use crate::host;
use crate::report::comparison::Format;
use crate::results::source::Source;
use clap::builder::PossibleValue;
use guest_stub::abi::{Destination, Fault, TargetState, Wait, Worker};
use names::Names;
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn calls() -> Names<Call> {
    Names::of(Call::ALL, Call::name, |call, value| value.help(calls::of(call).about))
}

pub(super) fn routes() -> Names<Route> {
    Names::of(Route::ALL, Route::name, |route, value| value.help(routes::of(route).about))
}

pub(super) fn destinations() -> Names<Destination> {
    Names::of(Destination::ALL, Destination::name, |it, value| value.help(destinations::of(it).about))
}

pub(super) fn target_states() -> Names<TargetState> {
    Names::of(TargetState::ALL, TargetState::name, |state, value| value.help(target_states::of(state).about))
}

pub(super) fn sources() -> Names<Source> {
    Names::of(sources::ALL, Source::name, |source, value| value.help(sources::about(source)))
}

pub(super) fn observes() -> Names<Observe> {
    Names::of(Observe::ALL, Observe::name, |_, value| value)
}

pub(super) fn factors() -> Names<Factor> {
    Names::of(Factor::ALL, Factor::name, |_, value| value)
}

pub(super) fn image_formats() -> Names<image::Format> {
    Names::of(image::Format::ALL, image::Format::name, |format, value| value.help(format.about()))
}

pub(super) fn comparison_formats() -> Names<Format> {
    Names::of(Format::ALL, Format::name, |format, value| value.help(format.about()))
}

/// A fraction, as a percentage.
pub(super) fn percentage(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>().ok();
    let fraction = number.map(|percent| percent / 100.0).filter(|fraction| 0.0 < *fraction && *fraction < 1.0);
    fraction.ok_or_else(|| "it is no percentage between 0 and 100 such as 5%".to_owned())
}

fn route_of(name: &str) -> Result<Route, String> {
    Route::from_name(&name.to_ascii_lowercase()).ok_or_else(|| format!("there is no route {name}"))
}

/// A time in seconds, which may have a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_hours(24 * 7);
    let whole = || number(text).ok().map(Duration::from_secs);
    let time = whole().or_else(|| Duration::try_from_secs_f64(text.parse().ok()?).ok());
    time.filter(|time| (LEAST..=MOST).contains(time))
        .ok_or_else(|| "it is no number of seconds from 0.1 to a week's, such as 30 or 1.5".to_owned())
}

/// A route and a state.
pub(super) fn reference(text: &str) -> Result<references::Choice, String> {
    let (route, state) = text.split_once('/').ok_or("it is not of the form ROUTE/STATE, such as memory/spin")?;
    let state_of = |name: &str| TargetState::from_name(&name.to_ascii_lowercase());
    Ok((route_of(route)?, state_of(state).ok_or_else(|| format!("there is no state {state}"))?))
}

pub(super) fn waits() -> Names<Wait> {
    Names::of(Wait::ALL, Wait::name, |wait, value| value.help(waits::about(wait)))
}

pub(super) fn faults() -> Names<Fault> {
    Names::of(Fault::ALL, Fault::name, |_, value| value)
}

/// The workers that break a rule can be asked for, to see what happens then, but are not offered.
pub(super) fn workers() -> Names<Worker> {
    Names::of(Worker::ALL, Worker::name, |worker, value| value.hide(!matches!(worker, Worker::Stamp | Worker::Spin)))
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
    let route = route.map(route_of).transpose()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most ten million")]
    Ok(InjectedDelay { millionths: (percent * 1e4).round() as u32, route })
}

/// Whether something is done that may be left away: `auto`, or `none`.
pub(super) fn auto() -> Names<bool> {
    Names::of(&[true, false], |is_done| if is_done { "auto" } else { "none" }, |_, value: PossibleValue| value)
}

/// Where vCPU threads run.
pub(super) fn pin(text: &str) -> Result<Pin, String> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(Pin::Auto),
        "none" => Ok(Pin::None),
        list => host::parse_cpu_list(list)
            .filter(|cpus| !cpus.is_empty())
            .map(Pin::List)
            .ok_or_else(|| "it is neither auto, none nor a list of CPUs such as 0,2-3".to_owned()),
    }
}
