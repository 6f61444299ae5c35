#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Debian package: deb.sh TARBALL FOLDER builds it from the release tarball, in a FOLDER that is
# made anew, and leaves it there. lintian judges it; an error of its is ours.
set -euo pipefail
tarball=$(realpath "$1") folder=$2
source_time=$(tar --list --gzip --verbose --full-time --utc --file="$tarball" | awk 'NR == 1 { print $4 " " $5 }')
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date --utc --date="$source_time" +%s)}
export SOURCE_DATE_EPOCH

rm -rf "$folder"
mkdir -p "$folder/source"
tar --extract --gzip --strip-components=1 --directory="$folder/source" --file="$tarball"
cp -R "$folder/source/packaging/debian" "$folder/source/debian"

# What the environment says of make is for the make that called this one. -d: what it takes to
# build is there, if scripts/deps.sh says so; some of it may be no package.
(cd "$folder/source" &&
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u BUILD -u MODE dpkg-buildpackage -b -us -uc -d)
rm -rf "$folder/source"

# What was packed runs, and takes the configuration that is packed with it.
dpkg-deb --extract "$folder"/weir_*.deb "$folder/root"
"$folder/root/usr/bin/weir" check "$folder/root/etc/weir/weir.yaml"
rm -rf "$folder/root"

if command -v lintian >/dev/null; then
    lintian --allow-root --tag-display-limit 0 --fail-on error "$folder"/*.changes
fi
