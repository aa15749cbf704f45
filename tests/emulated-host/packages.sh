# Debian's packages, fetched and checked by apt-get and unpacked into an ignored folder: nothing is installed, so that
# root is not needed, and nothing on the machine changes.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

# Packages, caches and logs. KIPI_HOST_FOLDER moves them elsewhere.
folder=$(realpath -m "${KIPI_HOST_FOLDER:-$root/.host}")
# Where packages are unpacked, in their own layout.
readonly tree=$folder/tree
# Where those that this machine has not installed have their libraries, for the dynamic linker.
readonly libraries=$tree/usr/lib/x86_64-linux-gnu:$tree/lib/x86_64-linux-gnu
# What the emulated host runs on, and what does here what not every machine has a program for.
readonly busybox=$folder/busybox

open_folder() {
    { mkdir -p "$folder/runs" "$tree" && [ -w "$folder/runs" ]; } 2>/dev/null ||
        fail "$folder cannot be written: set KIPI_HOST_FOLDER to a folder that can"
    # What earlier runs left behind when they failed, unless they still run.
    local each
    for each in "$folder"/runs/*; do
        [ ! -d "$each" ] || [ -d "/proc/${each##*/}" ] || rm -rf "$each"
    done
    need_space "$host_space" 'a run'
    run=$folder/runs/$$
    mkdir "$run" 2>/dev/null || fail "$run cannot be made: is the disk full?"
    trap 'tidy' EXIT
    trap 'interrupt' INT
    trap 'say "told to end $(progress); nothing more is brought back"; terminate' TERM HUP
}

# The MiB that are left on the disk.
space_left() {
    df -m --output=avail "$folder" | tail -n1 | tr -d ' '
}

# Fails if the disk has not $1 MiB left, which $2 needs: few programs say well that they ran out of it.
need_space() {
    local left
    left=$(space_left)
    [ "$left" -ge "$1" ] ||
        fail "$2 needs $1 MiB in $folder, and its disk has $left left: free some, or set KIPI_HOST_FOLDER"
}

# What makes apt's programs use lists and archives of their own: needs no root, and finds packages where
# /var/lib/apt/lists is empty.
apt_options=(-o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt"
    -o Dir::Cache::archives="$folder/apt/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User=)

private_apt() {
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
    # What it puts into TMPDIR lies on the disk that has room.
    TMPDIR=$run apt-get -q "${apt_options[@]}" -o APT::Install-Recommends=0 -o APT::Get::Assume-Yes=1 "$@" \
        >"$run/apt.log" 2>&1
}

# The version of the package $1 that would be fetched.
candidate() {
    TMPDIR=$run LC_ALL=C apt-cache "${apt_options[@]}" policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p'
}

# Lets the next fetches take packages from another suite of Debian's, from where this machine's release comes and in
# preference to it: $1, or that release's own -backports. Fails if this is no Debian, or has none.
add_suite() {
    local source suite
    source=$(TMPDIR=$run apt-get "${apt_options[@]}" indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' 2>/dev/null | awk '$1 == "Debian" && $3 !~ /-/ && $4 == "main" { print $2, $3; exit }')
    [ -n "$source" ] || return 1
    suite=$1
    [ "$suite" != backports ] || suite=${source#* }-backports
    { cat /etc/apt/sources.list 2>/dev/null || true && echo "deb ${source% *} $suite main"; } >"$folder/apt/sources.list"
    local before=("${apt_options[@]}")
    apt_options+=(-o Dir::Etc::sourcelist="$folder/apt/sources.list" -o APT::Default-Release="$suite")
    private_apt update && ! grep -q '^W: Failed' "$run/apt.log" || {
        apt_options=("${before[@]}")
        return 1
    }
}

# Fails with what apt-get complained of.
apt_failed() {
    local complaint
    complaint=$(grep -m1 '^E:' "$run/apt.log" || grep -m1 '^W: Failed' "$run/apt.log" || tail -n1 "$run/apt.log")
    fail "apt-get could not fetch $1: ${complaint:-it said nothing}"
}

# Unpacks the packages that were fetched into the folder $1.
unpack() {
    local archive
    mkdir -p "$1"
    for archive in "$folder"/apt/archives/*.deb; do
        dpkg-deb -x "$archive" "$1" 2>"$run/dpkg.log" ||
            fail "$archive cannot be unpacked into $1: $(tail -n1 "$run/dpkg.log")"
    done
    rm -rf "$folder/apt/archives"
}

# Fetches and unpacks the packages $@, with all that they depend on and this machine has not installed.
fetch_with_dependencies() {
    rm -rf "$folder/apt/archives"
    private_apt --download-only install "$@" || apt_failed "$*"
    unpack "$tree"
}

# Fetches the packages $2... and unpacks them into the folder $1, with all that they depend on, down to the C library,
# whatever is installed here. They may be another release's.
fetch_complete() {
    local into=$1
    shift
    rm -rf "$folder/apt/archives" "$into"
    private_apt -o Dir::State::status=/dev/null --download-only install "$@" || apt_failed "$*"
    unpack "$into"
}

# Of busybox-static, the program itself, installed or not.
fetch_busybox() {
    rm -rf "$folder/apt/archives"
    mkdir -p "$folder/apt/archives"
    (cd "$folder/apt/archives" && private_apt download busybox-static) || apt_failed busybox-static
    unpack "$tree"
    # Newer releases have it in /usr/bin.
    find "$tree" -path '*bin/busybox' -exec mv {} "$busybox" \;
    [ -x "$busybox" ] || fail "busybox-static has no busybox: delete $folder and start again"
}

# A stock kernel, the one that was asked for, of which only the image and the modules of KVM are unpacked.
fetch_kernel() {
    local name archive
    # What another release adds is for the kernel only.
    local apt_options=("${apt_options[@]}")
    case $wanted_kernel in
    [0-9]*) name=linux-image-$wanted_kernel ;;
    *)
        [ -z "$wanted_kernel" ] || add_suite "$wanted_kernel" ||
            fail "--kernel $wanted_kernel: there is no such release where this machine's comes from: $(tail -n1 "$run/apt.log")"
        name=$(private_apt_show_kernel)
        ;;
    esac
    # apt-get calls it a success when no list could be fetched.
    [ -n "$name" ] || ! grep -q '^W: Failed' "$run/apt.log" || apt_failed "the lists of packages"
    [ -n "$name" ] || fail "linux-image-amd64 is in none of this machine's package sources: add Debian's to them"
    rm -rf "$folder/apt/archives" "$kernel_folder"
    mkdir -p "$folder/apt/archives" "$kernel_folder"
    (cd "$folder/apt/archives" && private_apt download "$name") || apt_failed "$name"
    archive=$(echo "$folder"/apt/archives/*.deb)
    dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$kernel_folder" --wildcards './boot/vmlinuz-*' \
        '*/kernel/arch/x86/kvm/*' '*/irqbypass.ko*' '*/ccp.ko*' ||
        fail "$archive cannot be unpacked into $kernel_folder: is the disk full?"
    # What ccp needs, which later kernels have built in.
    dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$kernel_folder" --wildcards '*/rng-core.ko*' 2>"$run/tar.log" || true
    rm -rf "$folder/apt/archives"
}

# The kernel package that the metapackage stands for.
private_apt_show_kernel() {
    TMPDIR=$run apt-cache "${apt_options[@]}" show --no-all-versions linux-image-amd64 2>/dev/null | sed -n 's/^Depends: *\(linux-image-[^ ,]*\).*/\1/p' || true
}

# Deletes what was unpacked when the parts were others, or lay elsewhere: the files of one version do not go over those of
# another.
drop_old_packages() {
    local parts='kernel busybox-alone bochs-complete qemu-8.1'
    [ "$(cat "$folder/parts" 2>/dev/null)" = "$parts" ] && return
    rm -rf "$tree" "$folder"/{kernel,kernel-*,bochs,*.unpacked}
    mkdir -p "$tree"
    echo "$parts" >"$folder/parts"
}

# Fetches what is not there yet: $1... are commands that `take` parts.
take_packages() {
    exec 8>"$folder/lock"
    flock 8
    drop_old_packages
    local updated=''
    # $1...: a part, and how it is fetched. Once is enough.
    take() {
        [ ! -e "$folder/$1.unpacked" ] || return 0
        command -v apt-get >/dev/null ||
            fail "apt-get is missing: it fetches the emulated host's parts; use a Debian, or a container of it"
        if [ -z "$updated" ]; then
            need_space 500 'fetching packages'
            say "fetching packages into $folder (once)"
            private_apt update || apt_failed "the lists of packages"
            updated=yes
        fi
        "${@:2}"
        touch "$folder/$1.unpacked"
    }
    local each
    for each; do $each; done
    flock -u 8
}

# What an emulated host boots.
take_kernel() {
    # A release has a newer one at times: what is fetched under its name stays until the folder is deleted.
    kernel_folder=$folder/kernel${wanted_kernel:+-$wanted_kernel}
    take "${kernel_folder##*/}" fetch_kernel
    take busybox fetch_busybox
}
