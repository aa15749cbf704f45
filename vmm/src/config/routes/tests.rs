use super::*;

#[test]
fn each_id_has_its_own_spec() {
    for &route in Route::ALL {
        assert_eq!(of(route).id, route);
        assert!(!of(route).about.is_empty() && !of(route).about.contains('\n'));
    }
}

#[test]
fn a_route_that_decides_no_mode_has_the_one_that_the_guest_boots_in() {
    for (route, [without, with]) in [
        (Route::XApic, [false, false]),
        (Route::X2Apic, [true, true]),
        (Route::Nmi, [false, true]),
        (Route::Memory, [false, true]),
    ] {
        assert_eq!([false, true].map(|has_x2apic| of(route).is_in_x2apic(has_x2apic)), [without, with]);
    }
}

#[test]
fn local_apics_in_the_vmm_change_nothing_for_the_guest() {
    for (vmm, kernel) in
        [(Route::VmmXApic, Route::XApic), (Route::VmmX2Apic, Route::X2Apic), (Route::VmmHost, Route::Host)]
    {
        let (vmm, kernel) = (of(vmm), of(kernel));
        let in_guest = |spec: &Spec| (spec.in_guest(), spec.apic_mode, spec.delivery);
        assert_eq!(in_guest(vmm), in_guest(kernel));
        assert_eq!([vmm, kernel].map(Spec::local_apics), [LocalApics::User, LocalApics::Kernel].map(Some));
    }
}

#[test]
fn a_send_shows_where_the_local_apics_are() {
    for &route in Route::ALL {
        let spec = of(route);
        let kernel = spec.send.tracepoint.is_some();
        assert_eq!(kernel, spec.interrupts() && spec.local_apics() == Some(LocalApics::Kernel), "{}", route.name());
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

#[test]
fn nothing_of_a_guest_is_asked_of_a_native_route() {
    let natives: Vec<Route> = those(Spec::is_native).collect();
    assert_eq!(natives, [Route::Native, Route::NativeRseq, Route::NativeFutex]);
    for spec in natives.into_iter().map(of) {
        assert_eq!((spec.in_guest(), spec.local_apics(), spec.number_in_guest()), (None, None, 0));
        assert!(!spec.interrupts() && !spec.sends_from_guest() && !spec.sends_ipis() && !spec.decides_mode());
        assert_eq!(spec.send, Send { exit: None, tracepoint: None });
    }
    assert!(GuestRoute::ALL.iter().all(|&route| route as u32 != 0), "zero is no route to the guest");
}
