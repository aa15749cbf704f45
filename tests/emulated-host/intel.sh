# The emulated Intel host: Bochs, whose processor has VMX with EPT, unrestricted guests and virtual NMIs.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

host_memory=1024 host_boot_limit=420 host_time_limit=3600 host_silence=120 host_space=300
host_name='kvm_intel on Bochs'
host_modules='irqbypass kvm kvm-intel'
host_emulator=bochs
# What a second of the emulated host is: as many instructions of each CPU. It lasts seconds outside when all CPUs
# are busy, and next to nothing when all are idle.
readonly instructions_per_second=100000000
# - tsc_early_khz: the TSC counts instructions, and the kernel cannot find out how fast: its time would run far off.
# - tsc=reliable: it is the same on all CPUs, without a check.
# - maxcpus: KVM patches the kernel when it loads, and each patch interrupts all CPUs. That takes ten times as long with
#   two; init wakes the others afterwards.
# - cryptomgr.notests, initcall_blacklist, rodata: seconds each, spent on checks of the kernel's cryptography, of its
#   certificates and of its page tables.
host_parameters="tsc_early_khz=$((instructions_per_second / 1000)) tsc=reliable maxcpus=1 cryptomgr.notests"
# - enable_apicv: Bochs 3.0 offers posted interrupts, and then takes the address of KVM's descriptor for malformed at every
#   VM entry. 2.7 does not offer them.
# - ple_*: Bochs loads a guest's EFLAGS.IF before it notes that it is in a guest (VMenterLoadCheckGuestState, then in_vmx_guest):
#   a CPU that enters a guest whose interrupts are off takes none of its own until the guest changes IF or leaves. Guests that
#   wait with PAUSE are made to leave after a millisecond.
host_parameters+=' initcall_blacklist=load_system_certificate_list rodata=off kvm_intel.enable_apicv=0'
host_parameters+=" kvm_intel.ple_gap=$((instructions_per_second / 10000)) kvm_intel.ple_window=$((instructions_per_second / 1000))"
host_parameters+=' kvm_intel.ple_window_grow=1'

# Guests may run on any CPU.
first_cpu() {
    echo 0
}

# Where Bochs and what it needs are unpacked, with a C library of their own.
readonly bochs=$folder/bochs

readonly bochs_libraries=$bochs/usr/lib/x86_64-linux-gnu:$bochs/lib/x86_64-linux-gnu

# The dynamic linker that belongs to those libraries.
bochs_linker() {
    local linker
    for linker in "$bochs"/{usr/,}lib64/ld-linux-x86-64.so.2; do
        [ ! -x "$linker" ] || break
    done
    printf '%s' "$linker"
}

# Runs the program $1 of that folder.
in_bochs() {
    "$(bochs_linker)" --library-path "$bochs_libraries" "$bochs/usr/bin/$1" "${@:2}"
}

# Before this version, NMIs do not reach a guest that is busy with its interrupts off, a third CPU does not come up, and the
# whole machine stands still at times.
readonly bochs_wanted=3.0

take_bochs() {
    take "bochs-$bochs_wanted" fetch_bochs
}

# From the first release that has it, where this machine's is too old.
fetch_bochs() {
    local version
    version=$(candidate bochs)
    if dpkg --compare-versions "$version" lt "$bochs_wanted"; then
        add_suite trixie || say "Bochs $version is all there is: expect NMIs to be lost, and standstills (fixed in $bochs_wanted)"
    fi
    # bochs alone would bring the display that has most dependencies.
    fetch_complete "$bochs" bochs bochs-term bochsbios vgabios isolinux syslinux-common xorriso xz-utils
}

# The number of $2 bytes at offset $3 of the file $1.
number() {
    od -An -v -j "$3" -N "$2" -t "u$2" "$1" | tr -d ' '
}

# The number $2 as $1 bytes, lowest first, escaped for printf.
bytes() {
    local each
    for ((each = 0; each < $1; each++)); do printf '\\x%02x' $(($2 >> 8 * each & 255)); done
}

# Writes the bytes $3, escaped for printf, at offset $2 of the file $1.
put() {
    # shellcheck disable=SC2059 # the bytes are the format
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Puts at $2 the kernel $1 with its code as it lies in memory, instead of compressed: to unpack itself takes the kernel
# two minutes in Bochs, and everything else until KVM is loaded less than one. The image keeps the kernel's own start in
# real mode. That calls, in protected mode and with esi to be kept, what is put in the place of the unpacking code: it
# turns on long mode, and jumps to where that would jump. Fails if the kernel is not as expected.
unpack_kernel() {
    local packed=$1 result=$2 plain=$run/vmlinux code=$run/code
    local start offset length preferred base unpacker=() segment i to size
    [ "$(number "$packed" 4 $((0x202)))" = $((0x53726448)) ] || return 1 # "HdrS"
    start=$((($(number "$packed" 1 $((0x1f1))) + 1) * 512))
    offset=$((start + $(number "$packed" 4 $((0x248)))))
    length=$(number "$packed" 4 $((0x24c)))
    preferred=$(number "$packed" 8 $((0x258)))
    case $(number "$packed" 4 $offset) in
    $((0x587a37fd))) unpacker=(in_bochs xz -dc --single-stream) ;;
    $((0xfd2fb528))) unpacker=(zstd -dc) ;;
    *) return 1 ;;
    esac
    # The size of the unpacked kernel follows it, and is part of the length.
    head -c $((offset + length - 4)) "$packed" | tail -c +$((offset + 1)) | "${unpacker[@]}" >"$plain" 2>/dev/null || return 1
    [ "$(number "$plain" 4 0)" = $((0x464c457f)) ] || return 1 # "\x7fELF"
    [ "$(number "$plain" 8 24)" = "$preferred" ] || return 1   # its entry
    # Where isolinux loads every kernel; the code's place comes later.
    base=$((0x100000))
    : >"$code"
    for ((i = 0; i < $(number "$plain" 2 56); i++)); do
        segment=$(($(number "$plain" 8 32) + 56 * i))
        [ "$(number "$plain" 4 $segment)" = 1 ] || continue # PT_LOAD
        offset=$(number "$plain" 8 $((segment + 8)))
        to=$(($(number "$plain" 8 $((segment + 24))) - base))
        length=$(number "$plain" 8 $((segment + 32)))
        [ $((offset % 4096 + to % 4096)) = 0 ] && [ $to -ge $((0x3000)) ] || return 1
        dd if="$plain" of="$code" bs=4096 skip=$((offset / 4096)) seek=$((to / 4096)) \
            count=$(((length + 4095) / 4096)) conv=notrunc,sparse status=none || return 1
    done
    # Zeros at the end need not be loaded: memory is zero.
    size=$(stat -c %s "$code")
    while cmp -s -n 1048576 -i $((size - 1048576)):0 "$code" /dev/zero; do size=$((size - 1048576)); done
    truncate -s "$size" "$code"
    # lgdt [base + 0x80]
    # mov eax, base + 0x1000; mov cr3, eax; mov eax, cr4; or al, PAE; mov cr4, eax
    # mov ecx, EFER; rdmsr; or ah, LME; wrmsr; mov eax, cr0; or eax, PG; mov cr0, eax; jmp 0x10:preferred
    put "$code" 0 "\x0f\x01\x15$(bytes 4 $((base + 0x80)))" &&
        put "$code" 7 "\xb8$(bytes 4 $((base + 0x1000)))\x0f\x22\xd8\x0f\x20\xe0\x0c\x20\x0f\x22\xe0" &&
        put "$code" 23 '\xb9\x80\x00\x00\xc0\x0f\x32\x80\xcc\x01\x0f\x30' &&
        put "$code" 35 "\x0f\x20\xc0\x0d\x00\x00\x00\x80\x0f\x22\xc0\xea$(bytes 4 "$preferred")\x10\x00" &&
        # The GDT: its limit and base, then 0x10, 64-bit code, and 0x18, data.
        put "$code" $((0x80)) "\x1f\x00$(bytes 4 $((base + 0xa0)))" &&
        put "$code" $((0xb0)) "$(bytes 8 $((0x00af9b000000ffff)))$(bytes 8 $((0x00cf93000000ffff)))" &&
        # Page tables: four pages of 1 GiB, each at its physical address.
        put "$code" $((0x1000)) "$(bytes 8 $((base + 0x2003)))" || return 1
    for i in 0 1 2 3; do
        put "$code" $((0x2000 + 8 * i)) "$(bytes 8 $(((i << 30) + 0x83)))" || return 1
    done
    head -c "$start" "$packed" | cat - "$code" >"$result.$$" &&
        # Its size in units of 16 bytes, and that it cannot be elsewhere.
        put "$result.$$" $((0x1f4)) "$(bytes 4 $((size / 16)))" && put "$result.$$" $((0x234)) '\0' &&
        mv "$result.$$" "$result" && rm "$plain" "$code"
}

# Makes the disc that is booted.
make_disc() {
    local boot=$run/boot image=$kernel_folder/unpacked
    mkdir "$boot" 2>/dev/null || fail "$boot cannot be made: is the disk full?"
    # Any other kernel boots, too, only slowly.
    [ "$image" -nt "$here/intel.sh" ] || unpack_kernel "$kernel" "$image" || image=$kernel
    ln "$image" "$boot/kernel" 2>/dev/null || cp "$image" "$boot/kernel" 2>/dev/null ||
        fail "$image cannot be copied into $boot: is the disk full?"
    mv "$archive" "$boot/archive"
    cp "$bochs"/usr/lib/{ISOLINUX/isolinux.bin,syslinux/modules/bios/ldlinux.c32} "$boot"
    printf 'DEFAULT host\nLABEL host\nKERNEL /kernel\nINITRD /archive\nAPPEND %s\n' "$parameters" >"$boot/isolinux.cfg"
    in_bochs xorriso -as mkisofs -quiet -o "$run/disc" -b isolinux.bin \
        -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$boot" 2>"$run/xorriso.log" ||
        fail "xorriso cannot write $run/disc: $(tail -n1 "$run/xorriso.log")"
    rm -r "$boot"
}

# Writes Bochs' configuration, and sets `bochs_command` to what starts it: $1 processors of the model $2, $3 MiB of memory, the
# disc $4. What its serial ports send goes to the files $5...
configure_bochs() {
    local file port=0
    # quantum is how many instructions a CPU runs before the next has its turn. MSRs that the processor lacks are only
    # tried.
    cat >"$run/bochsrc" <<END_OF_FILE
display_library: term
log: /dev/null
romimage: file="$bochs/usr/share/bochs/BIOS-bochs-latest", options=fastboot
vgaromimage: file="$bochs/usr/share/vgabios/vgabios.bin"
megs: $3
cpu: model=$2, count=$1:1:1, quantum=16, ips=$instructions_per_second, reset_on_triple_fault=0, ignore_bad_msrs=1
clock: sync=none, time0=utc
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="$4", status=inserted
boot: cdrom
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
END_OF_FILE
    for file in "${@:5}"; do
        port=$((port + 1))
        echo "com$port: enabled=1, mode=file, dev=\"$file\"" >>"$run/bochsrc"
    done
    # Its debugger waits for the order to continue.
    echo c >"$run/bochsrc.orders"
    # The text display needs neither X nor a port of the network. A terminal need only be named: what is drawn is thrown
    # away.
    bochs_command=(env TERM=vt100 BXSHARE="$bochs/usr/share/bochs"
        LTDL_LIBRARY_PATH="$bochs/usr/lib/x86_64-linux-gnu/bochs/plugins"
        "$(bochs_linker)" --library-path "$bochs_libraries" "$bochs/usr/bin/bochs-bin" -q -f "$run/bochsrc" -rc "$run/bochsrc.orders")
}

start_host() {
    local bochs_command
    make_disc
    configure_bochs "$cpus" corei7_skylake_x "$memory" "$run/disc" "$run"/{console,output,error,report}
    # Bochs itself is what is started, and what is killed.
    # shellcheck disable=SC2016 # the inner shell's
    launch sh -c 'exec "$@" </dev/null >/dev/null' sh "${bochs_command[@]}"
}
