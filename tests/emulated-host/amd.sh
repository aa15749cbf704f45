# The emulated AMD host: QEMU without KVM (TCG), whose processor has SVM and nested paging.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

host_memory=2048 host_boot_limit=180 host_time_limit=900 host_silence=30 host_space=64
host_name='kvm_amd on QEMU TCG'
host_modules='irqbypass ccp kvm kvm-amd'
# QEMU's TSC is this machine's own. The kernel, which finds it slow to read, would give it up, and KVM would then change
# the offset of a guest's TSC whenever a vCPU enters.
host_parameters='tsc=reliable'

host_packages() {
    command -v qemu-system-x86_64 >/dev/null || take qemu fetch_with_dependencies qemu qemu-system-x86
}

start_host() {
    local qemu=(qemu-system-x86_64) each
    if [ -e "$folder/qemu.unpacked" ]; then
        qemu=(env LD_LIBRARY_PATH="$libraries" QEMU_MODULE_DIR="$tree/usr/lib/x86_64-linux-gnu/qemu"
            "$tree/usr/bin/qemu-system-x86_64")
        # What was installed was not fetched again.
        for each in "$tree" ''; do qemu+=(-L "$each/usr/share/qemu" -L "$each/usr/share/seabios"); done
    fi
    launch "${qemu[@]}" -nodefaults -no-user-config -display none -no-reboot \
        -accel tcg,thread=multi -cpu max -smp "$cpus" -m "$memory" \
        -kernel "$kernel" -initrd "$archive" -append "$parameters" \
        -chardev "file,id=console,path=$run/console" -serial chardev:console \
        -chardev "file,id=output,path=$run/output" -serial chardev:output \
        -chardev "file,id=error,path=$run/error" -serial chardev:error \
        -chardev stdio,id=report,signal=off -serial chardev:report
}
