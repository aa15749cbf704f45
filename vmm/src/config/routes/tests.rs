use super::*;

#[test]
fn each_id_has_its_own_spec() {
    for &route in Route::ALL {
        assert_eq!(of(route).id, route);
        assert!(!of(route).about.is_empty() && !of(route).about.contains('\n'));
    }
}

#[test]
fn local_apics_in_the_vmm_change_nothing_for_the_guest() {
    for (vmm, kernel) in
        [(Route::VmmXApic, Route::XApic), (Route::VmmX2Apic, Route::X2Apic), (Route::VmmHost, Route::Host)]
    {
        let (vmm, kernel) = (of(vmm), of(kernel));
        assert_eq!((vmm.in_guest, vmm.apic_mode, vmm.delivery), (kernel.in_guest, kernel.apic_mode, kernel.delivery));
        assert_eq!((vmm.local_apics, kernel.local_apics), (LocalApics::User, LocalApics::Kernel));
    }
}

#[test]
fn a_send_shows_where_the_local_apics_are() {
    for &route in Route::ALL {
        let spec = of(route);
        let kernel = spec.send.tracepoint.is_some();
        assert_eq!(kernel, spec.interrupts() && spec.local_apics == LocalApics::Kernel, "{}", route.name());
        // The exits are those of a vCPU's thread.
        assert!(spec.send.exit.is_none() || spec.sends_from_guest(), "{}", route.name());
    }
}

#[test]
fn the_usual_route_is_what_the_host_offers() {
    let offers = |x2apic, kernel_local_apics| HostOffers { kernel_local_apics, x2apic, ..HostOffers::EVERYTHING };
    assert_eq!(usual(offers(true, true)), Route::X2Apic);
    assert_eq!(usual(offers(false, true)), Route::XApic);
    assert_eq!(usual(offers(true, false)), Route::XApic, "whose refusal names what is missing");
}
