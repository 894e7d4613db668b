# shellcheck shell=bash
# Shared parts of `scripts/kafka`, `scripts/postgres` and `scripts/registry`: options, folders, ports, installation, waiting. Sourced by
# them. Each sets `name` (shown), `kind` (names the default folder) and `default_port` first.
#
# A server is a folder with its data, its settings, its log and its pid, so that several can run in parallel.
# shellcheck disable=SC2034,SC2154 # Set here and used there, and the other way round.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
servers=${CARGO_TARGET_DIR:-$root/target}/servers
[[ $servers == /* ]] || servers=$PWD/$servers

# How long a server can take to answer, and to stop before it is killed, in seconds.
start_deadline=${SAGAS_SERVER_START_SECONDS:-90}
stop_deadline=${SAGAS_SERVER_STOP_SECONDS:-30}

die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-1}"
}

# in_background COMMAND..: runs the command and waits for it. Bash runs a trap only after a foreground command has ended, but interrupts
# this wait; the trap then ends the command with `end_background`.
in_background() {
    local code=0
    "$@" &
    background=$!
    wait "$background" || code=$?
    background=''
    return "$code"
}
background=''

end_background() {
    [[ -n $background ]] || return 0
    { kill "$background" && wait "$background"; } 2>/dev/null || true
}

# read_options "$@": sets `command`, `data` (absolute), `asked_port` (empty if not given), `now` and `set_values` (NAME=VALUE ..).
read_options() {
    command='' data='' asked_port='' now='' set_values=()
    while (($#)); do
        case $1 in
        -h | --help) command=help ;;
        --data | --port)
            (($# > 1)) || die "$1 needs a value; see --help" 2
            if [[ $1 == --data ]]; then data=$2; else asked_port=$2; fi
            shift
            ;;
        --set)
            [[ ${2:-} == ?*=* ]] || die '--set needs NAME=VALUE; see --help' 2
            set_values+=("$2")
            shift
            ;;
        --data=*) data=${1#*=} ;;
        --port=*) asked_port=${1#*=} ;;
        --now) now=yes ;;
        -*) die "there is no option $1; see --help" 2 ;;
        *)
            [[ -z $command ]] || die "one command at a time: $command or $1? See --help" 2
            command=$1
            ;;
        esac
        shift
    done
    [[ -z $asked_port || ($asked_port =~ ^[0-9]{1,5}$ && $((10#$asked_port)) -lt 65536) ]] ||
        die "--port $asked_port is no port: 1 to 65535, or 0 for any that is free" 2
    if [[ -z $data ]]; then
        [[ $asked_port != 0 ]] || die '--port 0 needs --data DIR, to find the server again' 2
        data=$servers/$kind-${asked_port:-$default_port}
    fi
    [[ $data == /* ]] || data=$PWD/$data
    # Without `.` and `..`, as far as the path exists, so that a folder has only one name.
    [[ ! -d $data ]] || data=$(cd "$data" && pwd -P)
}

# Creates the folder, or checks that this script has created it: no other folder is written to or wiped.
claim_folder() {
    # Minimal systems have neither.
    { command -v ps && command -v pgrep; } >/dev/null || install 'ps and pgrep' procps procps-ng procps
    [[ ! -e $data || -d $data ]] || die "$data is no folder"
    if [[ ! -e $data/.sagas-$kind ]]; then
        [[ ! -d $data || -z $(ls -A "$data") ]] || die "$data has other things in it: give an empty folder, or one that this script has made"
        mkdir -p "$data"
        data=$(cd "$data" && pwd -P)
        : >"$data/.sagas-$kind"
    fi
}

is_ours() {
    [[ -e $data/.sagas-$kind ]]
}

# listens PORT: succeeds if a process accepts connections there.
listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The kernel closes the port of a killed process a moment after the process has ended.
is_free() {
    ! listens "$1"
}

# Chooses a free port below the range for outgoing connections, so that it is still free after a restart.
free_port() {
    local port
    for _ in {1..200}; do
        port=$((RANDOM % 20000 + 12000))
        if ! listens "$port"; then
            printf '%s\n' "$port"
            return
        fi
    done
    die 'found no free port from 12000 to 31999'
}

# Prints the port of the server in the folder: the previous one, unless another is requested.
known_port() {
    if [[ -s $data/port ]]; then cat "$data/port"; else printf '%s\n' "$default_port"; fi
}

# Sets `port` for a server that is not running, and checks that it is free.
choose_port() {
    port=${asked_port:-$(known_port)}
    [[ $port != 0 ]] || port=$(free_port)
    within 3 is_free "$port" ||
        die "port $port is taken by another program: stop that one, or give --port N (0 chooses one that is free)"
    printf '%s\n' "$port" >"$data/port"
}

# Succeeds if the server already runs, unless another port is requested.
runs_already() {
    port=$(known_port)
    [[ -z $asked_port || $asked_port == 0 || $asked_port == "$port" ]] ||
        die "$name in $data runs on port $port already: stop it first, or give another --data"
}

# alive PID MARK: succeeds if `pid` is a live process (not a zombie) with `mark` in its command line, because pids are reused.
alive() {
    local pid=$1 mark=$2 line
    line=$(ps -o stat=,args= -p "$pid" 2>/dev/null) || return 1
    [[ $line != Z* && $line == *"$mark"* ]]
}

# within SECONDS COMMAND..: repeats the command until it succeeds; fails after that time.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# end_process PID MARK [SIGNAL]: asks the process to stop, and kills it after the time limit. A frozen process is resumed for that.
end_process() {
    kill -"${3:-TERM}" "$1" 2>/dev/null || return 0
    kill -CONT "$1" 2>/dev/null || true
    if ! within "$stop_deadline" gone "$1" "$2"; then
        printf '%s: %s did not stop within %s s: killing it\n' "${0##*/}" "$name" "$stop_deadline" >&2
        kill_process "$1" "$2"
    fi
}

# Kills the process and its children, and checks that they have ended, so that the next start is not disturbed.
kill_process() {
    local children child
    children=$(pgrep -P "$1" || true)
    # shellcheck disable=SC2086 # A list of pids.
    kill -KILL "$1" $children 2>/dev/null || true
    within 10 gone "$1" "$2" || die "process $1 does not go, not even by kill -9"
    for child in $children; do
        within 10 gone "$child" '' || die "process $child, a child of $1, does not go, not even by kill -9"
    done
}

gone() {
    ! alive "$@"
}

# fail_with_log FILE WHAT: prints what went wrong and the end of the server's log.
fail_with_log() {
    {
        printf -- '--- the last lines of %s\n' "$1"
        tail -n 25 "$1" 2>/dev/null || true
        printf -- '---\n'
    } >&2
    die "$2"
}

# install WHAT APT DNF BREW: installs a missing package if that needs no input (apt-get, as root or with a sudo that needs no password);
# otherwise prints which package to install.
install() {
    local what=$1 apt=$2 dnf=$3 brew=$4 sudo=()
    if command -v apt-get >/dev/null; then
        ((EUID == 0)) || sudo=(sudo)
        if ((EUID == 0)) || sudo -n true 2>/dev/null; then
            printf '%s: installing %s (apt-get install %s)\n' "${0##*/}" "$what" "$apt" >&2
            local get=(${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get)
            "${get[@]}" install -qq -y --no-install-recommends "$apt" >&2 && return
            # The package lists are missing or old.
            if "${get[@]}" update -qq >&2 && "${get[@]}" install -qq -y --no-install-recommends "$apt" >&2; then return; fi
            die "apt-get could not install $apt: install $what by hand"
        fi
        die "$what is missing: sudo apt-get install $apt"
    elif command -v dnf >/dev/null; then
        die "$what is missing: sudo dnf install $dnf"
    elif command -v brew >/dev/null; then
        die "$what is missing: brew install $brew"
    fi
    die "$what is missing: install it with the packages of your system"
}
