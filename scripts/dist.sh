#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The release tarball: dist.sh NAME FILE puts the tree as NAME/ into FILE (.tar.gz).
# In a git checkout that is the last commit, with its time on every file, and nothing that is not
# committed; elsewhere (a tarball that was unpacked) the tree but what was built. The same tree
# gives the same bytes, whenever and wherever.
set -euo pipefail
export LC_ALL=C TZ=UTC
name=$1 file=$2
cd "$(dirname "$0")/.."

# A repository further up is somebody else's.
committed() { [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$PWD" ]; }

archive() {
    if committed; then
        git diff --quiet HEAD || echo "dist: what is not committed is left out" >&2
        git -c tar.umask=0022 archive --format=tar --prefix="$name/" HEAD
    else
        tar --create --sort=name --format=ustar --owner=0 --group=0 --numeric-owner \
            --mode=u=rwX,go=rX --mtime="@${SOURCE_DATE_EPOCH:-$(stat -c %Y Makefile)}" \
            --exclude=./build --exclude=__pycache__ --exclude=.pytest_cache \
            --transform="s,^\.,$name," .
    fi
}

mkdir -p "$(dirname "$file")"
trap 'rm -f "$file.$$"' EXIT
archive | gzip -9 -n >"$file.$$"
mv "$file.$$" "$file"
