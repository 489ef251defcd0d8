# Processes of servers: one folder for each, with its pid, its log and its data. Sourced by scripts/servers.
# shellcheck shell=sh

# started PID: when a process began, in ticks since boot. With its pid that is a process for good:
# a pid alone may be somebody else's by now.
started() {
    # The name, in brackets, may have anything in it.
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

state_letter() {
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 1
}

# alive FILE: sets PID if the process that the file names runs.
alive() {
    PID=
    [ -r "$1" ] || return 1
    read -r pid began <"$1" || return 1
    [ -n "$pid" ] && [ -n "$began" ] && [ "$(started "$pid")" = "$began" ] || return 1
    [ "$(state_letter "$pid")" != Z ] || return 1
    PID=$pid
}

record() {
    printf '%s %s\n' "$2" "$(started "$2")" >"$1"
}

running() {
    alive "$FOLDER/$1/pid"
}

# state NAME: up, starting, paused, dead (it was killed or died) or down (it was stopped, or never started).
state() {
    if ! running "$1"; then
        if [ -e "$FOLDER/$1/pid" ]; then echo dead; else echo down; fi
    elif [ "$(state_letter "$PID")" = T ]; then
        echo paused
    elif ready "$1"; then
        echo up
    else
        echo starting
    fi
}

# launch NAME COMMAND...: in a session of its own, so that no terminal's Ctrl-C reaches it.
launch() {
    name=$1
    home=$FOLDER/$1
    shift
    if [ -e "$home/log" ]; then mv "$home/log" "$home/log.old"; fi
    # Descriptor 9 is the lock of the folder, which must end with this script.
    (cd "$home" && exec setsid "$@" >"$home/log" 2>&1 </dev/null 9>&-) &
    record "$home/pid" $!
}

# stop NAME...: asked first, then killed.
stop() {
    for name; do
        running "$name" || continue
        kill -CONT "$PID" 2>/dev/null || true
        kill -TERM "$PID" 2>/dev/null || true
    done
    passed=0
    for name; do
        while running "$name"; do
            [ "$passed" -ne $((STOP_SECONDS * 5)) ] || kill -KILL "$PID" 2>/dev/null || true
            passed=$((passed + 1))
            sleep 0.2
        done
        rm -f "$FOLDER/$name/pid"
    done
}

# stop_hard NAME...: kill -9. The file with the pid stays: it died.
stop_hard() {
    for name; do
        running "$name" || continue
        kill -KILL "$PID"
        while running "$name"; do sleep 0.05; done
    done
}

# listener ADDRESS PORT: who listens there (or on all addresses), as text; fails if nobody does.
listener() {
    inode=$(awk -v ip="$1" -v port="$2" '
        function hex(n) { return sprintf("%02X", n) }
        BEGIN {
            split(ip, b, ".")
            four = hex(b[4]) hex(b[3]) hex(b[2]) hex(b[1])
            p = sprintf("%04X", port)
            taken[four ":" p]; taken["00000000:" p]
            taken["0000000000000000FFFF0000" four ":" p]
            taken["0000000000000000FFFF000000000000:" p]
            taken["00000000000000000000000000000000:" p]
        }
        $4 == "0A" && $2 in taken { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null) || true
    [ -n "$inode" ] || return 1
    for process in /proc/[0-9]*; do
        # Other users' processes cannot be looked into.
        for descriptor in "$process"/fd/*; do
            [ "$(readlink "$descriptor" 2>/dev/null)" = "socket:[$inode]" ] || continue
            printf 'process %s (%s)\n' "${process#/proc/}" "$(cut -c 1-60 "$process/comm" 2>/dev/null)"
            return 0
        done
    done
    echo "another program"
}

# free NAME: all ports of a server are. A holder waits for another to leave.
free() {
    for port in $(ports "$1"); do
        told=
        while who=$(listener "$(address "$1")" "$port"); do
            if [ "$HOLD" = 0 ] || [ $(($(date +%s) - SINCE)) -ge "$DEADLINE" ]; then
                fail "$1 needs $(address "$1"):$port, where $who listens: stop that, or choose another --offset"
            fi
            [ -n "$told" ] || say "$1 waits for $(address "$1"):$port, where $who listens"
            told=1
            sleep 1
        done
    done
}

# Waits until all of these are ready; SINCE is when the wait began, for several waits in a row.
await() {
    shown=0
    for name; do
        until ready "$name"; do
            if ! running "$name"; then
                tail -n 40 "$FOLDER/$name/log" >&2
                fail "$name ended at its start: above is the end of its log, $FOLDER/$name/log"
            fi
            passed=$(($(date +%s) - SINCE))
            if [ "$passed" -ge "$DEADLINE" ]; then
                tail -n 40 "$FOLDER/$name/log" >&2
                fail "$name is not ready after $DEADLINE s: above is the end of its log, $FOLDER/$name/log"
            fi
            if [ -t 2 ]; then
                printf '\r== %s starts: %s s ' "$name" "$passed" >&2
            elif [ $((passed - shown)) -ge 10 ]; then
                shown=$passed
                say "$name starts: $passed s"
            fi
            sleep 0.2
        done
        [ ! -t 2 ] || printf '\r' >&2
        say "$name is ready after $(($(date +%s) - SINCE)) s"
    done
}
