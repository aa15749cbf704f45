# What the emulated host says for itself, always one line on standard error, and with which exit status.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

# Nobody can tell the program's status: 125, as docker run and git bisect have it.
readonly STATUS_UNKNOWN=125
# The emulated machine broke down, or a limit was reached: 124, as timeout(1) has it.
readonly STATUS_BROKEN=124
# The command line is wrong: as kipi's own.
readonly STATUS_USAGE=2

say() {
    printf 'emulated host: %s\n' "$*" >&2
}

refuse() {
    say "$*"
    exit "$STATUS_USAGE"
}

fail() {
    say "$*"
    exit "$STATUS_UNKNOWN"
}

# Commands that come with every Debian, but for the last two.
need_tools() {
    local tool missing
    for tool in tar gzip flock setsid setpriv tail df ldd dpkg-deb cargo; do
        [ "$tool" != cargo ] || [ -z "$program" ] || continue
        case $tool in
        dpkg-deb) missing="it unpacks Debian's packages, which the emulated host is made of: use a Debian, or a container of it" ;;
        cargo) missing="install Rust's stable toolchain, see https://rustup.rs" ;;
        *) missing="install it" ;;
        esac
        command -v "$tool" >/dev/null || fail "$tool is missing: $missing"
    done
}
