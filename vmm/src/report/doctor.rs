//! The doctor's findings as text and as JSON.

use crate::config::routes;
use crate::report::summary::topology;
use crate::report::wrap::{hang, wrap};
use crate::results::count::count;
use crate::results::cpu_list::ranges;
use crate::results::doctor::{Check, Doctor, Group, RouteVerdict, Verdict};
use crate::results::host::Facts;
use std::iter::once;

/// Width of the verdict and the space before it.
const VERDICT_COLUMNS: usize = 10;
/// Widest name that the details are lined up behind.
const NAME_COLUMNS: usize = 20;
/// What stands before advice.
const ADVICE: &str = "-> ";

/// One line of the text: a verdict or nothing, a name, a text, and what to do.
struct Line<'a> {
    verdict: Option<Verdict>,
    name: &'a str,
    detail: String,
    advice: Option<&'a str>,
}

/// Renders the findings for people: plain text in lines of at most `width` columns.
pub fn render_text(doctor: &Doctor, width: usize) -> String {
    let mut text = String::new();
    for (title, lines) in sections(doctor) {
        section(&mut text, width, title, &lines);
    }
    push_line(&mut text, &wrap(&summary(doctor), width, 0));
    text
}

/// The same, but only what is limited or missing: nothing where all is well.
pub fn render_wants(doctor: &Doctor, width: usize) -> String {
    let mut text = String::new();
    for (title, mut lines) in sections(doctor) {
        lines.retain(|line| matches!(line.verdict, Some(Verdict::Limited | Verdict::Missing)));
        if !lines.is_empty() {
            section(&mut text, width, title, &lines);
        }
    }
    if doctor.is_fit() {
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            text.push('\n');
        }
    } else {
        push_line(&mut text, &wrap(&summary(doctor), width, 0));
    }
    text
}

/// What the text is made of, by its titles.
fn sections(doctor: &Doctor) -> [(&'static str, Vec<Line<'_>>); 5] {
    let checks = |group| doctor.checks.iter().filter(move |check| check.group == group).map(of_check);
    let device = once(fact("path", doctor.device.path.clone()));
    let settings = once(fact("settings", settings(&doctor.host)));
    let wanted = once(fact("wanted", doctor.vcpus.to_string()));
    [
        ("Host", facts(&doctor.host).into_iter().chain(checks(Group::Host)).collect()),
        ("KVM", device.chain(checks(Group::Kvm)).chain(settings).collect()),
        ("vCPUs", wanted.chain(checks(Group::Vcpus)).collect()),
        ("Routes", doctor.routes.iter().map(of_route).collect()),
        ("Tracing", checks(Group::Tracing).collect()),
    ]
}

/// Renders the findings for programs: the document of schema `kipi.doctor/1`.
///
/// # Errors
/// As `serde_json`'s; the document's types give it no reason for one.
pub fn render_json(doctor: &Doctor) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(doctor)? + "\n")
}

fn summary(doctor: &Doctor) -> String {
    let is_native = |name: &&str| routes::those(routes::Spec::is_native).any(|route| route.name() == *name);
    let ready = doctor.routes.iter().filter(|route| route.verdict == Verdict::Ready).map(|route| route.route.as_str());
    let (natives, ready): (Vec<&str>, Vec<&str>) = ready.partition(is_native);
    let vcpus = count(doctor.vcpus, "vCPU");
    let of_vcpus = match (doctor.exit_status, ready.is_empty()) {
        (0, _) => format!("kipi can measure {vcpus} on this host, over {}.", ready.join(", ")),
        (_, true) => format!("kipi cannot measure {vcpus} on this host: no route is ready."),
        (_, false) => {
            format!("kipi cannot measure interrupts of {vcpus} on this host: only {} is ready.", ready.join(", "))
        }
    };
    match natives.as_slice() {
        [] => of_vcpus,
        natives => {
            format!("{of_vcpus} Without a virtual machine, it can measure threads, over {}.", natives.join(", "))
        }
    }
}

/// The facts that no check repeats.
fn facts(host: &Facts) -> Vec<Line<'static>> {
    let smt = host.smt.map(|on| if on { "on: siblings share a core" } else { "off" }.to_owned());
    let known = [
        ("kernel", Some(host.kernel.clone())),
        ("cpu", host.cpu.clone()),
        ("allowed cpus", (!host.allowed_cpus.is_empty()).then(|| ranges(&host.allowed_cpus))),
        ("online cpus", host.online_cpus.as_deref().map(ranges)),
        ("topology", topology(&host.topology)),
        ("smt", smt),
        ("huge pages", host.transparent_hugepages.clone()),
    ];
    known.into_iter().filter_map(|(name, value)| Some(fact(name, value?))).collect()
}

fn settings(host: &Facts) -> String {
    if host.settings.is_empty() {
        return "none can be read".to_owned();
    }
    host.settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn fact(name: &str, detail: String) -> Line<'_> {
    Line { verdict: None, name, detail, advice: None }
}

fn of_check(check: &Check) -> Line<'_> {
    Line {
        verdict: Some(check.verdict),
        name: &check.name,
        detail: check.detail.clone(),
        advice: check.advice.as_deref(),
    }
}

fn of_route(route: &RouteVerdict) -> Line<'_> {
    Line { verdict: Some(route.verdict), name: &route.route, detail: route.reason.clone(), advice: None }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ready => "ok",
        Verdict::Limited => "limited",
        Verdict::Missing => "missing",
    }
}

fn section(text: &mut String, width: usize, title: &str, lines: &[Line<'_>]) {
    push_line(text, title);
    for Line { verdict, name, detail, advice } in lines {
        let verdict = verdict.map_or("", word);
        let head = format!("  {verdict:<8}{name:<NAME_COLUMNS$} ");
        push_line(text, &hang(&head, detail, width, VERDICT_COLUMNS + NAME_COLUMNS + 1));
        if let Some(advice) = advice {
            let head = format!("{:VERDICT_COLUMNS$}{ADVICE}", "");
            push_line(text, &hang(&head, advice, width, VERDICT_COLUMNS + ADVICE.len()));
        }
    }
    text.push('\n');
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sample;
    use crate::report::wrap::width_of;

    #[test]
    fn text_has_every_group_check_and_route() {
        let doctor = sample();
        let text = render_text(&doctor, 80);
        for title in ["Host", "KVM", "vCPUs", "Routes", "Tracing"] {
            assert!(text.lines().any(|line| line == title), "{title} in\n{text}");
        }
        for check in &doctor.checks {
            let line = format!("{:<8}{}", word(check.verdict), check.name);
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        for route in &doctor.routes {
            assert!(text.contains(&format!("{:<8}{}", word(route.verdict), route.route)));
        }
    }

    #[test]
    fn what_is_wanting_is_all_that_is_told_of_it() {
        let mut doctor = sample();
        doctor.checks.iter_mut().for_each(|check| check.verdict = Verdict::Ready);
        doctor.routes.iter_mut().for_each(|route| route.verdict = Verdict::Ready);
        assert_eq!(render_wants(&doctor, 80), "");
        let route = &mut doctor.routes[4];
        (route.verdict, route.reason) = (Verdict::Missing, "why".to_owned());
        let line = format!("Routes\n  missing {:<NAME_COLUMNS$} why\n", route.route);
        assert_eq!(render_wants(&doctor, 80), line);
        doctor.exit_status = 4;
        assert_eq!(render_wants(&doctor, 80), format!("{line}\n{}\n", wrap(&summary(&doctor), 80, 0)));
    }

    #[test]
    fn text_fits_eighty_columns_and_keeps_every_word() {
        let mut doctor = sample();
        doctor.routes[0].reason = "why ".repeat(60);
        doctor.checks[0].advice = Some("do this, ".repeat(30));
        let text = render_text(&doctor, 80);
        let wide: Vec<&str> = text.lines().filter(|line| width_of(line) > 80).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        assert_eq!(text.matches("why").count(), 60);
        assert_eq!(text.matches("do this,").count() + text.matches("do\n").count(), 30);
    }

    #[test]
    fn advice_stands_under_its_check() {
        let mut doctor = sample();
        doctor.checks[0].advice = Some("turn it off and on".to_owned());
        let name = doctor.checks[0].name.clone();
        let text = render_text(&doctor, 80);
        let mut lines = text.lines().skip_while(|line| !line.contains(&name)).skip(1);
        assert!(lines.any(|line| line == "          -> turn it off and on"), "{text}");
    }

    #[test]
    fn summary_says_what_can_be_measured() {
        let mut doctor = sample();
        assert_eq!(
            summary(&doctor),
            "kipi can measure 4 vCPUs on this host, over xapic, x2apic, memory, nmi, kvm-pv, hyperv, msi, host, vmm-xapic, vmm, \
             vmm-host. Without a virtual machine, it can measure threads, over native, native-rseq, native-futex."
        );
        doctor.exit_status = 4;
        doctor.routes[0].verdict = Verdict::Missing;
        doctor.routes[1].verdict = Verdict::Limited;
        doctor.routes[3..].iter_mut().for_each(|route| route.verdict = Verdict::Missing);
        assert_eq!(summary(&doctor), "kipi cannot measure interrupts of 4 vCPUs on this host: only memory is ready.");
        doctor.routes[2].verdict = Verdict::Missing;
        assert_eq!(summary(&doctor), "kipi cannot measure 4 vCPUs on this host: no route is ready.");
    }

    #[test]
    fn json_can_be_read_back() {
        let doctor = sample();
        let json = render_json(&doctor).expect("plain data");
        assert_eq!(serde_json::from_str::<Doctor>(&json).expect("the same document"), doctor);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut doctor = sample();
        doctor.checks[0].detail = "/a/path/that/is/longer/than/a/line/".repeat(5);
        for width in 20..120 {
            let text = render_text(&doctor, width);
            assert!(text.lines().all(|line| width_of(line) <= width), "{width}:\n{text}");
        }
    }
}
