use super::*;
use crate::events::clock::tests::{estimated, exact};
use std::convert::Infallible;

/// Half of the shortest exchange's round trip, in cycles.
const HALF: u64 = 60;
/// A millisecond.
const FAR: i64 = 2_600_000;

/// CPUs whose TSCs agree, and vCPUs whose true offsets are `ahead`: what they exchange, on a common clock.
fn agreeing(clock: &CommonClock, ahead: &[i64]) -> impl Fn(Comparison) -> Result<Vec<Exchange>, Infallible> {
    |Comparison { partner, .. }| {
        const NOW: u64 = 1 << 40;
        let answered = clock.of_vcpu(partner, NOW.wrapping_add_signed(ahead[partner] - ahead[0]));
        Ok(vec![Exchange { sent: NOW - HALF, answered, received: NOW + HALF }])
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where exchanges may fail")]
fn silent(_: Comparison) -> Result<Vec<Exchange>, Infallible> {
    Ok(Vec::new())
}

fn compare(partners: &ClockPartners, clock: &CommonClock, ahead: &[i64]) -> ClockError {
    partners.compare(clock, &Comparisons::default(), agreeing(clock, ahead)).unwrap_or_else(|never| match never {})
}

#[test]
fn one_vcpu_of_each_cpu_is_compared() {
    let partners = |vcpus, pin: &[usize]| {
        let chosen = ClockPartners::choose(vcpus, pin, &[0, 1, 2]);
        let partners: Vec<usize> = chosen.comparisons.iter().map(|comparison| comparison.partner).collect();
        (partners, chosen.references)
    };
    assert_eq!(partners(3, &[0, 1, 2]), (vec![1, 2], vec![0, 1, 2]));
    assert_eq!(partners(3, &[0, 0, 1]), (vec![2], vec![0, 0, 2]), "vCPU 1 runs on vCPU 0's CPU");
    assert_eq!(partners(5, &[4, 2]), (vec![1], vec![0, 1, 0, 1, 0]));
    assert_eq!(partners(1, &[]), (vec![], vec![0]));
}

#[test]
fn vcpus_that_may_move_have_all_cpus_compared() {
    let keep_on = |partners: &ClockPartners| -> Vec<_> { partners.comparisons.iter().map(|it| it.keep_on).collect() };
    let partners = ClockPartners::choose(2, &[], &[1, 3, 5]);
    assert_eq!(keep_on(&partners), [Some([1, 3]), Some([1, 5])]);
    let error = compare(&partners, &exact(&[0, FAR]), &[0, FAR]);
    assert_eq!(error.vcpus, Some(2 * HALF), "each of two vCPUs may be on a CPU other than the first");
    assert!(error.method.ends_with("2 exchanges of stamps between 3 CPUs"), "{}", error.method);
    let error = compare(&ClockPartners::choose(2, &[], &[1]), &estimated(&[0, 0], 400), &[0, 0]);
    assert_eq!(error.vcpus, Some(1_600), "two vCPUs' estimates, and the one that stands for both");
}

#[test]
fn what_is_known_of_the_offsets_does_not_count_as_an_error() {
    let partners = ClockPartners::choose(3, &[0, 1, 2], &[0, 1, 2]);
    let error = compare(&partners, &exact(&[5, 5, 5 + FAR]), &[5, 5, 5 + FAR]);
    assert_eq!((error.vcpus, error.host, error.subtracted), (Some(2 * HALF), 0, vec![0, 0, FAR]));
    assert_eq!(
        error.method,
        "TSC offsets differ by up to 2600000 cycles and are subtracted (KVM_VCPU_TSC_OFFSET); 2 exchanges of stamps with 2 \
         vCPUs on other CPUs"
    );
    let equal = compare(&partners, &exact(&[5, 5, 5]), &[5, 5, 5]);
    assert!(equal.method.starts_with("all vCPUs have one TSC offset (KVM_VCPU_TSC_OFFSET); 2 exchanges"));
}

#[test]
fn an_offset_that_kvm_tells_wrongly_is_an_error() {
    let partners = ClockPartners::choose(2, &[0, 1], &[0, 1]);
    // The guest reads the host's TSC, whatever its offset.
    assert_eq!(compare(&partners, &exact(&[0, FAR]), &[0, 0]).vcpus, Some(FAR.unsigned_abs() + HALF));
}

#[test]
fn a_boot_in_which_a_neighbour_delays_the_answers_leaves_the_bound_alone() {
    const LATE: u64 = 35_000_000;
    let partners = ClockPartners::choose(3, &[0, 1, 2], &[0, 1, 2]);
    let clock = exact(&[0; 3]);
    // In each boot, the answers of another vCPU are late.
    let boot = |earlier: &Comparisons, late: usize| {
        let exchanges = |comparison: Comparison| {
            let mut made = agreeing(&clock, &[0; 3])(comparison)?;
            made[0].received += if comparison.partner == late { LATE } else { 0 };
            Ok::<_, Infallible>(made)
        };
        partners.compare(&clock, earlier, exchanges).unwrap_or_else(|never| match never {})
    };
    let first = boot(&Comparisons::default(), 1);
    assert_eq!(first.vcpus, Some(HALF + LATE + HALF));
    let second = boot(&first.comparisons, 2);
    assert_eq!(second.vcpus, Some(2 * HALF), "each CPU was compared undisturbed once");
    assert!(second.method.ends_with("4 exchanges of stamps with 2 vCPUs on other CPUs"), "{}", second.method);
}

#[test]
fn a_vcpu_that_is_silent_in_one_boot_is_known_from_another() {
    let partners = ClockPartners::choose(2, &[0, 1], &[0, 1]);
    let clock = exact(&[0; 2]);
    let first = compare(&partners, &clock, &[0; 2]);
    let second = partners.compare(&clock, &first.comparisons, silent).unwrap_or_else(|never| match never {});
    assert_eq!(second.vcpus, Some(HALF));
}

#[test]
fn where_kvm_tells_no_offset_a_vcpu_of_a_shared_cpu_is_compared_by_its_estimate() {
    let partners = ClockPartners::choose(3, &[0, 0, 1], &[0, 1]);
    // 100 and 300 cycles off, each within its error.
    let error = compare(&partners, &estimated(&[100, FAR - 300, 0], 400), &[0, FAR, 0]);
    assert_eq!(error.subtracted, [0, FAR - 400, 0]);
    // vCPU 1 by its estimate and vCPU 0's, the other CPU by the exchange.
    assert_eq!((error.vcpus, error.host), (Some(800 + HALF), 400));
    assert!(
        error.method.starts_with("TSC offsets differ by up to 2599600 cycles and are subtracted (estimated by reading")
    );
    let equal = compare(&partners, &estimated(&[100, -300, 0], 400), &[0; 3]);
    assert_eq!((equal.vcpus, equal.subtracted), (Some(1_200 + HALF), vec![0; 3]));
    assert!(equal.method.starts_with("TSC offsets, estimated by"), "{}", equal.method);
    let alone = compare(&ClockPartners::choose(2, &[0, 1], &[0, 1]), &estimated(&[100, -300], 400), &[0; 2]);
    assert_eq!(alone.vcpus, Some(HALF), "an exchange needs no estimate");
}

#[test]
fn a_vcpu_that_nothing_bounds_leaves_the_error_unknown() {
    let partners = ClockPartners::choose(5, &[0, 1], &[0, 1]);
    let error =
        partners.compare(&exact(&[0; 5]), &Comparisons::default(), silent).unwrap_or_else(|never| match never {});
    assert_eq!(error.vcpus, None);
    assert!(
        error.method.starts_with("2 of 5 vCPUs exchanged no stamps with vCPU 0; all vCPUs have"),
        "{}",
        error.method
    );
}
