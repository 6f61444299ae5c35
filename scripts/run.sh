#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make run`: two hellos, two worlds and a weir in front of them, until Ctrl-C.
#
# Owns every process that it starts: whichever way it ends, none is left. A backend that ends is
# only named, since to see weir go on without it is one of the things to try.
#   BIN             where the programs are (build)
#   WEIR_RUN_CONFIG the configuration (config/weir.yaml)
#   WEIR_RUN_PORTS  six other ports for weir, hello, world, hello, world, and weir's admin listener,
#                   instead of "8000 8080 8081 8082 8083 9900"; 0 lets the kernel choose
# shellcheck disable=SC2317 # what a trap calls is reached
set -uo pipefail

bin=${BIN:-build}
config=${WEIR_RUN_CONFIG:-config/weir.yaml}
usual=(8000 8080 8081 8082 8083 9900)
read -ra ports <<<"${WEIR_RUN_PORTS:-${usual[*]}}"
names=(weir hello-1 world-1 hello-2 world-2 'weir admin')
start_limit=15 # seconds for one program to listen
stop_limit=35  # seconds for one program to end; weir's own limit for a drain is 30 s

scratch=$(mktemp -d) || exit 1
declare -A pid_of=()
stopping=

# A pipe that nobody writes to: reading it with a limit waits without a process of its own, and a
# signal's trap runs at once.
exec {quiet}<> <(:)
nap() { read -r -t "$1" -u "$quiet" _ || true; }

say() { echo "run: $*"; }
complain() { echo "run: $*" >&2; }

# ---- ending ------------------------------------------------------------------------------------

running() { kill -0 "$1" 2>/dev/null; }

# stop SIGNAL PID: ends one program: asked first, then made to.
stop() {
    local pid=$2 tries=$((stop_limit * 20))
    running "$pid" || return 0
    kill -"$1" "$pid" 2>/dev/null
    while running "$pid" && [ $((tries -= 1)) -gt 0 ]; do nap 0.05; done
    if running "$pid"; then kill -KILL "$pid" 2>/dev/null; fi
}

# weir first, so that it drains while its backends still answer; by SIGINT, since after SIGTERM it
# serves on for seconds, until whoever asks /readyz has seen that it is going, and nobody does here.
stop_all() {
    local name
    [ -z "${pid_of[weir]-}" ] || stop INT "${pid_of[weir]}"
    for name in hello-1 world-1 hello-2 world-2; do
        [ -z "${pid_of[$name]-}" ] || stop TERM "${pid_of[$name]}"
    done
    rm -rf "$scratch"
}

# The first signal ends the wait below; a later one does not wait for the drain. One that comes
# with the first is the same wish, sent to make and its children alike.
on_signal() {
    if [ -z "$stopping" ]; then
        stopping=$SECONDS
    elif [ $((SECONDS - stopping)) -ge 2 ] && [ ${#pid_of[@]} -gt 0 ]; then
        kill -KILL "${pid_of[@]}" 2>/dev/null
    fi
}
trap 'on_signal' INT TERM HUP
trap stop_all EXIT

give_up() {
    complain "$*"
    exit 1
}

# ---- busy ports --------------------------------------------------------------------------------

# holder PORT: prints who listens on it; fails if nobody does.
holder() {
    local hex inode link pid
    hex=$(printf '%04X' "$1")
    inode=$(awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    [ -n "$inode" ] || return 1
    link=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2>/dev/null)
    pid=${link#/proc/}
    pid=${pid%%/*}
    if [ -n "$pid" ]; then
        echo "process $pid ($(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-60))"
    else
        echo "a process of another user"
    fi
}

check_ports() {
    local i who busy=
    for i in "${!usual[@]}"; do
        if [ "${ports[i]}" -ne 0 ] && who=$(holder "${ports[i]}"); then
            complain "port ${ports[i]}, for ${names[i]}, is held by $who"
            busy=1
        fi
    done
    [ -z "$busy" ] ||
        give_up "end what holds it, or choose other ports:" \
            "WEIR_RUN_PORTS=\"0 0 0 0 0 0\" make run (0: any free one)"
}

# ---- starting ----------------------------------------------------------------------------------

# A program ends with this script even if that is killed outright, where setpriv can see to it.
tie=()
if setpriv --pdeathsig TERM true 2>/dev/null; then tie=(setpriv --pdeathsig TERM --); fi

# start NAME PROGRAM ARGUMENT...: in the background, and in a process group of its own: Ctrl-C at
# a terminal goes to a whole group, but who ends when is said here, once.
start() {
    local name=$1
    shift
    set -m
    "${tie[@]}" "$@" --ready-file "$scratch/$name.json" </dev/null {quiet}<&- &
    pid_of[$name]=$!
    set +m
}

# await NAME: until it listens. Sets `address`, the first one that its ready file names.
await() {
    local file=$scratch/$1.json tries=$((start_limit * 20))
    while [ ! -e "$file" ]; do
        [ -z "$stopping" ] || exit 0
        if ! running "${pid_of[$1]}"; then
            wait "${pid_of[$1]}"
            give_up "$1 ended with status $? instead of starting; its own words are above"
        fi
        [ $((tries -= 1)) -gt 0 ] || give_up "$1 did not listen within $start_limit seconds"
        nap 0.05
    done
    # A backend writes "listen":"ADDRESS", weir "listeners":{"NAME":"ADDRESS"}.
    address=$(sed -nE 's/.*"listen(ers)?" *: *(\{ *"[^"]*" *: *)?"([^"]*)".*/\3/p' "$file")
    [ -n "$address" ] || give_up "$1 listens, but its ready file does not say where: $(cat "$file")"
    disown "${pid_of[$1]}" # its end is told by check_all, not by bash too, in the words of this file
}

# Tells who has ended. Its number is forgotten: it may become that of a stranger.
check_all() {
    local name
    for name in "${!pid_of[@]}"; do
        running "${pid_of[$name]}" && continue
        unset "pid_of[$name]"
        [ "$name" != weir ] || give_up "weir ended by itself; ending the rest"
        complain "$name ended by itself; weir goes on without it"
    done
}

backend() {
    start "$1" "$bin/${1%-*}" --listen "127.0.0.1:$2" --body "Hello, World! ($1)"$'\n'
}

# The configuration with other ports put in for the usual ones. All at once: a port that was put
# in must not be taken for a usual one.
move_ports() {
    local i script=
    for i in "${!usual[@]}"; do
        script+="s/:${usual[i]}\\b/:@$i@/g;"
    done
    for i in "${!usual[@]}"; do
        script+="s/:@$i@/:${ports[i]}/g;"
    done
    sed "$script" "$config" >"$scratch/weir.yaml" && config=$scratch/weir.yaml
}

main() {
    local i address
    [ ${#ports[@]} -eq ${#usual[@]} ] || give_up "WEIR_RUN_PORTS takes ${#usual[@]} numbers"
    for i in weir hello world; do
        [ -x "$bin/$i" ] || give_up "$bin/$i is not there: run make"
    done
    [ -r "$config" ] || give_up "$config is not there"
    check_ports

    for i in 1 2 3 4; do backend "${names[i]}" "${ports[i]}"; done
    for i in 1 2 3 4; do
        await "${names[i]}"
        ports[i]=${address##*:}
        say "${names[i]} listens on $address"
    done
    [ "${ports[*]}" = "${usual[*]}" ] || move_ports
    start weir "$bin/weir" run -c "$config"
    await weir

    cat <<TRY
run: weir listens on $address. Try:
       curl http://localhost:${address##*:}/         one of the four, in turn
       curl http://localhost:${address##*:}/hello    one of the two hellos
       curl http://localhost:${address##*:}/world    the less busy one of the two worlds
       kill ${pid_of[hello-1]}    one hello less: no request is lost
     Ctrl-C ends it all.
TRY
    # Not `wait -n`, which misses a program that ended before it was called.
    while [ -z "$stopping" ]; do
        check_all
        nap 0.5
    done
    say 'ending'
    exit 0
}

main
