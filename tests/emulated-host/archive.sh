# What the emulated host boots: a kernel, and an initramfs of busybox, KVM's modules, the program and its files.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

# kipi, built for this machine; cargo says where it is.
build_kipi() {
    local message
    # Its own output appears as it comes: a first build takes a while.
    message=$(cd "$root" && cargo build --release --locked --bin kipi --message-format=json-render-diagnostics) ||
        fail "kipi does not build: cargo's complaint is above"
    program=$(printf '%s\n' "$message" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n1)
    [ -x "$program" ] || fail "cargo built kipi, and did not say where it is"
}

# The part that does not change from run to run, made once: busybox, `init`, the modules.
prepare_archive() {
    kernel=$(echo "$kernel_folder"/boot/vmlinuz-*)
    [ -r "$kernel" ] || fail "$kernel_folder has no kernel: delete $folder and start again"
    base=$folder/base-$host${kernel_folder#"$folder/kernel"}.cpio
    [ ! "$base" -nt "$here/init" ] || [ ! "$base" -nt "$kernel_folder.unpacked" ] ||
        [ ! "$base" -nt "$here/$host.sh" ] || return 0
    local stage=$run/base name module
    mkdir -p "$stage"/{bin,modules,proc,sys,dev,tmp,run,root,etc} 2>/dev/null || fail "$stage cannot be made: is the disk full?"
    cp "$busybox" "$stage/bin/" 2>/dev/null || fail "$busybox cannot be copied into $stage: is the disk full?"
    install -m 755 "$here/init" "$stage/init"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$stage/etc/passwd"
    # A module that is not there is built into the kernel.
    for name in $host_modules; do
        module=$(find "$kernel_folder" -name "$name.ko*")
        case $module in
        '') continue ;;
        *.ko) cp "$module" "$stage/modules/" ;;
        *.ko.xz) "$busybox" xz -dc "$module" >"$stage/modules/$name.ko" ;;
        *.ko.zst) zstd -qdc "$module" >"$stage/modules/$name.ko" ;;
        esac || fail "$module cannot be unpacked into $stage"
        echo "$name" >>"$stage/modules/order"
    done
    pack "$stage" "$base.$$"
    mv "$base.$$" "$base"
}

# Packs the folder $1 as the initramfs $2.
pack() {
    (cd "$1" && find . | "$busybox" cpio --quiet -o -H newc -F "$2" 2>"$run/cpio.log") ||
        fail "$2 cannot be written: $(df -h "$folder" | awk 'END { print $4 }') are left on the disk"
}

# Quotes $1 for a POSIX shell.
quote() {
    printf "'%s'" "${1//\'/\'\\\'\'}"
}

# Copies the file $1 into the folder $2 under its own path.
take_along() {
    { mkdir -p "$2${1%/*}" && cp -L "$1" "$2$1"; } 2>/dev/null || fail "$1 cannot be copied into $2: is the disk full?"
}

# Copies the documents in the folder $1, which kipi reads where an argument names a folder, into the folder $2.
take_documents() {
    local document
    mkdir -p "$2$1" 2>/dev/null
    for document in "$1"/*.json; do
        [ ! -f "$document" ] || take_along "$document" "$2"
    done
}

# Copies the executable $1 to $2, without its debug information where that can be left out: it is ten times as large as the rest,
# and has to fit into the emulated machine's memory.
take_executable() {
    mkdir -p "${2%/*}" 2>/dev/null
    strip --strip-debug -o "$2" "$1" 2>/dev/null || cp -L "$1" "$2" 2>/dev/null ||
        fail "$1 cannot be copied to $2: is the disk full?"
}

# The path that the argument $1 could name, absolute; nothing if it is an option.
path_of() {
    local path=$1
    case $path in
    --*=*) path=${path#*=} ;;
    -*) return 0 ;;
    esac
    case $path in
    '') return 0 ;;
    /*) printf '%s' "$path" ;;
    *) printf '%s' "$PWD/$path" ;;
    esac
}

# The archive of this run, for the program's arguments $@.
make_archive() {
    local stage=$run/stage name=${program##*/} argument path library place
    # A script calls it kipi, whichever build of it that is.
    [ -z "$script" ] || name=kipi
    mkdir -p "$stage/job" "$stage$PWD" 2>/dev/null || fail "$stage cannot be made: is the disk full?"
    place=/job
    if [ -n "$alone" ]; then
        place=/job/root
        mkdir -p "$stage$place"/{dev,proc,sys} 2>/dev/null || fail "$stage cannot be made: is the disk full?"
    fi
    take_executable "$program" "$stage$place/$name"
    for path in "${takes[@]}"; do
        path=$(realpath "$path")
        take_executable "$path" "$stage$path"
    done
    # "not a dynamic executable" is an answer, too.
    for library in $(ldd "$program" "${takes[@]}" 2>/dev/null | grep -o '[[:blank:]]/[^ ]*' | sort -u || true); do
        take_along "$library" "$stage"
    done
    for argument; do
        path=$(path_of "$argument")
        [ -n "$path" ] || continue
        # Where the folder is missing, it is missing there, too: the program says so.
        [ ! -d "${path%/*}" ] || mkdir -p "$stage${path%/*}"
        [ ! -f "$path" ] || take_along "$path" "$stage"
        [ ! -d "$path" ] || take_documents "$path" "$stage"
        printf '%s\n' "$path"
    done >"$stage/job/paths"
    if [ -n "$script" ]; then
        cp -L "$script" "$stage/job/script" 2>/dev/null || fail "$script cannot be copied into $stage: is the disk full?"
        printf '%s\n' "$PWD" >>"$stage/job/paths"
    fi
    {
        printf 'cd %s || exit 1\n' "$(quote "$PWD")"
        for argument in RUST_BACKTRACE NO_COLOR; do
            [ -z "${!argument-}" ] || printf 'export %s=%s\n' "$argument" "$(quote "${!argument}")"
        done
        for argument in "${environment[@]}"; do
            printf 'export %s=%s\n' "${argument%%=*}" "$(quote "${argument#*=}")"
        done
        [ -z "$alone" ] || printf 'mount -o rbind /%s /job/root/%s || exit 1\n' dev dev proc proc sys sys
        printf 'exec '
        [ "$(first_cpu)" -eq 0 ] || printf 'taskset -c %s-%s ' "$(first_cpu)" "$(($(first_cpu) + cpus - 1))"
        [ -z "$alone" ] || printf 'chroot %s ' "$place"
        if [ -n "$script" ]; then printf 'env PATH="/job:$PATH" sh /job/script'; else quote "${place#/job/root}/$name"; fi
        for argument; do printf ' %s' "$(quote "$argument")"; done
        printf '\n'
    } >"$stage/job/command"
    pack "$stage" "$run/job.cpio"
    archive=$run/archive
    cat "$base" "$run/job.cpio" 2>/dev/null >"$archive" || fail "$archive cannot be written: is the disk full?"
    rm -rf "$stage" "$run/job.cpio"
    # Mitigations of what an emulator does not have would only slow it down; a panic ends the run.
    parameters="console=ttyS0,115200 quiet panic=-1 mitigations=off nokaslr $host_parameters $append"
}
