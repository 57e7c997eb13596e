#!/usr/bin/env bash
# Install the real programs that the full test suite talks to and is compared with (`make servers`). Nothing is
# started: the tests start what they need, on the loopback interface, and stop it.
set -euo pipefail
wanted=(age zstd openssh-server procps rclone restic borgbackup strace acl)
programs=(age zstd /usr/sbin/sshd ps rclone restic borg strace)

missing=()
for program in "${programs[@]}"; do
  command -v "$program" >/dev/null 2>&1 || missing+=("$program")
done
if ((${#missing[@]} == 0)); then
  echo "all test servers and programs are here"
  exit 0
fi
echo "missing: ${missing[*]}"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "install these with your package manager: ${wanted[*]}" >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then
  sudo=(sudo)
fi
# A package must not start its service: the tests run servers of their own.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
  trap '"${sudo[@]}" rm -f "$guard"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$guard" >/dev/null
  "${sudo[@]}" chmod 755 "$guard"
fi
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}"
