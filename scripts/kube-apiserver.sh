#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds a real kube-apiserver for `make test-k8s`, from Debian 12's source package (Kubernetes 1.20.2
# with all that it vendors), into build/kube/bin; does nothing if it is there. 5 to 10 minutes, 1.6 GB
# while it lasts. Needs no root, and leaves apt's own configuration as it is.
#   kube-apiserver.sh          builds it and prints where it is
#   kube-apiserver.sh --why    says why it cannot be built or tested with here; nothing if it can
set -euo pipefail
export LC_ALL=C

cd "$(dirname "$0")/.."
kube=${KUBE:-$PWD/build/kube}
server=$kube/bin/kube-apiserver
go=/usr/lib/go-1.19/bin
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
package=k8s.io/kubernetes

say() { echo "kube-apiserver: $*" >&2; }

why_not() {
    [ -x /usr/bin/etcd ] || { echo 'there is no etcd (etcd-server)' && return; }
    [ -x "$server" ] && return
    if [ ! -x $go/go ]; then
        echo 'it has not been built, and there is no Go 1.19 (golang-1.19-go) to build it with'
    elif ! command -v dpkg-source >/dev/null; then
        echo 'it has not been built, and there is no dpkg-source (dpkg-dev)'
    elif [ ! -r $keyring ] || [ -z "$(scripts/deps.sh --mirrors)" ]; then
        echo "it has not been built, and apt has no mirror of Debian 12, which has its sources"
    fi
}

# from_mirror MIRROR: the sources, and a newer reflect2: the vendored one does not know Go 1.18's maps.
from_mirror() {
    local options=(-q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache::Archives=$work/archives"
        -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= -o APT::Default-Release=
        -o Acquire::Languages=none -o Acquire::AllowInsecureRepositories=false
        -o APT::Sandbox::User=)
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/fetched"
    printf "%s [signed-by=$keyring] $1 bookworm main\n" deb deb-src >"$work/sources.list"
    apt-get "${options[@]}" update -o APT::Update::Error-Mode=any &&
        cd "$work/fetched" &&
        apt-get "${options[@]}" source --download-only kubernetes &&
        apt-get "${options[@]}" download golang-github-modern-go-reflect2-dev
}

fetch() {
    local mirror mirrors
    mapfile -t mirrors < <(scripts/deps.sh --mirrors)
    for mirror in "${mirrors[@]}"; do
        (from_mirror "$mirror") >&2 && return
    done
    say "none of apt's mirrors of Debian 12 gave the sources (see above)"
    return 1
}

unpack() {
    local reflect2=vendor/github.com/modern-go/reflect2
    mkdir -p "$work/go/src/${package%/*}"
    dpkg-source -x "$work"/fetched/kubernetes_*.dsc "$work/go/src/$package" >&2
    dpkg-deb -x "$work"/fetched/golang-github-modern-go-reflect2-dev_*.deb "$work/reflect2"
    cd "$work/go/src/$package"
    rm -r $reflect2
    cp -r "$work/reflect2/usr/share/gocode/src/${reflect2#vendor/}" $reflect2
}

# What the server says of its own types is the one file of it that is not among the sources.
describe_types() {
    local folders
    folders=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg cmd staging/src |
        grep -v -e code-generator/ -e sample-apiserver/ -e _test.go | xargs -n 1 dirname | sort -u |
        sed "s|^staging/src/|vendor/|; s|^|$package/|" | paste -sd,)
    go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    "$work/openapi-gen" -i "$folders" -p $package/pkg/generated/openapi -O zz_generated.openapi \
        -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations" \
        --output-base="$work/go/src"
}

build() {
    local version=$package/vendor/k8s.io/component-base/version
    export GOPATH=$work/go GOCACHE=$work/cache GO111MODULE=off CGO_ENABLED=0 PATH=$go:$PATH
    unpack
    describe_types
    go build -o "$work/kube-apiserver" -ldflags \
        "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
        ./cmd/kube-apiserver
}

clean_up() { rm -rf "$work"; }

case ${1-} in
--why) why_not && exit ;;
'') ;;
*) sed -n '3,/^set/s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac

if [ ! -x "$server" ]; then
    why=$(why_not)
    [ -z "$why" ] || { say "$why" && exit 1; }
    renice -n 19 $$ >/dev/null
    mkdir -p "$kube/bin"
    work=$(mktemp -d "$kube/work.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    say "building it from Debian's sources: 5 to 10 minutes"
    fetch
    (build)
    mv "$work/kube-apiserver" "$server"
fi
echo "$server"
