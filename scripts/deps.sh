#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs the packages that weir needs and that are missing; with nothing missing, runs nothing.
#   deps.sh GROUP...          build: to build and run; test: `make test`; lint: `make lint`;
#                             bench: the programs that bench/ compares weir with;
#                             testssl: `make testssl`; browser: tests of the dashboard, which are
#                             left out without it; package: `make deb`; image: `make image`,
#                             and image-stage what the images are built in; kube: to build and run
#                             an API server of Kubernetes with (`make test-k8s`)
#   deps.sh --list GROUP...   prints their packages
#   deps.sh --mirrors         prints where apt takes Debian itself from
# Debian 12 and 13, Ubuntu 24.04; as root or through sudo. It asks no question, starts no daemon
# and leaves apt's own configuration as it was.
set -euo pipefail
export LC_ALL=C

declare -A group=(
    [build]='gcc libc6-dev make pkg-config libuv1-dev libyaml-dev libllhttp-dev
             libnghttp2-dev libssl-dev libxxhash-dev libc-ares-dev libjansson-dev'
    [test]='python3 python3-pytest python3-pytest-xdist python3-pytest-timeout
             python3-jsonschema python3-yaml
            libcmocka-dev strace curl valgrind binutils clang libclang-rt-dev
            openssl nghttp2-client nghttp2-server python3-h2 python3-websockets python3-grpcio
            dnsmasq-base etcd-server etcd-client prometheus'
    [lint]='python3 clang-tidy clang-format shellcheck'
    [bench]='python3 python3-yaml wrk nghttp2-client nghttp2-server openssl gnuplot-nox nginx-light
             haproxy caddy lighttpd lighttpd-mod-openssl strace liburing-dev'
    [testssl]='python3 openssl testssl.sh'
    [browser]='chromium'
    [package]='dpkg-dev debhelper lintian'
    [image]='buildah podman runc mmdebstrap uidmap catatonit slirp4netns'
    [image-stage]='ca-certificates etcd-server etcd-client'
    [kube]='golang-1.19-go dpkg-dev etcd-server kubernetes-client'
)
group[test]+=" ${group[image]}"
# The packages whose daemons would start by themselves, as units if these have other names.
daemons='nginx haproxy caddy lighttpd podman prometheus etcd'
declare -A units=([podman]='podman.socket podman.service podman-auto-update.timer podman-restart.service')
# What can be done without: bench/ leaves out by name what is not there, and tests that need it are
# skipped. Not every distribution has them all.
optional='nghttp2-server gnuplot-nox nginx-light haproxy caddy lighttpd lighttpd-mod-openssl
          liburing-dev buildah podman runc mmdebstrap uidmap catatonit slirp4netns prometheus
          golang-1.19-go etcd-server etcd-client kubernetes-client'

say() { echo "deps: $*"; }
die() {
    echo "deps: $*" >&2
    exit 1
}

# installed PACKAGE: as dpkg knows it, or, for what people also have from elsewhere, by use.
installed() {
    case $1 in
    gcc) command -v "${CC:-cc}" >/dev/null && return ;;
    make) command -v make >/dev/null && return ;;
    pkg-config) command -v pkg-config >/dev/null && return ;;
    libllhttp-dev) has_header llhttp.h && return ;;
    nginx-light) command -v nginx >/dev/null && return ;;
    gnuplot-nox) command -v gnuplot >/dev/null && return ;;
    caddy) command -v caddy >/dev/null && return ;;
    kubernetes-client) command -v kubectl >/dev/null && return ;;
    esac
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# leave_out TEST...: drops the optional packages that TEST refuses from what is missing.
left_out=
leave_out() {
    local package rest=()
    for package in "${missing[@]}"; do
        if ! is_optional "$package" || "$@" "$package"; then
            rest+=("$package")
        else
            left_out+=" $package"
        fi
    done
    missing=("${rest[@]}")
}

has_header() {
    command -v "${CC:-cc}" >/dev/null || return 1
    echo "#include <stddef.h>
          #include <$1>" | "${CC:-cc}" -E - >/dev/null 2>&1
}

missing=()
find_missing() {
    local name package
    missing=()
    for name; do
        [ -n "${group[$name]-}" ] || die "no group '$name': build, test, lint, bench, testssl, browser, package, image or kube"
        for package in ${group[$name]}; do
            [[ " ${missing[*]} " == *" $package "* ]] || installed "$package" ||
                missing+=("$package")
        done
    done
    [ -z "$left_out" ] || leave_out not_left_out
}

not_left_out() { [[ "$left_out " != *" $1 "* ]]; }

# The rest runs only when something is missing. -------------------------------------------------

can_be_root() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo && { [ -t 0 ] || sudo -n true; }; } >/dev/null 2>&1
}

root=()
need_root() {
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null ||
        die "missing: ${missing[*]}. Installing takes root, and there is no sudo: run as root"
    if ! [ -t 0 ] && ! sudo -n true 2>/dev/null; then
        die "missing: ${missing[*]}. sudo wants a password and there is no terminal to ask on"
    fi
    root=(sudo)
}

as_root() { "${root[@]}" "$@"; }

# A machine where another apt is at work (first boot, say) is waited for.
apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

# On Debian a package that starts a daemon asks policy-rc.d first: 101 means no. A policy that
# the machine has already (containers do) stands.
policy=/usr/sbin/policy-rc.d
own_policy=
scratch=
clean_up() {
    [ -z "$own_policy" ] || as_root rm -f "$policy"
    [ -z "$scratch" ] || as_root rm -rf "$scratch"
}

install_packages() {
    if [ ! -e "$policy" ]; then
        own_policy=1
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    local status=0
    apt_get install -y --no-install-recommends "$@" || status=$?
    if [ -n "$own_policy" ]; then
        as_root rm -f "$policy"
        own_policy=
    fi
    return "$status"
}

is_optional() { [[ " ${optional//$'\n'/ } " == *" $1 "* ]]; }

# A daemon that came with a group stays off after the next boot too.
disable_daemons() {
    local daemon unit
    command -v systemctl >/dev/null || return 0
    for daemon in $daemons; do
        [[ " $* " == *" $daemon"* ]] || continue
        for unit in ${units[$daemon]-$daemon}; do
            as_root systemctl --quiet disable "$unit" || say "warning: $unit starts at boot"
        done
    done
}

candidate() {
    local version
    version=$(apt-cache policy "$1" | sed -n 's/^ *Candidate: //p')
    [ -n "$version" ] && [ "$version" != '(none)' ]
}

# ---- llhttp on Debian 12 -----------------------------------------------------------------------
#
# Debian 12 has no llhttp. Debian 13's two packages need nothing newer than Debian 12, so they are
# taken from the Debian 13 suite of the mirror that this machine's apt already uses. A private
# apt configuration, thrown away afterwards, fetches exactly those two, checked against Debian's
# archive keyring; the machine's own sources never name Debian 13, so nothing else can come from
# there, now or in a later upgrade.

newer=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Prints the addresses from which apt takes Debian 12 itself: not its updates, security fixes or
# backports, and no third party's archive. apt reads its own sources, in whatever format they are.
debian_mirrors() {
    # shellcheck disable=SC2016 # apt fills these in, not the shell
    local format='$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(CODENAME)|$(COMPONENT)'
    apt-get indextargets --format "$format" 'Created-By: Packages' |
        awk -F'|' '$2 == "Debian" && $3 == "Debian" && $4 == "bookworm" && $5 == "main" &&
                   !seen[$1]++ { print $1 }'
}

# private_apt PROGRAM ARGUMENT...: apt-get or apt-cache with only the scratch folder's sources.
private_apt() {
    local program=$1
    shift
    as_root env LC_ALL=C "$program" -q \
        -o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State::Lists="$scratch/lists" -o Dir::Cache::Archives="$scratch/archives" \
        -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= -o APT::Default-Release= \
        -o Acquire::Languages=none -o Acquire::AllowInsecureRepositories=false \
        -o Acquire::AllowWeakRepositories=false -o APT::Get::AllowUnauthenticated=false "$@"
}

# fetch_from MIRROR: the two packages into the scratch folder.
fetch_from() {
    local arch library
    arch=$(dpkg --print-architecture)
    echo "deb [arch=$arch signed-by=$keyring] $1 $newer main" >"$scratch/sources.list"
    private_apt apt-get update -o APT::Update::Error-Mode=any || return 1

    # The library's name carries its version; it is what the development package depends on.
    library=$(private_apt apt-cache show libllhttp-dev |
        sed -n 's/^Depends:.*\b\(libllhttp[0-9.]*\)\b.*/\1/p' | head -n 1)
    [ -n "$library" ] || return 1
    (cd "$scratch/packages" && private_apt apt-get download libllhttp-dev "$library")
}

# Refuses unless installing the files would add exactly them: nothing removed, nothing upgraded,
# nothing pulled in.
check_plan() {
    local plan unwanted
    plan=$(apt_get install -s --no-install-recommends "$@") ||
        die "Debian 13's llhttp does not fit this machine; apt said: $plan"
    unwanted=$(grep -E '^(Inst|Remv)' <<<"$plan" | grep -vE '^Inst libllhttp(-dev|[0-9.]+) ' || true)
    [ -z "$unwanted" ] || die "Debian 13's llhttp would change more than itself: $unwanted"
}

install_llhttp_on_debian_12() {
    local mirror mirrors fetched='' user
    say "Debian 12 has no llhttp: taking Debian 13's from the mirror that apt uses"
    [ -r "$keyring" ] || die "$keyring is missing: install debian-archive-keyring"

    # apt fetches as the user _apt, who must be able to reach the folder.
    scratch=$(mktemp -d /var/tmp/weir-deps.XXXXXX)
    chmod 755 "$scratch"
    mkdir -p "$scratch/lists/partial" "$scratch/archives/partial" "$scratch/packages"
    user=$(id -u _apt 2>/dev/null) && as_root chown "$user" "$scratch/packages"

    mapfile -t mirrors < <(debian_mirrors)
    for mirror in "${mirrors[@]}"; do
        fetch_from "$mirror" && fetched=1 && break
        say "could not take Debian 13's llhttp from $mirror"
    done
    [ -n "$fetched" ] || die "none of apt's Debian 12 mirrors gave Debian 13's libllhttp-dev (see above);" \
        "install llhttp 9 by hand, from its sources for instance, and run this again"

    check_plan "$scratch"/packages/*.deb
    install_packages "$scratch"/packages/*.deb
    as_root rm -rf "$scratch"
    scratch=
}

install_llhttp() {
    local ID='' VERSION_ID='' PRETTY_NAME=''
    # shellcheck source=/dev/null
    . /etc/os-release
    if candidate libllhttp-dev; then
        install_packages libllhttp-dev
    elif [ "$ID-$VERSION_ID" = debian-12 ]; then
        install_llhttp_on_debian_12
    elif [ "$ID" = ubuntu ]; then
        die "libllhttp-dev is in Ubuntu's universe, which apt does not use here: run" \
            "'add-apt-repository universe' and try again (Ubuntu 24.04 is the oldest with llhttp)"
    else
        die "${PRETTY_NAME:-this system} has no libllhttp-dev: install llhttp 9 or newer by hand"
    fi
}

list() {
    local name
    for name; do
        tr -s ' \n' '\n' <<<"${group[$name]}"
    done | sort -u
}

main() {
    local package plain=() extra=()
    case ${1-} in
    --list) list "${@:2}" && return ;;
    --mirrors) debian_mirrors && return ;;
    esac
    [ $# -gt 0 ] || set -- build
    find_missing "$@"
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]} (Debian's names)." \
        "There is no apt-get here: install them by this system's own means"

    # Without the means to install anything, what can be done without is.
    can_be_root || leave_out false
    if [ ${#missing[@]} -eq 0 ]; then
        say "not here, and left out:$left_out"
        return 0
    fi

    say "installing ${missing[*]}"
    need_root
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    apt_get update || say 'warning: apt-get update failed in part; going on with what it has'

    leave_out candidate
    [ -z "$left_out" ] || say "this distribution has no$left_out: left out"
    for package in "${missing[@]}"; do
        if is_optional "$package"; then
            extra+=("$package")
        elif [ "$package" != libllhttp-dev ]; then
            plain+=("$package")
        fi
    done
    [ ${#plain[@]} -eq 0 ] || install_packages "${plain[@]}"
    if [ ${#extra[@]} -gt 0 ] && ! install_packages "${extra[@]}"; then
        left_out+=" ${extra[*]}"
        say "cannot install ${extra[*]}: left out"
    fi
    installed libllhttp-dev || [[ " ${missing[*]} " != *' libllhttp-dev '* ]] || install_llhttp
    disable_daemons "${missing[@]}"

    find_missing "$@"
    [ ${#missing[@]} -eq 0 ] || die "still missing: ${missing[*]}"
    say 'all there'
}

main "$@"
