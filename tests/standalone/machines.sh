# The machines that the image is started on, and how: each is a function machine_NAME that sets `command`, whose console is
# $run/serial, `image`, the format of the file that it starts, and, where they are not the usual ones, `good`, the status that it
# ends with, and `expected`, how many cells it measures; or `told`, why it is to give up.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

# In the order that they are started in.
readonly machines=(pc q35 microvm no-x2apic processors disc stick pxe uefi uefi-disc uefi-stick bochs bochs-xapic
    bochs-old wrong-word long-line no-clock)

# What --help says of each.
about() {
    case $1 in
    pc) echo "QEMU's pc, by PVH" ;;
    q35) echo "QEMU's q35, by PVH; ends by a reset register at a port" ;;
    microvm) echo "QEMU's microvm, by PVH; ends by a reset register in memory" ;;
    no-x2apic) echo "a q35 whose processors have no x2APIC mode; ends by the keyboard controller" ;;
    processors) echo "a q35 with more processors than take part" ;;
    disc) echo "a pc with the ISO file as its disc, by Multiboot2" ;;
    stick) echo "a q35 with the ISO file as its USB stick, by Multiboot2" ;;
    pxe) echo "a pc that loads GRUB and the image over the network, by Multiboot2" ;;
    uefi) echo "a q35 with the UEFI application on a FAT file system" ;;
    uefi-disc) echo "a q35 with the ISO file as its disc, by UEFI" ;;
    uefi-stick) echo "a q35 with the ISO file as its USB stick, by UEFI" ;;
    bochs) echo "Bochs, with the ISO file as its disc, and four processors" ;;
    bochs-xapic) echo "the same, in xAPIC mode" ;;
    bochs-old) echo "Bochs with processors that have no x2APIC mode" ;;
    wrong-word) echo "a pc whose command line has a word that there is not, and ends by isa-debug-exit even so" ;;
    long-line) echo "the same with a command line that is too long" ;;
    no-clock) echo "a microvm without a clock, which ends by a reset register even so" ;;
    esac
}

# QEMU with $1 processors of a kind $2 on a machine $3; the other arguments as they are. `accelerator` is tcg or kvm.
qemu() {
    command=("${qemu[@]}" -nodefaults -no-user-config -display none -no-reboot -accel "$accelerator" -smp "$1" -cpu "$2"
        -machine "$3" -m 256 -chardev "file,id=serial,path=$run/serial" -serial chardev:serial
        -device isa-debug-exit,iobase=0xf4 "${@:4}")
    # Its status after the image's 10H, by isa-debug-exit.
    good=33
}

# Plugs the ISO file in as a USB stick.
with_stick() {
    command+=(-device qemu-xhci -drive "file=$run/image.iso,format=raw,readonly=on,if=none,id=stick"
        -device usb-storage,drive=stick)
}

# $1 is how the image ends the machine; the other arguments are those of `qemu`.
by_pvh() {
    image=elf
    qemu "${@:2}" -kernel "$run/image.elf" -append "${plan[*]} end=$1"
    # A machine that is reset ends well (-no-reboot).
    [ "$1" = qemu ] || good=0
}

best_cpu() {
    # QEMU 10 ends with an assertion where KVM does not let it set IA32_ARCH_CAPABILITIES, as some nested ones do not.
    if [ "$accelerator" = kvm ]; then echo host,-arch-capabilities; else echo max; fi
}

machine_pc() { by_pvh qemu 2 "$(best_cpu)" pc; }
machine_q35() { by_pvh acpi 4 "$(best_cpu)" q35; }
machine_microvm() { by_pvh acpi 2 "$(best_cpu)" microvm,isa-serial=on,rtc=on; }
machine_no-x2apic() {
    expected=4
    by_pvh reset 2 "$(best_cpu),-x2apic" q35
}
machine_processors() {
    expected=4
    local plan=("${plan[@]}" vcpus=2 route=nmi,memory)
    by_pvh qemu 6 "$(best_cpu)" q35
}
machine_disc() {
    image=iso words=(end=qemu)
    qemu 2 "$(best_cpu)" pc -cdrom "$run/image.iso"
}
machine_stick() {
    image=iso words=(end=qemu)
    qemu 4 "$(best_cpu)" q35
    with_stick
}

# The guide's recipe.
machine_pxe() {
    local modules=/usr/lib/grub/i386-pc each
    [ -e "$modules/multiboot2.mod" ] || modules=$tree$modules
    image=elf words=(end=qemu)
    mkdir -p "$run/tftp"
    printf 'multiboot2 (pxe)/kipi.elf\nboot\n' >"$run/grub.cfg"
    with_tools grub-mkimage --directory "$modules" --format i386-pc-pxe --prefix '(pxe)/grub' --config "$run/grub.cfg" \
        --output "$run/tftp/kipi.0" pxe tftp multiboot2 || fail "grub-mkimage ended with status $?"
    ln -sf ../image.elf "$run/tftp/kipi.elf"
    qemu 2 "$(best_cpu)" pc -netdev "user,id=network,tftp=$run/tftp,bootfile=kipi.0" -device e1000,netdev=network -boot n
    for each in "$tree" ''; do command+=(-L "$each/usr/lib/ipxe/qemu"); done
}

# OVMF, installed or fetched.
ovmf() {
    local file=/usr/share/ovmf/OVMF.fd
    [ -e "$file" ] || file=$tree$file
    printf '%s' "$file"
}

# A q35 with UEFI in the BIOS' place, which starts from what $@ bring.
by_uefi() {
    words=(end=qemu)
    qemu 2 "$(best_cpu)" q35 -bios "$(ovmf)" "$@"
}

machine_uefi() {
    image=efi
    mkdir -p "$run/esp/EFI/BOOT"
    ln -sf ../../../image.efi "$run/esp/EFI/BOOT/BOOTX64.EFI"
    by_uefi -drive "file=fat:$run/esp,format=raw,readonly=on,if=none,id=disk" -device virtio-blk-pci,drive=disk
}
machine_uefi-disc() {
    image=iso
    by_uefi -cdrom "$run/image.iso"
}
machine_uefi-stick() {
    image=iso
    by_uefi
    with_stick
}

# Bochs with $1 processors of a model $2. Its local APIC cannot leave x2APIC mode again: $3... are words that choose routes.
bochs() {
    local bochs_command
    image=iso words=("${@:3}" end=reset)
    configure_bochs "$1" "$2" 256 "$run/image.iso" "$run/serial"
    command=("${bochs_command[@]}")
    # The reset ends it: its BIOS writes IA32_FEATURE_CONTROL, which it has locked the first time, and that is fatal.
    good=1 expected=4
}

machine_bochs() { bochs 4 corei7_skylake_x route=x2apic,memory; }
machine_bochs-xapic() { bochs 4 corei7_skylake_x route=xapic,memory; }
machine_bochs-old() { bochs 2 corei5_lynnfield_750; }

# A machine on which the image gives up: it says $1, and ends as the command line of the other arguments asks for.
giving_up() {
    told=$1 image=elf
    qemu 2 "$(best_cpu)" pc -kernel "$run/image.elf" -append "${*:2}"
    good=35
}

machine_wrong-word() { giving_up 'there is no word bogus=3' "${plan[@]}" bogus=3 end=qemu; }
# Words for Linux, which the image passes over, are the only ones that may be there several times.
machine_long-line() { giving_up 'the command line has more than 2048 bytes' end=qemu "$(printf 'panic=1 %.0s' {1..300})"; }
machine_no-clock() {
    told="the TSC's frequency is not known" image=elf
    qemu 2 qemu64 microvm,isa-serial=on,pit=off,pic=off,rtc=off -kernel "$run/image.elf" -append "${plan[*]} end=acpi"
    good=0
}
