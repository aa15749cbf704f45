# List the recipes
default:
    @just --list --unsorted

# Measure: boot a guest, broadcast, print the table; options follow, as in: just run measure --vcpus 8
run *OPTIONS:
    cargo run --release -- {{ OPTIONS }}

# Run the tests of the whole workspace; a part of a name runs those that contain it
test *FILTER:
    cargo test {{ FILTER }}

# Look at the broadcast call's models for longer: more interleavings, and so many random scenarios
models SCENARIOS="2560":
    LOOM_MAX_PREEMPTIONS=2 PROPTEST_CASES={{ SCENARIOS }} cargo test --package kipi-models

# Run kipi on an emulated KVM host, QEMU's AMD or (--host intel) Bochs' Intel: just emulated-host measure --vcpus 2
[positional-arguments]
emulated-host *OPTIONS:
    @tests/emulated-host/run "$@"

# Run the tests that need a real KVM on this machine's and on the emulated hosts, and print one table
hosts:
    tests/emulated-host/hosts

# Look at the code quickly, without running it: formatting, then clippy with warnings denied
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Measure kipi itself: process start to first broadcast, memory, what a busy neighbour does to results, and how often intervals hold the next run; --quick for a short look
bench *OPTIONS:
    cargo bench --package kipi --bench end_to_end -- {{ OPTIONS }}
    cargo bench --package kipi --bench quiet -- {{ OPTIONS }}
    cargo bench --package kipi --bench coverage -- {{ OPTIONS }}

# Measure round trips and rounds per second; a part of a name runs those that contain it
bench-rounds *FILTER:
    cargo bench --package kipi --bench rounds -- {{ FILTER }}

# Measure pings beside broadcast calls of the same targets; --quick for a short look
bench-ping *OPTIONS:
    cargo bench --package kipi --bench ping -- {{ OPTIONS }}

# Measure how calls scale from 2 to 1,024 vCPUs, polling and parked, against their floor; --quick for two sizes
bench-scaling *OPTIONS:
    cargo bench --package kipi --bench scaling -- {{ OPTIONS }}

# Count false and missed change points of histories that are made up; --quick for a short look
bench-change-points *OPTIONS:
    cargo bench --package kipi --bench change_points -- {{ OPTIONS }}

# Compare made-up sets of runs, whose truth is known: how often kipi compare is wrong, and what it finds; --data DIR takes real runs
bench-errors *OPTIONS:
    cargo bench --package kipi --bench error_rates -- {{ OPTIONS }}

# Measure a send of the broadcast service against its floor; a part of a name runs those that contain it
bench-send *FILTER:
    cargo bench --package kipi --bench send_path -- {{ FILTER }}

# Fuzz the user-space local APIC against the manual, or with guest_words, what guests write, for so many seconds (needs cargo-fuzz, a nightly toolchain and a C++ compiler)
fuzz SECONDS="3600" TARGET="local_apic":
    mkdir -p tests/fuzz/target/corpus/{{ TARGET }}
    cargo +nightly fuzz run --fuzz-dir tests/fuzz {{ TARGET }} tests/fuzz/target/corpus/{{ TARGET }} tests/fuzz/corpus/{{ TARGET }} -- -max_len=512 -max_total_time={{ SECONDS }}

# Let guests do so many things by chance, without KVM
guest-words ACTS="100000000":
    KIPI_GUEST_ACTS={{ ACTS }} cargo test --release --package kipi-tests --test guest_words -- --nocapture

# Write the JSON Schemas in resources/ anew, after a change to the documents' types
bless:
    KIPI_BLESS=1 cargo test --package kipi --lib schema

# Check licences, duplicates and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny --locked --config .ci/deny.toml check licenses bans sources

# Build what is handed out, into target/dist: a static file, .deb, .rpm, man pages, completions (needs cargo-about, cargo-deb, cargo-generate-rpm)
dist:
    dist/build

# Build it twice, from two clones of this commit, and say whether the bytes are the same
dist-check:
    dist/check

# Run everything that a commit must pass
ci:
    .ci/run
