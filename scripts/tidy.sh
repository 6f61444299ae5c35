#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs clang-tidy over the given files, as many at once as there are processors, and shellcheck
# over the tree's shell scripts. Reads compile_commands.json. Fails on any finding; but every release
# of clang-tidy has new checks, so what another than the tree's own finds is shown and not failed.
#   tidy.sh CLANG-TIDY FILE.c...
set -u
reference=14
tidy=$1
shift
failed=0

if ! command -v "$tidy" >/dev/null 2>&1; then
    echo "lint: $tidy is not installed: run \"make deps-lint\"" >&2
    exit 1
fi
echo "lint: clang-tidy over $# files"
if [ $# -gt 0 ]; then
    # The count of suppressed warnings from system headers is of no use to anyone.
    printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" "$tidy" -p . --quiet 2>&1 |
        grep -v -e '^[0-9]* warnings* .*generated' -e '^$' && failed=1
fi
version=$("$tidy" --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
if [ "$version" != "$reference" ] && [ $failed -ne 0 ]; then
    echo "lint: for your information: clang-tidy is $version, the tree is kept clean with $reference"
    failed=0
fi

if command -v shellcheck >/dev/null 2>&1; then
    echo 'lint: shellcheck'
    shellcheck -x .ci/run scripts/*.sh completions/weir.bash || failed=1
else
    echo 'lint: shellcheck is not installed, skipped ("make deps-lint" installs it)'
fi
[ $failed -eq 0 ] && echo 'lint: done'
exit $failed
