#!/usr/bin/env bash
# Install the real programs that the full test suite talks to and is compared with (`make servers`). Nothing is
# started: the tests start what they need, on the loopback interface, and stop it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
wanted=(age zstd openssh-server procps rclone restic borgbackup strace acl)
programs=(age zstd /usr/sbin/sshd ps rclone restic borg strace)
# Where secrets are kept: a desktop's keyring, and systemd's credentials with a TPM in software.
wanted+=(git openssh-client dbus gnome-keyring systemd swtpm tpm2-tools 'libtss2-tcti-swtpm0.*')
programs+=(git ssh-agent dbus-daemon gnome-keyring-daemon systemd-creds swtpm)

# Vault's key/value engine, from the Go module proxy: its checksum database vouches for what is downloaded.
engine=$here/../.servers/vault-kv
if [ ! -x "$engine" ] || [ "$here/vaultkv/main.go" -nt "$engine" ]; then
  if command -v go >/dev/null 2>&1; then
    echo "building vault-kv"
    folder=$(mktemp -d)
    cp "$here/vaultkv/main.go" "$folder"
    mkdir -p "$(dirname "$engine")"
    (
      cd "$folder"
      go mod init vaultkv
      go get github.com/hashicorp/vault-plugin-secrets-kv@v0.25.0
      go build -trimpath -ldflags='-s -w' -o vault-kv .
    ) >"$folder/log" 2>&1 || { tail -20 "$folder/log" >&2; exit 1; }
    mv "$folder/vault-kv" "$engine"
    rm -rf "$folder"
  else
    echo "install Go (1.24 or newer) and run this again: it builds vault-kv" >&2
  fi
fi

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
