# The emulated AMD host: QEMU without KVM (TCG), whose processor has SVM and nested paging.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

host_memory=2048 host_boot_limit=180 host_time_limit=900 host_silence=30 host_space=64
host_name='kvm_amd on QEMU TCG'
host_modules='rng-core irqbypass ccp kvm kvm-amd'
host_emulator=qemu
# QEMU's TSC is this machine's own. The kernel, which finds it slow to read, would give it up, and KVM would then change
# the offset of a guest's TSC whenever a vCPU enters.
host_parameters='tsc=reliable'

# The first CPU that the program may run on. No guest may run on CPU 0 where there are others: wherever QEMU (7.2 to 10.0)
# executes FXRSTOR or XRSTOR, it clears a flag in that CPU's state (cpu_clear_ignne in target/i386/tcg) and takes no lock.
# What a VMRUN has set there in that moment is lost, be it nested paging or the masking of interrupts by the guest's own TPR.
# Hence one CPU more, which the program stays away from. A single CPU has nobody beside it.
first_cpu() {
    echo $((cpus > 1))
}

# Before this version QEMU may go on executing a translation of code that another CPU has patched meanwhile, and the kernel
# patches its own wherever a tracepoint is switched or KVM changes a static key: all CPUs then hang at a breakpoint that is
# gone from memory ("accel/tcg: Always lock pages before translation").
readonly qemu_wanted=8.1

take_qemu() {
    local version=''
    command -v qemu-system-x86_64 >/dev/null && version=$(qemu-system-x86_64 --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')
    [ -n "$version" ] && dpkg --compare-versions "$version" ge "$qemu_wanted" || take "qemu-$qemu_wanted" fetch_qemu
}

# From the release's backports where the release itself is too old.
fetch_qemu() {
    local version
    version=$(candidate qemu-system-x86)
    if dpkg --compare-versions "${version#*:}" lt "$qemu_wanted"; then
        add_suite backports || say "QEMU $version is all there is: expect it to hang at times (fixed in $qemu_wanted)"
    fi
    fetch_with_dependencies qemu-system-x86
}

# Sets `qemu` to the command that starts it.
find_qemu() {
    local each
    qemu=(qemu-system-x86_64)
    if [ -e "$folder/qemu-$qemu_wanted.unpacked" ]; then
        qemu=(env LD_LIBRARY_PATH="$libraries" QEMU_MODULE_DIR="$tree/usr/lib/x86_64-linux-gnu/qemu"
            "$tree/usr/bin/qemu-system-x86_64")
        # What was installed was not fetched again.
        for each in "$tree" ''; do qemu+=(-L "$each/usr/share/qemu" -L "$each/usr/share/seabios"); done
    fi
}

start_host() {
    local qemu
    find_qemu
    launch "${qemu[@]}" -nodefaults -no-user-config -display none -no-reboot \
        -accel tcg,thread=multi -cpu max -smp "$((cpus + $(first_cpu)))" -m "$memory" \
        -kernel "$kernel" -initrd "$archive" -append "$parameters" \
        -chardev file,id=console,path=console -serial chardev:console \
        -chardev file,id=output,path=output -serial chardev:output \
        -chardev file,id=error,path=error -serial chardev:error \
        -chardev stdio,id=report,signal=off -serial chardev:report
}
