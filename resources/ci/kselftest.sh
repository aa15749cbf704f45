#!/bin/sh
# kselftest's way: TAP on standard output, and status 0 (passed), 1 (failed) or 4 (skipped). Copy it into a directory of
# tools/testing/selftests, and name it in TEST_PROGS of the Makefile there.
#
# KIPI       the program, if it is not on the path
# KIPI_BASE  a directory of documents (kipi measure --json) of the kernel to compare with, measured on this machine; without
#            it, the contract alone is checked
# KIPI_RUNS  how often this kernel is measured to be compared
KSFT_FAIL=1
KSFT_SKIP=4

kipi=${KIPI:-kipi}
runs=${KIPI_RUNS:-10}

skip() {
    printf 'TAP version 13\n1..0 # SKIP %s\n' "$*"
    exit "$KSFT_SKIP"
}

fail() {
    printf 'TAP version 13\n1..1\nnot ok 1 - %s\n' "$*"
    exit "$KSFT_FAIL"
}

command -v "$kipi" > /dev/null || skip "there is no $kipi: name it in KIPI"

# kipi's status 4 is kselftest's.
[ -n "${KIPI_BASE:-}" ] || exec "$kipi" check --format tap

new=$(mktemp -d) || exit "$KSFT_FAIL"
trap 'rm -rf "$new"' EXIT
run=1
while [ "$run" -le "$runs" ]; do
    "$kipi" measure --json "$new/$run.json" > /dev/null
    status=$?
    case $status in
    # Calls that went wrong are a finding of the comparison.
    0 | 1) ;;
    4) skip "this host cannot do it" ;;
    *) fail "kipi measure ended with status $status" ;;
    esac
    run=$((run + 1))
done

"$kipi" compare "$KIPI_BASE" --new "$new" --expect kernel --decide --format tap
status=$?
case $status in
0) exit 0 ;;
# Undecided: the tests that it is about are skipped, too.
5) exit "$KSFT_SKIP" ;;
# The stream says what is worse, or not comparable.
1 | 3) exit "$KSFT_FAIL" ;;
*) fail "kipi compare ended with status $status" ;;
esac
