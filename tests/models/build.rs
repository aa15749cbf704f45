//! Copies the algorithms that are model-checked to where the model checker's atomics can take the place of `core`'s: once
//! as they are, and once with each mutation that the models must catch.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The broadcast call: a module of modules.
const RENDEZVOUS: &str = "../../guest-stub/src/rendezvous";
/// What a sender and a vCPU's thread share: modules of one another.
const INBOX: [&str; 3] = ["vectors", "presence", "inbox"];

/// Text, and what it becomes.
type Edit = (&'static str, &'static str);

/// What each copy changes. A file's name is its mutation's.
const MUTATIONS: &[(&str, &[Edit])] = &[
    (
        "done_before_result",
        &[
            ("self.result.store(result, Ordering::Relaxed);", ""),
            (
                "self.done.store(generation.0, Ordering::Release);",
                "self.done.store(generation.0, Ordering::Release); self.result.store(result, Ordering::Relaxed);",
            ),
        ],
    ),
    (
        "done_without_release",
        &[("self.done.store(generation.0, Ordering::Release);", "self.done.store(generation.0, Ordering::Relaxed);")],
    ),
    (
        "done_without_acquire",
        &[("self.done.load(Ordering::Acquire) == generation.0", "self.done.load(Ordering::Relaxed) == generation.0")],
    ),
    (
        "request_without_release",
        &[(
            "self.request.store(generation.0, Ordering::Release)",
            "self.request.store(generation.0, Ordering::Relaxed)",
        )],
    ),
    (
        "claim_without_acquire",
        &[("let requested = request.load(Ordering::Acquire);", "let requested = request.load(Ordering::Relaxed);")],
    ),
    ("claim_of_what_is_served", &[("requested == served.load(Ordering::Relaxed)", "requested == 0")]),
    (
        "arrival_without_release",
        &[(
            "self.arrived.store(generation.0, Ordering::Release);",
            "self.arrived.store(generation.0, Ordering::Relaxed);",
        )],
    ),
    ("arrival_without_acquire", &[("self.arrived.load(Ordering::Acquire)", "self.arrived.load(Ordering::Relaxed)")]),
    (
        "arrival_of_any_call",
        &[(
            "self.arrived.load(Ordering::Acquire) == generation.0",
            "self.arrived.load(Ordering::Acquire) >= generation.0.min(1)",
        )],
    ),
    (
        "gate_without_acquire",
        &[("let gate = self.gate.load(Ordering::Acquire);", "let gate = self.gate.load(Ordering::Relaxed);")],
    ),
    ("gate_of_any_call", &[("gate == generation.0 + GO", "gate & (PENDING | ABORT) == GO")]),
    (
        "go_without_release",
        &[("Ordering::AcqRel, Ordering::Acquire).is_ok()", "Ordering::Acquire, Ordering::Acquire).is_ok()")],
    ),
    (
        "abort_without_acquire",
        &[("Ordering::AcqRel, Ordering::Acquire).is_ok()", "Ordering::Release, Ordering::Relaxed).is_ok()")],
    ),
    (
        "decision_not_atomic",
        &[(
            "self.gate.compare_exchange(pending, decided, Ordering::AcqRel, Ordering::Acquire).is_ok()",
            "let is_pending = self.gate.load(Ordering::Acquire) == pending; \
             if is_pending { self.gate.store(decided, Ordering::Release); } \
             is_pending",
        )],
    ),
    (
        "slot_given_back_without_release",
        &[("self.owner.store(0, Ordering::Release);", "self.owner.store(0, Ordering::Relaxed);")],
    ),
    (
        "slot_owned_without_acquire",
        &[(
            "compare_exchange(0, initiator + 1, Ordering::Acquire, Ordering::Relaxed)",
            "compare_exchange(0, initiator + 1, Ordering::Relaxed, Ordering::Relaxed)",
        )],
    ),
    (
        "barrier_without_release",
        &[("self.barrier.0.fetch_add(1, Ordering::AcqRel);", "self.barrier.0.fetch_add(1, Ordering::Acquire);")],
    ),
    (
        "barrier_without_acquire",
        &[("self.barrier.0.load(Ordering::Acquire)", "self.barrier.0.load(Ordering::Relaxed)")],
    ),
    (
        "count_in_two_steps",
        &[(
            "match self.missing.compare_exchange(missing, missing - 1, Ordering::AcqRel, Ordering::Relaxed) {",
            "self.missing.store(missing - 1, Ordering::Release); match Ok::<u64, u64>(missing) {",
        )],
    ),
    (
        "count_without_release",
        &[("missing - 1, Ordering::AcqRel, Ordering::Relaxed)", "missing - 1, Ordering::Acquire, Ordering::Relaxed)")],
    ),
    (
        "count_without_acquire",
        &[("missing - 1, Ordering::AcqRel, Ordering::Relaxed)", "missing - 1, Ordering::Release, Ordering::Relaxed)")],
    ),
    (
        "complete_without_release",
        &[(
            "self.complete.store(generation.0, Ordering::Release);",
            "self.complete.store(generation.0, Ordering::Relaxed);",
        )],
    ),
    (
        "wakes_before_it_says_so",
        &[
            ("self.complete.store(generation.0, Ordering::Release);", ""),
            (
                "sleeper.wake(self.word());",
                "sleeper.wake(self.word()); self.word().store(generation.get(), Ordering::Release);",
            ),
        ],
    ),
    (
        "sleeper_without_acquire",
        &[("let value = word.load(Ordering::Acquire);", "let value = word.load(Ordering::Relaxed);")],
    ),
];

/// What each copy of the inbox changes.
const INBOX_MUTATIONS: &[(&str, &[Edit])] = &[
    // Of each side both accesses: a fence around one orders the other, too (`tests/inbox/atomics.rs`).
    (
        "senders_without_order",
        &[
            ("self.0[word].fetch_or(bit, Ordering::SeqCst)", "self.0[word].fetch_or(bit, Ordering::Release)"),
            ("self.0.load(Ordering::SeqCst)", "self.0.load(Ordering::Relaxed)"),
        ],
    ),
    (
        "threads_without_order",
        &[
            ("self.0.store(place, Ordering::SeqCst)", "self.0.store(place, Ordering::Relaxed)"),
            ("bits.load(Ordering::SeqCst)", "bits.load(Ordering::Relaxed)"),
            ("self.events.load(Ordering::SeqCst)", "self.events.load(Ordering::Relaxed)"),
        ],
    ),
    (
        "look_before_the_announcement",
        &[
            (
                "let place = match place {\n            Place::Guest => IN_GUEST,",
                "let empty = is_empty(context);\n let place = match place {\n            Place::Guest => IN_GUEST,",
            ),
            ("is_empty(context).then", "empty.then"),
        ],
    ),
    ("no_parked_thread_is_kicked", &[("PARKED => Place::Parked,", "")]),
    ("nmis_merge", &[("Events::MOST_NMIS as u32 * Events::NMI", "Events::NMI")]),
    (
        "nmis_in_two_steps",
        &[(
            "self.change(|bits| if bits & Events::NMIS < MOST { bits + Events::NMI } else { bits })",
            "let bits = self.events.load(Ordering::SeqCst);\n \
             self.change(|_| if bits & Events::NMIS < MOST { bits + Events::NMI } else { bits })",
        )],
    ),
    (
        "enabled_before_it_is_clear",
        &[(
            "self.irr.clear();\n        self.publish(addressing);",
            "self.publish(addressing);\n        self.irr.clear();",
        )],
    ),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let model = rendezvous();
    write(&out, "rendezvous", &model);
    for (name, edits) in MUTATIONS {
        let mutant = edits.iter().fold(model.clone(), |text, edit| mutate(name, &text, *edit));
        write(&out, name, &mutant);
    }
    let inbox: String = INBOX.iter().map(|name| inbox_module(name)).collect();
    write(&out, "inbox", &inbox);
    for (name, edits) in INBOX_MUTATIONS {
        write(&out, name, &edits.iter().fold(inbox.clone(), |text, edit| mutate(name, &text, *edit)));
    }
}

/// The module's own text, with each of its files in the place where it is declared.
fn rendezvous() -> String {
    let text = for_a_model(&read(&format!("{RENDEZVOUS}/mod.rs")));
    let lines = text.lines().map(|line| match line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
        Some(name) => format!("mod {name} {{\n{}\n}}\n", for_a_model(&read(&format!("{RENDEZVOUS}/{name}.rs")))),
        None => format!("{line}\n"),
    });
    lines.collect()
}

fn inbox_module(name: &str) -> String {
    let source = read(&format!("../../vmm/apic/src/{name}.rs"));
    format!("pub mod {name} {{\n{}\n}}\n", for_a_model(&source))
}

fn read(path: &str) -> String {
    println!("cargo:rerun-if-changed={path}");
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The algorithm without its tests, which come last, and without what an `include!` does not take. A model checker's
/// atomics have no `const` constructors.
fn for_a_model(source: &str) -> String {
    let (code, _) = source.split_once("#[cfg(test)]\nmod tests").unwrap_or((source, ""));
    let lines: Vec<_> = code.lines().filter(|line| !line.starts_with("//!")).collect();
    lines.join("\n").replace("pub const fn new", "pub fn new")
}

fn mutate(name: &str, text: &str, (from, to): Edit) -> String {
    let found = text.matches(from).count();
    assert_eq!(found, 1, "mutation {name}: the source has this {found} times instead of once: {from}");
    text.replace(from, to)
}

fn write(out: &Path, name: &str, text: &str) {
    let path = out.join(name).with_extension("rs");
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
