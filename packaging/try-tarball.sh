#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# try-tarball.sh - run the programs of the static tarball where nothing else is, as root

set -eu

top=$(cd "$(dirname "$0")/.." && pwd -P)
tarball=$(ls -t "$top"/target/packages/bpfcc-rs-*-static.tar.gz | head -n 1)
(cd "$top/target/packages" && sha256sum --check --quiet SHA256SUMS)
root=$(mktemp -d "${TMPDIR:-/tmp}/empty-root.XXXXXX")
trap 'rm -rf "$root"' EXIT
tar -xzf "$tarball" -C "$root" --strip-components=1 --wildcards '*/bin'

tried=0
for tool in "$root"/bin/*; do
  tool=${tool##*/}
  chroot "$root" "/bin/$tool" --version | grep -q "^$tool [0-9]"
  chroot "$root" "/bin/$tool" --help | grep -q Examples:
  tried=$((tried + 1))
done
echo "$tried programs run in an empty root"

# What a tool needs of the kernel, and nothing else.
(
  unshare --mount --propagation private sh -eu -c '
    root=$1
    mkdir "$root/proc" "$root/sys"
    mount --rbind /proc "$root/proc"
    mount --rbind /sys "$root/sys"
    : >"$root/err"
    chroot "$root" /bin/execsnoop --duration 5 --verbose >"$root/out" 2>"$root/err" &
    tool=$!
    until grep -q attached "$root/err"; do kill -0 $tool; done
    uname -r >/dev/null
    kill -INT $tool
    wait $tool
    grep "uname" "$root/out"
  ' sh "$root"
)
