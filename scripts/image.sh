#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the images weir, hello, world and etcd, each as NAME:VERSION and NAME:latest, and prints their sizes:
#   image.sh VERSION       or: image.sh --base, which only sees to it that there is something to build in
# What they are built in is the image $BASE (debian:13, say), or, without, a Debian 13 that mmdebstrap
# makes of the packages of the mirror that this machine's apt uses; it is kept as weir-build:13, so that
# the next time nothing is fetched. $STORAGE: a folder for images instead of the user's own.
# Debian's buildah, podman and mmdebstrap are what it needs (make deps-image), and no root: an ordinary
# user builds in a namespace of his own.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
version=$1
suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

options=()
[ -z "${STORAGE-}" ] || options=(--root "$STORAGE/root" --runroot "$STORAGE/run")

say() { echo "image: $*"; }
die() {
    echo "image: $*" >&2
    exit 1
}

need() {
    local program
    for program; do
        command -v "$program" >/dev/null || die "there is no $program: make deps-image"
    done
}

# An image has files of many users: whoever is not root needs ids to stand for them.
check_user() {
    local user ids first
    [ "$(id -u)" -ne 0 ] || return 0
    need newuidmap
    user=$(id -un)
    # shellcheck disable=SC2016 # these are awk's
    ids=$(buildah unshare awk '{ n += $3 } END { print n }' /proc/self/uid_map) ||
        die "this machine does not let $user make a namespace of users (see above): build as root, or look at" \
            "sysctl user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns"
    first=$(awk -F: '$2 + $3 > n { n = $2 + $3 } END { print (n > 100000 ? n : 100000) }' /etc/sub[ug]id)
    [ "$ids" -ge 65536 ] ||
        die "$user has no range of ids to build with: build as root, or have root run" \
            "'usermod --add-subuids $first-$((first + 65535)) --add-subgids $first-$((first + 65535)) $user'"
}

need buildah podman
check_user

# The packages, but for those that only Debian 12 knows by another name.
make_base() {
    local mirror scratch packages work=${TMPDIR:-/var/tmp}
    command -v mmdebstrap >/dev/null || die "there is no mmdebstrap: make deps-image, or BASE=debian:13"
    mirror=$(scripts/deps.sh --mirrors | head -n 1)
    [ -n "$mirror" ] || die "apt has no Debian mirror to take packages from; BASE=IMAGE names an image"
    packages=$(scripts/deps.sh --list build image-stage | paste -s -d ,)
    scratch=$(mktemp -d "$work/weir-image.XXXXXX")
    # shellcheck disable=SC2064 # now, for it is local
    trap "rm -rf '$scratch'" EXIT
    say "making a Debian 13 to build in, of the packages of this machine's mirror"
    # An ordinary user's works under other ids, whom a folder of his own may keep out.
    [ "$(id -u)" -eq 0 ] || work=/var/tmp
    TMPDIR=$work mmdebstrap --quiet --variant=apt --aptopt='Acquire::http::Timeout "20"' --include="$packages" --format=tar \
        --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$scratch/base.tar" \
        "deb [signed-by=$keyring] $mirror $suite main"
    podman "${options[@]}" import --quiet "$scratch/base.tar" weir-build:13 >/dev/null
    rm -rf "$scratch"
    trap - EXIT
}

# build NAME: --layers keeps the build stage, which all have in common.
build() {
    buildah "${options[@]}" build --quiet --layers --isolation chroot --pull-never --format oci \
        --timestamp "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile)}" \
        --build-arg BASE="$base" --build-arg VERSION="$version" --ignorefile k8s/Containerfile.ignore \
        --file k8s/Containerfile --target "$1" --tag "$1:$version" --tag "$1:latest" . >/dev/null
}

base=${BASE-}
if [ -z "$base" ]; then
    base=localhost/weir-build:13
    buildah "${options[@]}" inspect --type image "$base" >/dev/null 2>&1 || make_base
fi
[ "$version" != --base ] || exit 0
for name in weir hello world etcd; do
    say "building $name"
    build "$name"
done
podman "${options[@]}" images --format '{{.Repository}}:{{.Tag}} {{.Size}}' |
    grep -E "^localhost/(weir|hello|world|etcd):$version " | sed 's/^/image: /'
