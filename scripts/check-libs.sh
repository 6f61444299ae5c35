#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Says whether weir's libraries are here, by compiling and linking a few lines against each.
#   check-libs.sh COMPILER [FLAG]... -- [LIBRARY]...
# On failure names what is missing and the command that installs it.
set -u

# The compiler's words are kept quoted for eval; the libraries are plain -l and -L words.
compile=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    compile="$compile '$(printf %s "$1" | sed "s/'/'\\\\''/g")'"
    shift
done
[ $# -gt 0 ] && shift
libs="$*"

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
missing=

# try LIBRARY WHAT: does the program on stdin build with this one library (or header)? One that does not is
# not held against the others.
try() {
    source=$dir/try$1.c
    cat >"$source"
    flags=
    for word in $libs; do
        case $word in "$1" | "-l:lib${1#-l}.a" | -L*) flags="$flags $word" ;; esac
    done
    eval "$compile" -o '"$dir/program"' '"$source"' "$flags" >"$dir/log" 2>&1 && return
    missing="$missing, $2"
}

eval "set -- $compile"
if ! command -v "${1:-cc}" >/dev/null 2>&1; then
    missing=", a C compiler (${1:-cc})"
elif ! command -v pkg-config >/dev/null 2>&1; then
    missing=', pkg-config'
else
    try -luv 'libuv (1.44 or newer)' <<'C'
#include <uv.h>
#if UV_VERSION_HEX < 0x012c00
#error "libuv is too old"
#endif
int main(void)
{
    return uv_version() == 0;
}
C
    try -lyaml libyaml <<'C'
#include <yaml.h>
int main(void)
{
    return yaml_get_version_string() == 0;
}
C
    try -lssl 'OpenSSL (3.0 or newer)' <<'C'
#include <openssl/ssl.h>
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL is too old"
#endif
int main(void)
{
    return OPENSSL_init_ssl(0, NULL) == 0;
}
C
    try -lnghttp2 libnghttp2 <<'C'
#include <nghttp2/nghttp2.h>
int main(void)
{
    return nghttp2_version(0) == NULL;
}
C
    try -lcares 'c-ares (1.18 or newer)' <<'C'
#include <stddef.h>
#include <ares.h>
#if ARES_VERSION < 0x011200
#error "c-ares is too old"
#endif
int main(void)
{
    return ares_version(NULL) == NULL;
}
C
    try -ljansson 'jansson (2.13 or newer)' <<'C'
#include <jansson.h>
#if JANSSON_VERSION_HEX < 0x020d00
#error "jansson is too old"
#endif
int main(void)
{
    return json_true() == NULL;
}
C
    try xxhash.h 'xxHash (0.8 or newer)' <<'C'
#define XXH_INLINE_ALL
#include <xxhash.h>
#if XXH_VERSION_NUMBER < 800
#error "xxHash is too old"
#endif
int main(void)
{
    return XXH3_64bits("", 0) == 0;
}
C
    try -lllhttp 'llhttp (9 or newer)' <<'C'
#include <stddef.h>
#include <llhttp.h>
#if LLHTTP_VERSION_MAJOR < 9
#error "llhttp is too old"
#endif
int main(void)
{
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    return 0;
}
C
fi

if [ -n "$missing" ]; then
    echo "weir: missing: ${missing#, }" >&2
    echo 'weir: run "make deps" to install it' >&2
    exit 1
fi
