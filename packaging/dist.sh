#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# dist.sh - build what packages hold
#
# usage: dist.sh dynamic [PACKAGE...]   target/dist/: for packages of a distribution
#        dist.sh static [PACKAGE...]    target/static/dist/: libc, libelf and zlib inside
#
# Without a PACKAGE: every tool, and bpfcc-rs with all of them. The same source gives the same
# bytes, wherever it lies. PROG_PREFIX and PROG_SUFFIX are names that bpfcc-rs knows its links by.

set -eu

cd "$(dirname "$0")/.."
top=$(pwd -P)
cargo_home=${CARGO_HOME:-$HOME/.cargo}

form=${1:-dynamic}
[ $# -eq 0 ] || shift
packages=''
for package; do packages="$packages --package $package"; done
if [ -z "$packages" ]; then
  packages='--package bpfcc-rs'
  for tool in tools/*/; do packages="$packages --package $(basename "$tool")"; done
fi

flags="--remap-path-prefix=$top=/usr/src/bpfcc-rs --remap-path-prefix=$cargo_home=/usr/src/cargo"
# By a relative path, for flags with another make other programs. The linker runs here.
flags="$flags -C link-arg=-Wl,-T,packaging/no-unwind-tables.ld -C link-arg=-Wl,--no-eh-frame-hdr"
# Relocations in a twentieth of the space (glibc 2.36).
flags="$flags -C link-arg=-Wl,-z,pack-relative-relocs"
# The headers that libbpf is compiled with lie in the source as well.
CFLAGS="${CFLAGS:-} -Os -fno-asynchronous-unwind-tables -ffile-prefix-map=$top=/usr/src/bpfcc-rs -ffile-prefix-map=$cargo_home=/usr/src/cargo"
export CFLAGS

case $form in
  dynamic) target=target features='' ;;
  static)
    target=target/static
    features='--features common/static'
    flags="$flags -C target-feature=+crt-static"
    # Where Debian has libelf.a and libz.a.
    LIBBPF_SYS_LIBRARY_PATH=${LIBBPF_SYS_LIBRARY_PATH:-/usr/lib/$(gcc -print-multiarch)}
    export LIBBPF_SYS_LIBRARY_PATH
    ;;
  *) sed -n '4,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, so that build scripts are not made with these flags.
RUSTFLAGS="${RUSTFLAGS:-} $flags"
export RUSTFLAGS
# shellcheck disable=SC2086
"${CARGO:-cargo}" build --locked --profile dist --target "$host" --target-dir "$target" $features $packages
