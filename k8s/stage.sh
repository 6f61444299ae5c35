#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the build stage of the Containerfile runs, in Debian: stage.sh SOURCE OUT builds weir, hello and
# world, and puts into OUT/weir, OUT/hello and OUT/world a root each: the program, the libraries that it
# loads, whose licences, the user that it runs as, and the authorities that TLS trusts. OUT/etcd is the
# same of Debian's etcd.
set -euo pipefail
export LC_ALL=C
source=$1 out=$2
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

# libraries FILE: the loader and every library that it loads, where the loader looks for them.
libraries() {
    ldd "$1" | sed -n 's,^\(.* => \)\?[[:space:]]*\(/[^ ]*\) (.*,\2,p'
}

# licence ROOT PACKAGE
licence() {
    install -D -m 644 "/usr/share/doc/$2/copyright" "$1/usr/share/doc/$2/copyright"
}

# licence_of ROOT FILE: of the package that it is from, if it is
licence_of() {
    local package
    package=$({ dpkg -S "*${2##*/}" 2>/dev/null || true; } |
        sed -n "s,^\([^:]*\).*: .*/${2##*/}\$,\1,p;T;q")
    [ -z "$package" ] || licence "$1" "$package"
}

# make_root ROOT PROGRAM...
make_root() {
    local root=$1 program library
    shift
    for program; do
        install -D -s -m 755 "$program" "$root/usr/bin/${program##*/}"
        licence_of "$root" "$program"
        for library in $(libraries "$program"); do
            install -D -m 755 "$library" "$root$library"
            licence_of "$root" "$library"
        done
    done
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    licence "$root" ca-certificates
    echo 'weir:x:65532:65532::/:/nologin' >"$root/etc/passwd"
    echo 'weir:x:65532:' >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    chmod 644 "$root"/etc/{passwd,group,nsswitch.conf}
}

cd "$source"
scripts/deps.sh build image-stage
make --no-print-directory -j"$(nproc)" BUILD="$build" CFLAGS=-g0 >/dev/null
for program in weir hello world; do
    make_root "$out/$program" "$build/$program"
    install -D -m 644 LICENSE "$out/$program/usr/share/doc/weir/copyright"
done
licence "$out/weir" libxxhash-dev # its headers are all that is used of it, and are in the program
make_root "$out/etcd" /usr/bin/etcd /usr/bin/etcdctl
