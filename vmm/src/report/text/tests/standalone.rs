//! Runs of the standalone image.

use super::*;
use crate::results::fixture::standalone;

#[test]
fn the_head_says_what_the_image_ran_on() {
    let mut measurement = standalone();
    let report = render(&measurement, WIDE, false);
    assert_eq!(report.lines().next(), Some("kipi 0.1.0 · standalone image under KVMKVMKVM"));
    assert!(report.contains("guest TSC") && !report.contains("Linux") && !report.contains("kipi trace"), "{report}");
    (measurement.host.nested, measurement.host.hypervisor) = (false, None);
    let report = render(&measurement, WIDE, false);
    assert_eq!(report.lines().next(), Some("kipi 0.1.0 · standalone image on bare metal"));
    assert!(report.contains(" · TSC ") && !report.contains("guest TSC"), "{report}");
}

#[test]
fn the_details_say_what_was_asked_for_and_where_it_was_read() {
    let report = render(&standalone(), WIDE, true);
    assert!(!report.contains("Topology") && !report.contains("Mitigations"), "{report}");
    assert_eq!(line(&report, "Image:"), "Image: started by pvh; 4 processors listed");
    assert_eq!(line(&report, "Command line:"), "Command line: route=x2apic state=spin,halt");
    assert_eq!(line(&report, "Log:"), "Log: serial.log, read by kipi 0.1.0");
    assert_eq!(line(&report, "TSC frequency:"), "TSC frequency: measured against the ACPI PM timer, ± 25 ppm");
}
