#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# install-deps.sh - install what is missing, on Debian and its kin, as root or through sudo.
#
# usage: install-deps.sh [build] [demo] [test] [bench] [parity] [package]      (no argument: build)
#
#   build  to compile the tools; cargo is checked for, not installed
#   demo   the programs that make the events of the demonstration
#   test   to run the tests, those in virtual machines too
#   bench  the programs that the benchmarks compare with
#   parity the programs that ours are to be like
#   package to make packages and try them
#
# When nothing is missing this is done at once and needs no network.

set -eu

rust_minor=85 # the oldest Rust that will do is 1.85

build='gcc libc6-dev make pkg-config clang libelf-dev zlib1g-dev ca-certificates'
demo='iproute2 nftables util-linux'
test='qemu-system-x86 busybox-static kmod cpio xz-utils zstd lz4 iproute2 iputils-ping nftables conntrack util-linux mount e2fsprogs xfsprogs btrfs-progs procps libcap2-bin bpftool libbpf-tools man-db mandoc zsh fish'
bench='libbpf-tools bpftrace bpfcc-tools conntrack iproute2 nftables util-linux mount'
parity='bpfcc-tools python3-systemd python3-dnslib python3-cachetools libbpf-tools bpftrace'
package='dpkg-dev debhelper fakeroot rpm debootstrap lintian man-db'

fail() { echo "install-deps.sh: $*" >&2; exit 1; }

[ $# -gt 0 ] || set -- build
wanted='' rust=0
for set; do
  case $set in
    build) wanted="$wanted $build" rust=1 ;;
    demo) wanted="$wanted $demo" ;;
    test) wanted="$wanted $test" ;;
    bench) wanted="$wanted $bench" ;;
    parity) wanted="$wanted $parity" ;;
    package) wanted="$wanted $package" ;;
    -h|--help) sed -n '4,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown set '$set' (build, demo, test, bench, parity, package)" ;;
  esac
done
wanted=${wanted# }

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  fail "no apt-get here; install the equivalents of these Debian packages: $wanted"
fi

# A package that another one provides (bpftool from linux-tools, say) counts as installed too.
# shellcheck disable=SC2016,SC2086
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}, ${Provides}\n' 2>/dev/null |
  sed -n 's/^installed //p' | tr ',' '\n' | sed 's/^ *//; s/ .*//')
missing=''
for package in $wanted; do
  printf '%s\n' "$have" | grep -Fqx -- "$package" || missing="$missing $package"
done

if [ -n "$missing" ]; then
  sudo=''
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "needs root or sudo, to install:$missing"
    sudo=sudo
  fi
  apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; }
  # A source that cannot be read is no reason to stop: the packages may come from another.
  apt update || echo "install-deps.sh: apt-get update failed; trying to install all the same" >&2
  # shellcheck disable=SC2086
  apt install -y --no-install-recommends $missing || fail "apt-get could not install:$missing"
fi

if [ $rust = 1 ]; then
  # Under sudo the caller's own toolchain is neither in PATH nor where rustup looks.
  home=$(getent passwd "${SUDO_USER:-$(id -un)}" | cut -d: -f6)
  PATH=$PATH:${CARGO_HOME:-$home/.cargo}/bin
  [ ! -d "$home/.rustup" ] || export RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
  how="install Rust 1.$rust_minor or newer with rustup (https://rustup.rs), or on Debian 13 with: apt-get install cargo"
  command -v cargo >/dev/null || fail "cargo is missing; $how"
  version=$(cargo --version 2>/dev/null | cut -d' ' -f2)
  minor=$(printf '%s\n' "$version" | sed -n 's/^1\.\([0-9]*\)\..*/\1/p')
  [ "${minor:-0}" -ge $rust_minor ] || fail "cargo ${version:-of no known version} is too old; $how"
fi
