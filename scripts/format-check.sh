#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fails if clang-format would change any of the given files. Its releases disagree about details,
# so only the one that the tree is kept with has a say; any other, or none, exits 0 and says so.
#   format-check.sh CLANG-FORMAT FILE...
set -u
reference=14
format=$1
shift

if ! command -v "$format" >/dev/null 2>&1; then
    echo "format: skipped: $format is not installed"
    exit 0
fi
version=$("$format" --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
if [ "$version" != "$reference" ]; then
    echo "format: skipped: this is clang-format $version, the tree is kept with $reference"
    exit 0
fi
[ $# -eq 0 ] || "$format" --dry-run --Werror "$@"
