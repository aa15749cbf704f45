# A run's life: the emulator's start, what comes out of it, its end.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # a part of `run`: the parts share their variables

# Becomes the command $@, in a session of its own, so that Ctrl-C does not reach it; it dies with this process.
apart() {
    exec setpriv --pdeathsig KILL setsid "$@" 7>&- 8>&-
}

# Starts the emulator $@ in the background, in the folder of this run.
launch() {
    mkfifo "$run/orders"
    touch "$run"/{console,output,error,report} 2>/dev/null || fail "$run cannot be written: is the disk full?"
    # Held open for both ways: neither side waits for the other.
    exec 7<>"$run/orders"
    apart env -C "$run" "$@" <"$run/orders" >>"$run/report" 2>"$run/emulator.log" &
    emulator=$!
}

# `stage` is the one that was reached last: none before init runs.
emulator='' stage='' streams=() status=''

end_emulator() {
    [ -n "$emulator" ] || return 0
    kill -KILL "$emulator" 2>/dev/null || true
    wait "$emulator" 2>/dev/null || true
    emulator=''
    # They end by themselves when the emulator has, with what was written last.
    [ ${#streams[@]} -eq 0 ] || wait "${streams[@]}" 2>/dev/null || true
    streams=()
}

tidy() {
    local code=$?
    end_emulator
    # What became of an emulated machine that broke down is there to look at until the next run.
    [ "$code" -eq "$STATUS_BROKEN" ] || rm -rf "$run"
}

terminate() {
    trap - EXIT
    end_emulator
    rm -rf "$run"
    exit 130
}

# The program inside is told, and its last words are waited for; told again, everything ends at once.
interrupt() {
    # Bochs' serial ports have no input from a file.
    if [ "$stage" != running ] || [ -n "${interrupted-}" ] || [ "$host" != amd ]; then
        say "interrupted $(progress); nothing more is brought back"
        terminate
    fi
    interrupted=yes
    say "interrupted: waiting for what was measured (once more to end at once)"
    echo interrupt >&7
}

# What runs there, for messages.
job_name() {
    local name=${script:-$program}
    printf '%s' "${name##*/}"
}

# How far it got, for messages.
progress() {
    case $stage in
    '')
        if [ -s "$run/console" ]; then echo "while the kernel booted"; else echo "before the kernel said anything"; fi
        ;;
    running) echo "while $(job_name) ran" ;;
    *) echo "while KVM was loaded" ;;
    esac
}

# The last words of the emulator, if it had any, and of the console, as one line.
last_words() {
    local emulator_says console_says
    emulator_says=$(grep -a '[a-z]' "$run/emulator.log" | tail -n1 | tr -d '\r' || true)
    console_says=$(tail -c 2000 "$run/console" | tr -d '\r' | grep -a '[^ ]' | tail -n1 || true)
    printf '%s%s' "${emulator_says:+"$emulator_says; "}" "${console_says:+"the console's last words: $console_says; "}"
}

# Copies what comes into the file $1 of this run, until the emulator or this process has ended.
follow() {
    apart tail -c +1 -f -s 0.1 --pid="$emulator" "$run/$1"
}

# Waits until everything has come out, or nothing more will; the program's status is then in $status. It sleeps until the
# next line comes, and looks around once a second only: what it uses of the CPUs, the emulator lacks.
watch_host() {
    local fields line='' piece heard=0 looked=0
    follow output &
    streams+=($!)
    follow error >&2 &
    streams+=($!)
    mkfifo "$run/news"
    follow report >"$run/news" &
    streams+=($!)
    exec 9<"$run/news"
    SECONDS=0
    while :; do
        # A line comes byte by byte: what a time-out leaves is its beginning.
        if IFS= read -r -t 1 -u 9 piece; then
            line+=$piece
            case $line in
            'ended '*) break ;;
            'stage '*) stage=${line#stage } ;;
            esac
            line='' heard=$SECONDS
        elif [ $? -gt 128 ]; then
            line+=$piece
        else
            # There is no more, which only the emulator's end brings about.
            sleep 0.1
        fi
        if ! kill -0 "$emulator" 2>/dev/null; then emulator_ended; fi
        [ $SECONDS -gt $looked ] || continue
        looked=$SECONDS
        look_around
        [ "$stage" != running ] || [ $((SECONDS - heard)) -lt "$host_silence" ] || stuck "no sign of life for $host_silence s"
    done
    exec 9<&-
    read -ra fields <<<"$line"
    status=${fields[1]} files_size=${fields[4]}
    arrived output "${fields[2]}"
    arrived error "${fields[3]}"
    # The archive follows the line.
    arrived report $((${#line} + 1 + $(grep -abm1 '^ended ' "$run/report" | cut -d: -f1) + files_size))
    end_emulator
}

# Ends everything if the emulated machine has come to an end that it cannot tell, or has had its time.
look_around() {
    if grep -aq 'Kernel panic' "$run/console"; then panicked; fi
    if grep -aq 'BUG: soft lockup' "$run/console"; then stuck "a CPU of it is stuck"; fi
    # Nothing more would come out, not even the end.
    [ "$(space_left)" != 0 ] || fail "the disk became full $(progress): free some, or set KIPI_HOST_FOLDER"
    [ $SECONDS -lt "$time_limit" ] || limit "--time-limit $time_limit"
    [ $SECONDS -lt "$boot_limit" ] || [ "$stage" = running ] || limit "--boot-limit $boot_limit"
}

# Keeps the log $1 where the next run does not delete it, and says where.
log() {
    local kept=$folder/$host-$1.log
    cp "$run/$1" "$kept" 2>/dev/null && printf 'its console is in %s' "$kept"
}

# The emulated machine itself broke down: that says nothing about the program, and trying again may help.
broken() {
    say "$1"
    exit "$STATUS_BROKEN"
}

stuck() {
    broken "the emulated machine got stuck $(progress): $1; $(log console)"
}

limit() {
    broken "$1 reached $(progress), after $SECONDS s; $(last_words)$(log console)"
}

# The kernel of the emulated machine gave up.
panicked() {
    broken "the kernel panicked $(progress): $(grep -am1 'Kernel panic' "$run/console" | tr -d '\r'); $(log console)"
}

emulator_ended() {
    local code=0
    wait "$emulator" || code=$?
    emulator=''
    # A panic ends the machine, too.
    if grep -aq 'Kernel panic' "$run/console"; then panicked; fi
    # It was not even started if it ended by itself, without a word from the machine.
    [ -s "$run/console" ] || [ $code -eq 0 ] || [ $code -gt 128 ] ||
        fail "${host_name##* on } ended at once with status $code: $(tail -n1 "$run/emulator.log" | tr -d '\r')"
    broken "${host_name##* on } ended with status $code $(progress); $(last_words)$(log console)"
}

# Waits until the file $1 of this run has $2 bytes: serial ports lag behind.
arrived() {
    local waited=0 size
    while :; do
        size=$(stat -c %s "$run/$1")
        [ "$size" -lt "$2" ] || return 0
        # Each byte is emulated. Only a standstill is an end.
        if [ "$size" = "${last_size-}" ]; then waited=$((waited + 1)); else waited=0; fi
        last_size=$size
        [ $waited -lt 100 ] || fail "$size bytes of $2 came out of the $1 port: is the disk full? $(df -h "$run" | awk 'END { print $4 }') are left"
        sleep 0.1
    done
}

# Copies what the program wrote to where it would have written it.
bring_files() {
    [ "$files_size" -gt 0 ] || return 0
    local files=$run/files path
    mkdir -p "$files"
    tail -c "$files_size" "$run/report" | gzip -d |
        (cd "$files" && "$busybox" cpio -i -d) 2>"$run/cpio.log" ||
        fail "the files that $(job_name) wrote cannot be unpacked: $(tail -n1 "$run/cpio.log")"
    while read -r path; do
        # The name is given to whole files only.
        { mkdir -p "${path%/*}" && cp "$files$path" "$path.$$" && mv "$path.$$" "$path"; } 2>"$run/cp.log" || {
            rm -f "$path.$$"
            mv "$files" "$folder/files-$$"
            fail "$path cannot be written ($(sed 's/.*: //;q' "$run/cp.log")): it is in $folder/files-$$"
        }
    done < <(cd "$files" && find . -type f | cut -c2-)
}
