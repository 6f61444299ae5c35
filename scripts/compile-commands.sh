#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints a compilation database (what clang-tidy and editors read).
#   compile-commands.sh DIRECTORY COMPILE-COMMAND FILE...
set -eu

json() {
    printf %s "$1" | sed 's/[\\"]/\\&/g'
}

directory=$(json "$1")
command=$(json "$2")
shift 2

separator='['
for file; do
    printf '%s\n{"directory": "%s", "file": "%s", "command": "%s -c %s"}' \
        "$separator" "$directory" "$file" "$command" "$file"
    separator=,
done
if [ $# -gt 0 ]; then echo; echo ']'; else echo '[]'; fi
