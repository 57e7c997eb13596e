"""The README that every repository carries: how everything comes back without antsmem.

The store could have changed it, so it tells its reader to read before running. The same program stands in
docs/how-to/recover-without-antsmem.md, and a test holds the two equal.
"""

from __future__ import annotations

from typing import Final

README: Final = rb"""This is an antsmem repository: an AI agent's files, encrypted and signed.

Everything comes back without antsmem, with the stock programs age, zstd and tar and the recovery kit (KIT: its
file). Whoever keeps this repository could have changed this text: read a command before you give it the kit.

A cold backup, all of it:

  for k in keys/cold-*.age; do age -d -i KIT $k; done > epoch.keys
  age -d -i epoch.keys cold/ID.tar.zst.age | zstd -d | tar -xp --delay-directory-restore

A hot snapshot: save the lines between the marks as recover.sh, then `sh recover.sh KIT . ID DIR` puts all its
files into the new directory DIR. `sha256sum -c snapshots/ID.packs` checks its packs, without any key.

--- recover.sh
set -eu; umask 077; export LC_ALL=C
kit=$1 from=$2 id=$3 to=$4 tmp=$4.objects
mkdir "$to" "$tmp"
for key in "$from"/keys/hot-*.age; do age -d -i "$kit" "$key" || :; done > "$tmp/keys"
while read -r _ pack; do
  age -d -i "$tmp/keys" "$from/$pack" | zstd -dcq | tar -C "$tmp" -xf -
done < "$from/snapshots/$id.packs"
root=$(age -d -i "$tmp/keys" "$from/snapshots/$id.age" | zstd -dcq | sed 's/.*"root":"\([0-9a-f]*\)".*/\1/')
(cd "$tmp" && xargs cat < "o/$root") > "$tmp/manifest"
{ sed -n '/^[dfcClp]/p' "$tmp/manifest"; sed -n '/^h/p' "$tmp/manifest"
  grep -n '^d' "$tmp/manifest" | sort -nr | sed 's/^[0-9]*:d/D/'; } > "$tmp/steps"
while IFS=$(printf '\t') read -r kind mode owner mtime size object path _; do
  at=$(printf '%b.' "$path") at=$to/${at%.} link=$(printf '%b.' "$object") link=${link%.}
  case $kind in
    d) [ "$path" = . ] || mkdir "$at"; continue ;;
    f) cat "$tmp/o/$object" > "$at" ;;
    c | C) (cd "$tmp" && xargs cat < "o/$object" | xargs cat) > "$at"; [ "$(wc -c < "$at")" -eq "$size" ] ;;
    l) ln -s -- "$link" "$at" ;;
    p) mkfifo "$at" ;;
    h) ln "$to/$link" "$at" ;;
  esac
  [ "$(id -u)" != 0 ] || chown -h "$owner" "$at"
  sec=${mtime%?????????}; touch -h -d "@${sec:-0}.${mtime#"$sec"}0" "$at"
  [ "$kind" = l ] || chmod "$mode" "$at"
done < "$tmp/steps"
rm -r "$tmp"
--- end of recover.sh
"""
