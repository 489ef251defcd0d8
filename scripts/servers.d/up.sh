# Starting servers, and holding them. Sourced by scripts/servers.
# shellcheck shell=sh

LAUNCHED=

# lock: nobody else starts or stops anything in this folder meanwhile.
lock() {
    exec 9>"$FOLDER/lock"
    flock -w "$DEADLINE" 9 || fail "another scripts/servers has worked on $FOLDER for $DEADLINE s: try again"
}

unlock() {
    exec 9>&-
}

# Waits until nobody holds the servers in this folder (--hold).
lock_unheld() {
    told=
    while lock && alive "$FOLDER/holder"; do
        unlock
        [ -n "$told" ] || say "waiting for process $PID, which holds the servers in $FOLDER (up --hold)"
        told=1
        [ $(($(date +%s) - SINCE)) -lt "$DEADLINE" ] ||
            fail "process $PID has held the servers in $FOLDER for $DEADLINE s: end it, or choose another --folder and --offset"
        sleep 0.2
    done
}

# launch_all NAME...: starts those that do not run, in the order that their kind needs, and waits.
launch_all() {
    for kind in zookeeper cassandra; do
        numbers=
        for server; do
            if [ "$(kind_of "$server")" = "$kind" ] && ! running "$server"; then
                free "$server"
                numbers="$numbers $(number_of "$server")"
                LAUNCHED="$LAUNCHED $server"
            fi
        done
        # shellcheck disable=SC2086 # numbers are words
        if [ -n "$numbers" ]; then "${kind}_up" $numbers; fi
    done
}

# Starts servers that are there already, with the data they have.
start() {
    SINCE=$(date +%s)
    need_java
    need_tls
    launch_all "$@"
}

# What was begun is not left half done.
undo() {
    code=$?
    if [ "$code" != 0 ] && [ -n "$LAUNCHED" ]; then
        say "stopping what was started"
        # shellcheck disable=SC2086 # names are words
        stop $LAUNCHED
    fi
    exit "$code"
}

cmd_up() {
    SINCE=$(date +%s)
    KINDS_WANTED=${ONLY:-$KINDS}
    mkdir -p "$FOLDER" || fail "cannot make the folder $FOLDER"
    need_java
    for kind in $KINDS_WANTED; do need_jars "$kind"; done
    SINCE=$(date +%s)
    lock_unheld
    SINCE=$(date +%s)
    if [ "$FRESH" = 1 ]; then
        # shellcheck disable=SC2046 # names are words
        stop $(NODES=3 && names $KINDS)
        rm -rf "$FOLDER"/cassandra-[123] "$FOLDER"/zookeeper-[123] "$FOLDER/tls" "$FOLDER/user-made" \
            "$FOLDER/settings"
    fi
    if [ -e "$FOLDER/settings" ] && [ "$(grep -v KIND= "$FOLDER/settings")" != "$(settings)" ]; then
        fail "$FOLDER has servers with other settings ($(grep -v KIND= "$FOLDER/settings" | tr '\n' ' ')): take those, or --fresh to lose their data, or another --folder"
    fi
    RECORDED=
    if [ -e "$FOLDER/settings" ]; then read_settings; fi
    { settings; for kind in $KINDS; do
        case " $RECORDED $KINDS_WANTED " in *" $kind "*) echo "KIND=$kind" ;; esac
    done; } >"$FOLDER/settings.new"
    mv "$FOLDER/settings.new" "$FOLDER/settings"
    RECORDED=
    read_settings
    trap undo EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # Whoever wanted the servers may be gone by the time they are ready.
    trap 'exit 141' PIPE
    need_tls
    # shellcheck disable=SC2046,SC2086 # names are words
    launch_all $(names $KINDS_WANTED)
    case " $KINDS_WANTED " in *" cassandra "*) cassandra_settle ;; esac
    if [ "$HOLD" = 1 ]; then record "$FOLDER/holder" $$; fi
    unlock
    tell
    if [ "$HOLD" = 1 ]; then hold; fi
}

# The traps turn a signal into an end, and every end of the holder into one of the servers.
release() {
    trap '' INT TERM HUP PIPE
    lock
    if alive "$FOLDER/holder" && [ "$PID" = $$ ]; then
        # shellcheck disable=SC2046,SC2086 # names are words
        stop $(names $RECORDED)
        rm -f "$FOLDER/holder"
    fi
}

hold() {
    trap release EXIT
    echo ready
    say "the servers stay until standard input ends (Ctrl-D), or Ctrl-C"
    while read -r _; do :; done
}
