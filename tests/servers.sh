#!/bin/sh
# Installs the real programs that the tests start by themselves; `bench` adds the peers that `make bench` measures.
# Starts no service: the tests run their own servers, on loopback, as ordinary processes.
set -eu

programs="age zstd openssh-server procps rclone strace"
case "${1-}" in
"") ;;
bench) programs="$programs restic borgbackup" ;;
*)
    echo "usage: tests/servers.sh [bench]" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null 2>&1; then
    echo "tests/servers.sh knows only apt. Install with your own package manager: $programs" >&2
    exit 1
fi

missing=""
for program in $programs; do
    case "$(dpkg-query -W -f '${db:Status-Status}' "$program" 2>/dev/null || true)" in
    installed) ;;
    *) missing="$missing $program" ;;
    esac
done
if [ -z "$missing" ]; then
    echo "all there: $programs"
    exit 0
fi

as_root=""
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "tests/servers.sh must be run as root here. It would install:$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi

# Debian's packages start their service when they are installed, unless this file says no.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
    trap '$as_root rm -f "$guard"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$guard" >/dev/null
    $as_root chmod 755 "$guard"
fi

$as_root apt-get update -q
# shellcheck disable=SC2086  # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
