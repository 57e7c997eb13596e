#!/usr/bin/env bash
# Build Consul for tests/drivers/test_consul.py, from the Go module proxy, whose checksum database vouches for it: takes
# minutes, and 4 GB while it runs, so `make servers` leaves it out and the tests talk to a double instead. Its licence
# (BSL 1.1) permits this use.
set -euo pipefail
program=$(cd "$(dirname "$0")/.." && pwd)/.servers/consul
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
export GOMODCACHE=$folder/modules GOCACHE=$folder/cache CGO_ENABLED=0
go mod init consul-here
go get github.com/hashicorp/consul@v1.20.1
go build -trimpath -ldflags='-s -w' -o consul github.com/hashicorp/consul
mkdir -p "$(dirname "$program")"
mv consul "$program"
"$program" version
